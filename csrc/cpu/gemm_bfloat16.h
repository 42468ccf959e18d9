// Products of bfloat16 by AVX-512's extension, which multiplies pairs and adds both products to a float32.
#pragma once

#include "cpu/gemm.h"

namespace srn {
namespace SRN_ISA {

// y = x W^T for every strip, as RowsProduct<float> does it; K even.
template <>
class RowsProduct<BFloat16Bits> {
  static constexpr int lanes = kLanes<float>;

 public:
  RowsProduct(int64_t K, const RowLanes<BFloat16Bits>& x, const WeightBlocks<BFloat16Bits>& weights,
              const StripVectors<float>& y)
      : K_(K), x_(x), weights_(weights), y_(y) {}

  void run(const Strips<float>& strips) const {
    run_wide(strips);
    run_deep(strips);
  }

  void run_wide(const Strips<float>& strips) const {
    for (int64_t block = 0; block < weights_.count; ++block) {
      each_tile<2>(strips.wide(), [&](auto count, int64_t i)
                                      SRN_INLINE_LAMBDA { compute<1, decltype(count)::value>(block, i, i * lanes); });
    }
  }

  void run_deep(const Strips<float>& strips) const {
    for (int64_t block = 0; block < weights_.count; ++block) {
      for (int64_t i = strips.wide(); i < strips.count(); ++i) compute<2, 1>(block, i, strips[i].row);
    }
  }

 private:
  template <int depth, int kStrips>
  void compute(int64_t block, int64_t strip, int64_t row) const {
    using V = Vector<float>;
    constexpr int kColumns = 2 * depth;  // that a vector of x covers
    const BFloat16Bits* at[kUnitGroup];
    for (int c = 0; c < kUnitGroup; ++c) {
      const int64_t existing = c < weights_.valid ? c : weights_.valid - 1;
      at[c] = weights_.first + block * weights_.distance + existing * weights_.stride;
    }
    const float* x = reinterpret_cast<const float*>(x_(row));
    const int64_t x_stride = lanes * x_.columns / 2, whole = K_ / kColumns;
    V sum[kUnitGroup][kStrips] = {};
    const auto add = [&](int64_t k, int c, Vector<uint32_t> weight) SRN_INLINE_LAMBDA {
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) {
        sum[c][s] = V(_mm512_dpbf16_ps(__m512(sum[c][s]), bits_as<__m512bh>(load(x + s * x_stride + k * lanes)),
                                       bits_as<__m512bh>(weight)));
      }
    };
    // Weights are fetched once, for the first strips, a cache line of each row at a time.
    const BFloat16Bits* next = strip > 0                    ? at[0]
                               : block + 1 < weights_.count ? weights_.first + (block + 1) * weights_.distance
                                                            : weights_.after;
    constexpr int64_t kLine = 32 / kColumns;
    for (int64_t k = 0; k < whole;) {
#pragma GCC unroll 8
      for (int c = 0; c < kUnitGroup; ++c) __builtin_prefetch(next + c * weights_.stride + k * kColumns);
      const int64_t end = smaller(k + kLine, whole);
#pragma GCC unroll 1
      for (; k < end; ++k) {
#pragma GCC unroll 8
        for (int c = 0; c < kUnitGroup; ++c) add(k, c, broadcast_bits<depth>(at[c] + k * kColumns));
      }
    }
    if (whole * kColumns < K_) {
#pragma GCC unroll 8
      for (int c = 0; c < kUnitGroup; ++c) {
        BFloat16Bits last[kColumns] = {};
        for (int64_t k = whole * kColumns; k < K_; ++k) last[k - whole * kColumns] = at[c][k];
        add(whole, c, broadcast_bits<depth>(last));
      }
    }
#pragma GCC unroll 8
    for (int c = 0; c < kUnitGroup; ++c) {
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) {
        store(y_(strip + s, block * kUnitGroup + c), sum[c][s]);
      }
    }
  }

  // `pairs` pairs of weights, repeated. As bits, not numbers: a pair read as a float may be a NaN, and would be
  // quieted.
  template <int pairs>
  static SRN_INLINE Vector<uint32_t> broadcast_bits(const BFloat16Bits* from) {
    if constexpr (pairs == 1) {
      uint32_t word;
      memcpy(&word, from, sizeof(word));
      return Vector<uint32_t>{} + word;
    } else {
      uint64_t word;
      memcpy(&word, from, sizeof(word));
      return bits_as<Vector<uint32_t>>(Vector<uint64_t>{} + word);
    }
  }

  int64_t K_;
  RowLanes<BFloat16Bits> x_;
  WeightBlocks<BFloat16Bits> weights_;
  StripVectors<float> y_;
};

}  // namespace SRN_ISA
}  // namespace srn
