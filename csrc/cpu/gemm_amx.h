// Products of bfloat16 in AMX's tiles: a tile of weights is a block of rows as torch stored them, a tile of activations
// pairs of columns by sixteen rows.
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

  // Tiles 0 to 3 are sums: two blocks of columns by two strips. 4 and 5 are weights and activations of 32 products, 6
  // and 7 those of the rest.
  void run(const Strips<float>& strips) const {
    const int64_t rest = K_ % kStep;
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int tile = 0; tile < 4; ++tile) config.bytes[tile] = 64, config.rows[tile] = kUnitGroup;
    config.bytes[4] = 64, config.rows[4] = kUnitGroup;
    config.bytes[5] = 64, config.rows[5] = kStep / 2;
    config.bytes[6] = uint16_t(rest > 0 ? 2 * rest : 64), config.rows[6] = kUnitGroup;
    config.bytes[7] = 64, config.rows[7] = uint8_t(rest > 0 ? rest / 2 : kStep / 2);
    _tile_loadconfig(&config);
    each_tile<2>(weights_.count, [&](auto blocks, int64_t block) SRN_INLINE_LAMBDA {
      each_tile<2>(strips.count(), [&](auto count, int64_t strip) SRN_INLINE_LAMBDA {
        compute<decltype(blocks)::value, decltype(count)::value>(block, strip);
      });
    });
    _tile_release();
  }

 private:
  static constexpr int64_t kStep = 32;

  // Rows that do not exist must not be read: a block with missing rows is read from a copy.
  const BFloat16Bits* rows_of(int64_t block, int64_t k, int64_t columns,
                              BFloat16Bits (&copy)[kUnitGroup][kStep]) const {
    const BFloat16Bits* from = weights_.first + block * weights_.distance + k;
    if (weights_.valid == kUnitGroup) return from;
    for (int64_t row = 0; row < weights_.valid; ++row) {
      memcpy(copy[row], from + row * weights_.stride, sizeof(BFloat16Bits) * columns);
    }
    return copy[0];
  }

  template <int kBlocks, int kStrips>
  void compute(int64_t block, int64_t strip) const {
    alignas(64) BFloat16Bits copy[kUnitGroup][kStep] = {};
    const int64_t stride =
        weights_.valid == kUnitGroup ? weights_.stride * int64_t(sizeof(BFloat16Bits)) : sizeof(copy[0]);
    const BFloat16Bits* x[kStrips];
    for (int s = 0; s < kStrips; ++s) x[s] = x_((strip + s) * lanes);
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
    const int64_t column = block * kUnitGroup;
    _tile_stored(0, y_(strip, column), 64);
    if constexpr (kStrips == 2) _tile_stored(1, y_(strip + 1, column), 64);
    if constexpr (kBlocks == 2) {
      _tile_stored(2, y_(strip, column + kUnitGroup), 64);
      if constexpr (kStrips == 2) _tile_stored(3, y_(strip + 1, column + kUnitGroup), 64);
    }
  }

  int64_t K_;
  RowLanes<BFloat16Bits> x_;
  WeightBlocks<BFloat16Bits> weights_;
  StripVectors<float> y_;
};

}  // namespace SRN_ISA
}  // namespace srn
