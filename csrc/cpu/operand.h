// What products multiply: numbers as they are computed with, or, where the processor multiplies pairs of bfloat16 and
// adds them up in float32, bfloat16 as it is stored.
//
// Pairs take the place of numbers in the lanes (lanes.h): a vector holds `depth` consecutive pairs of columns of each
// row of a strip. What a product leaves is the same: float32 part sums, `depth` of each row.
#pragma once

#if defined(__AMX_BF16__)
#include "cpu/gemm_amx.h"
#elif defined(__AVX512BF16__)
#include "cpu/gemm_bfloat16.h"
#else
#include "cpu/gemm.h"
#endif

namespace srn {
namespace SRN_ISA {

template <typename T>
struct OperandOf {
  using type = Compute<T>;
  static constexpr int kDeepest = kMaxDepth<Compute<T>>;
};
#if defined(__AVX512BF16__)
template <>
struct OperandOf<BFloat16Bits> {
  using type = BFloat16Bits;
#if defined(__AMX_BF16__)
  static constexpr int kDeepest = 1;  // a tile is sixteen rows wide, whether they exist or not
#else
  static constexpr int kDeepest = 2;
#endif
};
#endif
template <typename T>
using Operand = typename OperandOf<T>::type;

// From a group's flat rows to lanes of operands.
template <typename B>
SRN_INLINE void store_operands(typename B::V (&v)[B::kCount], typename B::Number* to, B) {
  B::exchange(v);
  B::store_lanes(v, to);
}

#if defined(__AVX512BF16__)

// A float's bits, rounded to the upper half (to nearest, ties to even); NaN stays NaN.
SRN_INLINE Vector<uint32_t> round_to_bfloat16(Vector<float> value) {
  const Vector<uint32_t> bits = bits_as<Vector<uint32_t>>(value);
  const Vector<uint32_t> rounded = bits + 0x7fff + ((bits >> 16) & 1);
  return value == value ? rounded : Vector<uint32_t>{} + 0x7fc00000u;
}

template <typename B>
SRN_INLINE void store_operands(typename B::V (&v)[B::kCount], BFloat16Bits* to, B) {
  constexpr int depth = kUnitGroup / B::kCount;
  static_assert(depth == 1 || depth == 2, "as many pairs as a group and a vector allow");
  B::exchange(v);
  float* words = reinterpret_cast<float*>(to);
  if constexpr (depth == 1) {  // a column's vector and the next one's: the halves of a pair
    unrolled<0, B::kCount / 2>([&](auto i) SRN_INLINE_LAMBDA {
      const Vector<uint32_t> low = round_to_bfloat16(v[2 * i.value]) >> 16;
      const Vector<uint32_t> high = round_to_bfloat16(v[2 * i.value + 1]) & 0xffff0000u;
      store(words + i.value * B::lanes, bits_as<Vector<float>>(low | high));
    });
  } else {  // a pair's columns lie side by side: from 64 bits to 32, and two vectors of those into one
    unrolled<0, B::kCount / 2>([&](auto i) SRN_INLINE_LAMBDA {
      Vector<uint64_t> pair[2];
      for (int j = 0; j < 2; ++j) {
        const auto wide = bits_as<Vector<uint64_t>>(round_to_bfloat16(v[2 * i.value + j]));
        pair[j] = ((wide >> 16) & 0xffffu) | ((wide >> 32) & 0xffff0000u);
      }
      store(words + i.value * B::lanes, bits_as<Vector<float>>(pair[0] | (pair[1] << 32)));
    });
  }
}

#endif

// One group of flat rows into lanes, for products by rows.
template <typename T, typename A>
void flat_to_lanes(const Strips<A>& strips, const FlatRows<A>& flat, int64_t group, const RowLanes<Operand<T>>& to) {
  for (int64_t i = 0; i < strips.count(); ++i) {
    const Strip strip = strips[i];
    with_depth<A, OperandOf<T>::kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
      using B = Block<A, decltype(depth)::value>;
      Vector<A> v[B::kCount];
      B::load_flat(flat(group, strip.row), v);
      store_operands(v, to(strip.row, group, B{}), B{});
    });
  }
}

// One group of flat rows, spread for products by columns.
template <typename A>
void flat_to_spread(const Strips<A>& strips, const FlatRows<A>& flat, int64_t group, const StripVectors<A>& to) {
  for (int64_t i = 0; i < strips.count(); ++i) {
    const Strip strip = strips[i];
    with_depth<A, kMaxSpread<A>>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
      using B = Block<A, decltype(depth)::value>;
      Vector<A> v[B::kCount];
      B::load_flat(flat(group, strip.row), v);
      B::exchange(v);
      B::store_spread(v, to(i, group * kUnitGroup));
    });
  }
}

}  // namespace SRN_ISA
}  // namespace srn
