// Arithmetic types and vectors of the instruction set at hand, and conversion between stored and computed numbers.
#pragma once

#include <cstdint>

#include "cell.h"

namespace srn {
namespace SRN_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kTileRows = 8;  // 8 x 3 accumulators, 3 weights and a broadcast: 28 of 32 registers
constexpr int kTileVectors = 3;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kTileRows = 6;  // 6 x 2 accumulators, 2 weights and a broadcast: 15 of 16 registers
constexpr int kTileVectors = 2;
#else
constexpr int kVectorBytes = 16;
constexpr int kTileRows = 4;  // what 16 registers (SSE2) hold; Neon has 32
constexpr int kTileVectors = 2;
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

// Stored as its upper sixteen bits, computed as float.
struct BFloat16 {
  uint16_t bits;
};

template <typename T>
struct ComputeOf {
  using type = T;
};
template <>
struct ComputeOf<BFloat16> {
  using type = float;
};
template <typename T>
using Compute = typename ComputeOf<T>::type;

template <typename T>
SRN_INLINE Compute<T> widen(T value) {
  return value;
}
template <>
SRN_INLINE float widen(BFloat16 value) {
  return bits_as<float>(uint32_t(value.bits) << 16);
}

template <typename T>
SRN_INLINE T narrow(Compute<T> value) {
  return value;
}
template <>
SRN_INLINE BFloat16 narrow<BFloat16>(float value) {
  const uint32_t bits = bits_as<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest, ties to even
  return {uint16_t(value == value ? rounded : 0x7fc0)};                 // rounding could turn NaN into infinity
}

// A vector's worth of stored numbers, computed.
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
