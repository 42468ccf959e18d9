// What products multiply: numbers as they are computed with, or, where the processor multiplies pairs of bfloat16 and
// adds them up in float32, bfloat16 as it is stored.
//
// Pairs take the place of numbers in the lanes (lanes.h): a vector holds `depth` consecutive pairs of columns of each
// row of a strip. What a product leaves is the same: float32 part sums, `depth` of each row.
#pragma once

#include "cpu/gemm.h"

namespace srn {
namespace SRN_ISA {

template <typename T>
struct OperandOf {
  using type = Compute<T>;
  static constexpr int kDeepest = kMaxDepth<Compute<T>>;
};
#if defined(__AVX512BF16__)
template <>
struct OperandOf<BFloat16> {
  using type = BFloat16;
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
SRN_INLINE void store_operands(typename B::V (&v)[B::kCount], BFloat16* to, B) {
  constexpr int depth = kGroup / B::kCount;
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

// y = x W^T for every strip, as RowsProduct<float> does it; K even.
template <>
class RowsProduct<BFloat16> {
  static constexpr int lanes = kLanes<float>;

 public:
  RowsProduct(int64_t K, const BFloat16* x, int64_t x_columns, const WeightBlocks<BFloat16>& weights, float* y,
              int64_t y_stride)
      : K_(K), x_(x), x_columns_(x_columns), weights_(weights), y_(y), y_stride_(y_stride) {}

#if defined(__AMX_BF16__)
  // Tiles 0 to 3 are sums: two blocks of columns by two strips. 4 and 5 are weights and activations of 32 products, 6
  // and 7 those of the rest.
  void run(const Strips<float>& strips) const {
    const int64_t rest = K_ % kStep;
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int tile = 0; tile < 4; ++tile) config.bytes[tile] = 64, config.rows[tile] = kGroup;
    config.bytes[4] = 64, config.rows[4] = kGroup;
    config.bytes[5] = 64, config.rows[5] = kStep / 2;
    config.bytes[6] = uint16_t(rest > 0 ? 2 * rest : 64), config.rows[6] = kGroup;
    config.bytes[7] = 64, config.rows[7] = uint8_t(rest > 0 ? rest / 2 : kStep / 2);
    _tile_loadconfig(&config);
    for (int64_t block = 0; block < weights_.count; block += 2) {
      const bool pair = block + 1 < weights_.count;
      for (int64_t strip = 0; strip < strips.count(); strip += 2) {
        const bool both = strip + 1 < strips.count();
        if (pair && both) {
          compute<2, 2>(block, strip);
        } else if (pair) {
          compute<2, 1>(block, strip);
        } else if (both) {
          compute<1, 2>(block, strip);
        } else {
          compute<1, 1>(block, strip);
        }
      }
    }
    _tile_release();
  }

 private:
  static constexpr int64_t kStep = 32;

  // Rows that do not exist must not be read: a block that lacks some is read from a copy.
  const BFloat16* rows_of(int64_t block, int64_t k, int64_t columns, BFloat16 (&copy)[kGroup][kStep]) const {
    const BFloat16* from = weights_.first + block * weights_.distance + k;
    if (weights_.valid == kGroup) return from;
    for (int64_t row = 0; row < weights_.valid; ++row) {
      memcpy(copy[row], from + row * weights_.stride, sizeof(BFloat16) * columns);
    }
    return copy[0];
  }

  template <int kBlocks, int kStrips>
  void compute(int64_t block, int64_t strip) const {
    alignas(64) BFloat16 copy[kGroup][kStep] = {};
    const int64_t stride = weights_.valid == kGroup ? weights_.stride * int64_t(sizeof(BFloat16)) : sizeof(copy[0]);
    const BFloat16* x[kStrips];
    for (int s = 0; s < kStrips; ++s) x[s] = x_ + (strip + s) * lanes * x_columns_;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    int64_t k = 0;
    for (; k + kStep <= K_; k += kStep) {
      _tile_loadd(4, rows_of(block, k, kStep, copy), stride);
      _tile_loadd(5, x[0] + k * lanes, 64);
      _tile_dpbf16ps(0, 4, 5);
      if constexpr (kBlocks == 2) {
        if constexpr (kStrips == 2) {
          _tile_loadd(5, x[1] + k * lanes, 64);
          _tile_dpbf16ps(1, 4, 5);
        }
        _tile_loadd(4, rows_of(block + 1, k, kStep, copy), stride);
        if constexpr (kStrips == 2) {
          _tile_dpbf16ps(3, 4, 5);
          _tile_loadd(5, x[0] + k * lanes, 64);
        }
        _tile_dpbf16ps(2, 4, 5);
      } else if constexpr (kStrips == 2) {
        _tile_loadd(5, x[1] + k * lanes, 64);
        _tile_dpbf16ps(1, 4, 5);
      }
    }
    if (k < K_) {
      _tile_loadd(6, rows_of(block, k, K_ - k, copy), stride);
      _tile_loadd(7, x[0] + k * lanes, 64);
      _tile_dpbf16ps(0, 6, 7);
      if constexpr (kStrips == 2) {
        _tile_loadd(7, x[1] + k * lanes, 64);
        _tile_dpbf16ps(1, 6, 7);
      }
      if constexpr (kBlocks == 2) {
        _tile_loadd(6, rows_of(block + 1, k, K_ - k, copy), stride);
        if constexpr (kStrips == 2) {
          _tile_dpbf16ps(3, 6, 7);
          _tile_loadd(7, x[0] + k * lanes, 64);
        }
        _tile_dpbf16ps(2, 6, 7);
      }
    }
    float* y = y_ + strip * y_stride_ + block * kGroup * lanes;
    _tile_stored(0, y, 64);
    if constexpr (kStrips == 2) _tile_stored(1, y + y_stride_, 64);
    if constexpr (kBlocks == 2) {
      _tile_stored(2, y + kGroup * lanes, 64);
      if constexpr (kStrips == 2) _tile_stored(3, y + kGroup * lanes + y_stride_, 64);
    }
  }
#else
  void run(const Strips<float>& strips) const {
    run_wide(strips);
    run_deep(strips);
  }

  void run_wide(const Strips<float>& strips) const {
    for (int64_t block = 0; block < weights_.count; ++block) {
      int64_t i = 0;
      for (; i + 2 <= strips.wide(); i += 2) compute<1, 2>(block, i, i * lanes);
      if (i < strips.wide()) compute<1, 1>(block, i, i * lanes);
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
    const BFloat16* at[kGroup];
    for (int c = 0; c < kGroup; ++c) {
      const int64_t own = c < weights_.valid ? c : weights_.valid - 1;
      at[c] = weights_.first + block * weights_.distance + own * weights_.stride;
    }
    const float* x = reinterpret_cast<const float*>(x_ + row * x_columns_);
    const int64_t x_stride = lanes * x_columns_ / 2, whole = K_ / kColumns;
    V sum[kGroup][kStrips] = {};
    const auto add = [&](int64_t k, int c, Vector<uint32_t> weight) SRN_INLINE_LAMBDA {
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) {
        sum[c][s] = V(_mm512_dpbf16_ps(__m512(sum[c][s]), bits_as<__m512bh>(load(x + s * x_stride + k * lanes)),
                                       bits_as<__m512bh>(weight)));
      }
    };
    for (int64_t k = 0; k < whole; ++k) {
#pragma GCC unroll 8
      for (int c = 0; c < kGroup; ++c) add(k, c, broadcast_bits<depth>(at[c] + k * kColumns));
    }
    if (whole * kColumns < K_) {
#pragma GCC unroll 8
      for (int c = 0; c < kGroup; ++c) {
        BFloat16 last[kColumns] = {};
        for (int64_t k = whole * kColumns; k < K_; ++k) last[k - whole * kColumns] = at[c][k];
        add(whole, c, broadcast_bits<depth>(last));
      }
    }
#pragma GCC unroll 8
    for (int c = 0; c < kGroup; ++c) {
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) {
        store(y_ + (strip + s) * y_stride_ + (block * kGroup + c) * lanes, sum[c][s]);
      }
    }
  }

  // `pairs` pairs of weights, again and again. Bits, not numbers: a pair seen as a float may be a NaN that quiets.
  template <int pairs>
  static SRN_INLINE Vector<uint32_t> broadcast_bits(const BFloat16* from) {
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
#endif

  int64_t K_;
  const BFloat16* x_;
  int64_t x_columns_;
  WeightBlocks<BFloat16> weights_;
  float* y_;
  int64_t y_stride_;
};
#endif

// One group of flat rows into lanes of `columns` columns: to + strip.row * columns is the strip's.
template <typename T, typename A>
void flat_to_lanes(const Strips<A>& strips, const A* flat, int64_t group, int64_t columns, Operand<T>* to) {
  for (int64_t i = 0; i < strips.count(); ++i) {
    const Strip strip = strips[i];
    with_depth<A, OperandOf<T>::kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
      using B = Block<A, decltype(depth)::value>;
      Vector<A> v[B::kCount];
      B::load_flat(flat + strip.row * kGroup, v);
      store_operands(v, to + strip.row * columns + group * B::kNumbers, B{});
    });
  }
}

}  // namespace SRN_ISA
}  // namespace srn
