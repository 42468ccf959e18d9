// Where the threads of a call wait for each other, a few times a step.
#pragma once

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <sched.h>
#endif

#include "cell.h"

namespace srn {
namespace SRN_ISA {

// A call's threads meet more often than OpenMP's barrier is made for: that one keeps spinning, and if another process
// has taken a late thread's processor, each meeting costs that process's whole time slice. This one spins for about as
// long as a phase may be uneven, and then sleeps. A thread that has slept goes before those that have used up their
// time, so on a busy machine a call waits for its share of the processors, and for no more.
class Barrier {
 public:
  void wait(int threads) {
    if (threads == 1) return;
    const unsigned phase = __atomic_load_n(&phase_, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&arrived_, 1, __ATOMIC_ACQ_REL) == threads) {
      __atomic_store_n(&arrived_, 0, __ATOMIC_RELAXED);
      __atomic_store_n(&phase_, phase + 1, __ATOMIC_SEQ_CST);
      if (__atomic_load_n(&asleep_, __ATOMIC_SEQ_CST) > 0) wake();
      return;
    }
    constexpr int kSpins = 1000;
    for (int spins = 0; spins < kSpins; ++spins) {
      if (__atomic_load_n(&phase_, __ATOMIC_ACQUIRE) != phase) return;
      pause();
    }
    // The last to arrive changes the phase and then looks for sleepers; a sleeper counts itself and then looks at the
    // phase. So one of the two sees the other.
    __atomic_add_fetch(&asleep_, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&phase_, __ATOMIC_SEQ_CST) == phase) sleep(phase);
    __atomic_sub_fetch(&asleep_, 1, __ATOMIC_RELAXED);
  }

 private:
  static SRN_INLINE void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

#if defined(__linux__)
  // Sleeps unless the phase has changed already.
  void sleep(unsigned phase) { syscall(SYS_futex, &phase_, FUTEX_WAIT_PRIVATE, phase, nullptr, nullptr, 0); }
  void wake() { syscall(SYS_futex, &phase_, FUTEX_WAKE_PRIVATE, 1 << 30, nullptr, nullptr, 0); }
#else
  void sleep(unsigned) { sched_yield(); }
  void wake() {}
#endif

  alignas(64) int arrived_ = 0;
  alignas(64) unsigned phase_ = 0;
  int asleep_ = 0;
};

}  // namespace SRN_ISA
}  // namespace srn
