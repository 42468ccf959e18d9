// Arithmetic types and vectors of the instruction set at hand, and conversion between stored and computed numbers.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#pragma GCC diagnostic push  // GCC's header makes "undefined" vectors in a way that GCC 12 warns about
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#include "cell.h"

namespace srn {
namespace SRN_ISA {

// A product's tile keeps kTileSums vectors of sums in registers, for up to kTileStrips strips of rows; these must fit
// in registers with a vector of activations for each strip and a weight.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;  // 32 registers
constexpr int kTileSums = 24;
constexpr int kTileStrips = 3;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;  // 16 registers
constexpr int kTileSums = 12;
constexpr int kTileStrips = 3;
#else
constexpr int kVectorBytes = 16;  // 16 registers (SSE2; Neon has 32), and a product needs one more until it is added
constexpr int kTileSums = 12;
constexpr int kTileStrips = 2;
#endif

template <typename E>
constexpr int kLanes = kVectorBytes / int(sizeof(E));

template <typename E>
struct VectorOf {
  typedef E type __attribute__((vector_size(kVectorBytes)));
};
template <typename E>
using Vector = typename VectorOf<E>::type;

template <>
struct Lanes<Vector<float>> {
  using Element = float;
  using Int = Vector<uint32_t>;
};
template <>
struct Lanes<Vector<double>> {
  using Element = double;
  using Int = Vector<uint64_t>;
};

#if defined(__AVX512F__)
// A 14-bit reciprocal, refined once: a few cycles, where dividing sixteen numbers takes sixteen.
template <>
struct Quotient<Vector<float>> {
  static SRN_INLINE Vector<float> of(Vector<float> a, Vector<float> b) {
    const Vector<float> r = Vector<float>(_mm512_maskz_rcp14_ps(__mmask16(-1), __m512(b)));
    const Vector<float> q = a * r;
    return q + r * (a - b * q);
  }
};
#endif

// From and to memory that need not be aligned.
template <typename E>
SRN_INLINE Vector<E> load(const E* from) {
  Vector<E> value;
  memcpy(&value, from, sizeof(value));
  return value;
}
template <typename E>
SRN_INLINE void store(E* to, Vector<E> value) {
  memcpy(to, &value, sizeof(value));
}

// `count` numbers from memory, repeated until a vector is full. One load on every processor: a broadcast without a
// shuffle takes as long as loading a vector.
template <typename E, int count>
SRN_INLINE Vector<E> broadcast(const E* from) {
  constexpr int bytes = count * int(sizeof(E));
  if constexpr (count == 1) {
    return *from - Vector<E>{};  // exact for every number, negative zero included
  } else if constexpr (bytes == kVectorBytes) {
    return load(from);
  } else if constexpr (bytes == 8) {
    uint64_t word;
    memcpy(&word, from, sizeof(word));
    return bits_as<Vector<E>>(Vector<uint64_t>{} + word);
#if defined(__AVX512F__)
  } else if constexpr (bytes == 16) {
    return bits_as<Vector<E>>(_mm512_broadcast_f32x4(_mm_loadu_ps(reinterpret_cast<const float*>(from))));
  } else {
    static_assert(bytes == 32);
    return bits_as<Vector<E>>(_mm512_broadcast_f32x8(_mm256_loadu_ps(reinterpret_cast<const float*>(from))));
#elif defined(__AVX2__)
  } else {
    static_assert(bytes == 16);
    return bits_as<Vector<E>>(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(from)));
#endif
  }
}

// The same for the first `some` of them, with zeros for the rest.
template <typename E, int count>
SRN_INLINE Vector<E> broadcast_some(const E* from, int64_t some) {
#if defined(__AVX512F__)
  if constexpr (sizeof(E) == 4 && count == 8) {
    return bits_as<Vector<E>>(_mm512_broadcast_f32x8(_mm256_maskz_loadu_ps(__mmask8((1 << some) - 1), from)));
  }
  if constexpr (sizeof(E) == 4 && count == 16) {
    return bits_as<Vector<E>>(_mm512_maskz_loadu_ps(__mmask16((1 << some) - 1), from));
  }
#endif
  E copy[count] = {};
  for (int64_t i = 0; i < some; ++i) copy[i] = from[i];
  return broadcast<E, count>(copy);
}

// A bfloat16 as stored: the upper sixteen bits of the float that it is computed as.
struct BFloat16Bits {
  uint16_t bits;
};

template <typename T>
struct ComputeOf {
  using type = T;
};
template <>
struct ComputeOf<BFloat16Bits> {
  using type = float;
};
template <typename T>
using Compute = typename ComputeOf<T>::type;

template <typename T>
SRN_INLINE Compute<T> widen(T value) {
  return value;
}
template <>
SRN_INLINE float widen(BFloat16Bits value) {
  return bits_as<float>(uint32_t(value.bits) << 16);
}

template <typename T>
SRN_INLINE T narrow(Compute<T> value) {
  return value;
}
template <>
SRN_INLINE BFloat16Bits narrow<BFloat16Bits>(float value) {
  const uint32_t bits = bits_as<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest, ties to even
  return {uint16_t(value == value ? rounded : 0x7fc0)};                 // rounding could turn NaN into infinity
}

// A vector of stored numbers, widened.
template <typename T>
SRN_INLINE Vector<Compute<T>> load_widened(const T* from) {
  if constexpr (sizeof(T) == sizeof(Compute<T>)) {
    return load(from);
  } else {
    typedef uint16_t Stored __attribute__((vector_size(kVectorBytes / 2)));
    Stored stored;
    memcpy(&stored, from, sizeof(stored));
    return bits_as<Vector<float>>(__builtin_convertvector(stored, Vector<uint32_t>) << 16);
  }
}

}  // namespace SRN_ISA
}  // namespace srn
