// Where the threads of a call wait for each other, a few times a step.
#pragma once

#include <sched.h>

#include "cell.h"

namespace srn {
namespace SRN_ISA {

// A call's threads meet more often than OpenMP's barrier is made for: that one keeps spinning, and if another process
// has taken a late thread's processor, each meeting costs that process's whole time slice. This one spins for about as
// long as a phase may be uneven, and then lets others run.
class Barrier {
 public:
  void wait(int threads) {
    if (threads == 1) return;
    const unsigned phase = __atomic_load_n(&phase_, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&arrived_, 1, __ATOMIC_ACQ_REL) == threads) {
      __atomic_store_n(&arrived_, 0, __ATOMIC_RELAXED);
      __atomic_store_n(&phase_, phase + 1, __ATOMIC_RELEASE);
      return;
    }
    constexpr int kSpins = 1000;
    for (int spins = 0; __atomic_load_n(&phase_, __ATOMIC_ACQUIRE) == phase; ++spins) {
      if (spins < kSpins) {
        pause();
      } else {
        sched_yield();
      }
    }
  }

 private:
  static SRN_INLINE void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  alignas(64) int arrived_ = 0;
  alignas(64) unsigned phase_ = 0;
};

}  // namespace SRN_ISA
}  // namespace srn
