// The logistic function and tanh from a GPU's hardware functions, 2^x and 1 / x: 5 and 10 instructions, where the exact
// ones (cell.h) take 20 and 30. Off by at most 2^-17 of the result if the hardware's are off by 2 units in the last
// place: a fraction of a rounding of anything that these kernels multiply.
#pragma once

#include <cmath>

#include "cell.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

struct Approximate {
  // 0 where the result is too small for a normal float.
  static SRN_INLINE float exp2(float x) {
#if defined(__CUDA_ARCH__)
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return std::exp2(x);
#endif
  }
  static SRN_INLINE float reciprocal(float x) {
#if defined(__CUDA_ARCH__)
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return 1 / x;
#endif
  }

  // 1 / (1 + e^-x). This is 0 where e^-x is infinite, as it should be.
  static SRN_INLINE float sigmoid(float x) { return reciprocal(1 + exp2(x * -kLog2e)); }

  // 1 - 2 / (1 + e^2x); near zero, where that loses digits, x - x^3 / 3.
  static SRN_INLINE float tanh(float x) {
    const float far = 1 - 2 * reciprocal(1 + exp2(x * (2 * kLog2e)));
    const float square = x * x, near = x * (1 - square * (1.0f / 3));
    return square < kNear * kNear ? near : far;
  }

 private:
  static constexpr float kLog2e = 1.44269504088896340736f;
  static constexpr float kNear = 0x1p-4f;
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
