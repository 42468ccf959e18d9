// What a persistent kernel computes with: numbers as they lie in memory, and as the products multiply them.
//
// bfloat16 and float16 are multiplied as they are stored. A float32 is multiplied as TF32: 8 bits of exponent, 10 of
// mantissa. Sums and everything pointwise are float.
#pragma once

#include "cell.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace srn {
namespace SRN_ISA {
namespace persistent {

struct BFloat16 {
  using Stored = uint16_t;
  using Operand = uint16_t;
  static constexpr int kDepth = 16;  // of a tile of weights

  static SRN_INLINE float load(Stored bits) { return bits_as<float>(uint32_t(bits) << 16); }
  static SRN_INLINE Stored store(float value) {
#if defined(__CUDA_ARCH__)
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
    const uint32_t bits = bits_as<uint32_t>(value);
    if (value != value) return uint16_t(bits >> 16 | 0x40);  // quiet, or rounding could make it infinite
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
  }
  static SRN_INLINE Operand operand(float value) { return store(value); }
  static SRN_INLINE Operand operand_of(Stored stored) { return stored; }
  static SRN_INLINE float multiplied(Operand operand) { return load(operand); }
  static SRN_INLINE void operands(float one, float next, Operand* to) {
#if defined(__CUDA_ARCH__)
    const __nv_bfloat162 pair = __floats2bfloat162_rn(one, next);  // one instruction
    memcpy(to, &pair, sizeof(pair));
#else
    to[0] = operand(one), to[1] = operand(next);
#endif
  }
};

struct Float16 {
  using Stored = uint16_t;
  using Operand = uint16_t;
  static constexpr int kDepth = 16;

#if defined(__CUDA_ARCH__)
  static SRN_INLINE float load(Stored bits) { return __half2float(__ushort_as_half(bits)); }
  static SRN_INLINE Stored store(float value) { return __half_as_ushort(__float2half_rn(value)); }
#else
  static SRN_INLINE float load(Stored bits) {
    const uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 0x3ff;
    if (exponent == 31) return bits_as<float>(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * float(mantissa) * 0x1p-24f;
    return bits_as<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  }
  static SRN_INLINE Stored store(float value) {
    const uint32_t bits = bits_as<uint32_t>(value), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return uint16_t(sign | 0x7e00);
    if (size >= 0x477ff000) return uint16_t(sign | 0x7c00);  // 65520 and more round to infinity
    if (size < 0x38800000) {                                 // subnormal: rounded by adding a float
      const float rounded = bits_as<float>(size) + 0.5f;     // whose unit in the last place is 2^-24
      return uint16_t(sign | (bits_as<uint32_t>(rounded) - bits_as<uint32_t>(0.5f)));
    }
    return uint16_t(sign | ((size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13));
  }
#endif
  static SRN_INLINE Operand operand(float value) { return store(value); }
  static SRN_INLINE Operand operand_of(Stored stored) { return stored; }
  static SRN_INLINE float multiplied(Operand operand) { return load(operand); }
  static SRN_INLINE void operands(float one, float next, Operand* to) {
#if defined(__CUDA_ARCH__)
    const __half2 pair = __floats2half2_rn(one, next);
    memcpy(to, &pair, sizeof(pair));
#else
    to[0] = operand(one), to[1] = operand(next);
#endif
  }
};

struct TensorFloat32 {
  using Stored = float;
  using Operand = uint32_t;
  static constexpr int kDepth = 8;

  static SRN_INLINE float load(Stored value) { return value; }
  static SRN_INLINE Stored store(float value) { return value; }
  // To the nearest, ties away from zero, as the processor's instruction rounds.
  static SRN_INLINE Operand operand(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
#else
    const uint32_t bits = bits_as<uint32_t>(value);
    return (bits & 0x7f800000) == 0x7f800000 ? bits : (bits + 0x1000) & ~0x1fffu;
#endif
  }
  static SRN_INLINE Operand operand_of(Stored stored) { return operand(stored); }
  static SRN_INLINE float multiplied(Operand operand) { return bits_as<float>(operand); }
  static SRN_INLINE void operands(float one, float next, Operand* to) { to[0] = operand(one), to[1] = operand(next); }
};

// Numbers that are stored or loaded at once; 16 bytes at a time is the most that there is.
template <typename X, int kCount>
struct alignas(sizeof(X) * kCount < 16 ? sizeof(X) * kCount : 16) Together {
  X numbers[kCount];
};

// Numbers as they are multiplied, stored at once; `to` is aligned to all of them.
template <typename Element, int kCount>
SRN_INLINE void store_operands(const float* numbers, typename Element::Operand* to) {
  if constexpr (kCount == 1) {
    *to = Element::operand(*numbers);
  } else {
    Together<typename Element::Operand, kCount> operands;
    for (int i = 0; i < kCount; i += 2) Element::operands(numbers[i], numbers[i + 1], operands.numbers + i);
    *reinterpret_cast<Together<typename Element::Operand, kCount>*>(to) = operands;
  }
}

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
