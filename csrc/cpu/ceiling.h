// The processor's limit, to compare a kernel's speed with: multiply-adds that touch no memory.
#pragma once

#include "cpu/numeric.h"

namespace srn {
namespace SRN_ISA {

// Runs `rounds` rounds of independent multiply-adds of float32 vectors in registers; returns how many floating-point
// operations that was. `result` keeps the compiler from leaving them out.
inline double multiply_adds(int64_t rounds, float* result) {
  constexpr int kSums = kVectorBytes == 64 ? 24 : 12;  // more than latency times units needs, fewer than registers
  Vector<float> sum[kSums];
  for (int i = 0; i < kSums; ++i) sum[i] = Vector<float>{} + float(i);
  const Vector<float> factor = Vector<float>{} + 0.999f, term = Vector<float>{} + 1e-3f;
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < kSums; ++i) sum[i] = sum[i] * factor + term;
  }
  Vector<float> total{};
  for (int i = 0; i < kSums; ++i) total += sum[i];
  *result = total[0];
  return 2.0 * kSums * kLanes<float> * double(rounds);
}

}  // namespace SRN_ISA
}  // namespace srn
