// Matrix products: with packed weights, in tiles that stay in registers; and for a few rows with weights as stored.
#pragma once

#include "cpu/pack.h"

namespace srn {
namespace SRN_ISA {

// y (rows x vectors) = init + x (rows x K) * panel, summed in registers kSumLength products at a time: a sum of short
// sums has a far smaller rounding error than one long sum, and costs little.
constexpr int64_t kSumLength = 128;

template <typename A, int kRows, int kVectors>
void tile(int64_t K, const A* x, int64_t x_stride, const A* panel, const A* init, int64_t init_stride, A* y,
          int64_t y_stride) {
  using V = Vector<A>;
  constexpr int lanes = kLanes<A>;
  int64_t k = 0;
  do {
    V sum[kRows][kVectors] = {};
    const int64_t end = smaller(k + kSumLength, K);
    for (; k < end; ++k) {
      V weight[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) weight[v] = load(panel + (k * kVectors + v) * lanes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const V value = x[r * x_stride + k] - V{};
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sum[r][v] += value * weight[v];
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        if (init != nullptr) sum[r][v] += load(init + r * init_stride + v * lanes);
        store(y + r * y_stride + v * lanes, sum[r][v]);
      }
    }
    init = y;
    init_stride = y_stride;
  } while (k < K);
}

template <typename A, int kVectors, int kRows = kTileRows>
SRN_INLINE void tile_of(int64_t rows, int64_t K, const A* x, int64_t x_stride, const A* panel, const A* init,
                        int64_t init_stride, A* y, int64_t y_stride) {
  if (rows == kRows) {
    tile<A, kRows, kVectors>(K, x, x_stride, panel, init, init_stride, y, y_stride);
  } else if constexpr (kRows > 1) {
    tile_of<A, kVectors, kRows - 1>(rows, K, x, x_stride, panel, init, init_stride, y, y_stride);
  }
}

// y (rows x vectors * kLanes) = init + x (rows x K) * packed. `init` is a matrix (which y may be), a row for all rows
// (init_stride 0), or null for zeros. Rows are taken evenly in tiles; each row's sum runs over k in order, whatever the
// tile, so results do not depend on how work was split.
template <typename A>
void multiply(int64_t rows, int64_t K, const A* x, int64_t x_stride, const A* packed, int64_t vectors, const A* init,
              int64_t init_stride, A* y, int64_t y_stride) {
  if (rows == 0) return;
  constexpr int lanes = kLanes<A>;
  const Panels panels(vectors);
  const int64_t tiles = ceil_div(rows, kTileRows);
  for (int64_t panel = 0; panel < panels.count; ++panel) {
    const int64_t first = panels.begin(panel), width = panels.begin(panel + 1) - first;
    const A* weights = packed + first * lanes * K;
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t row = rows * t / tiles, own = rows * (t + 1) / tiles - row;
      const A* from = init == nullptr ? nullptr : init + row * init_stride + first * lanes;
      const A* in = x + row * x_stride;
      A* out = y + row * y_stride + first * lanes;
      if (width == 1) {
        tile_of<A, 1>(own, K, in, x_stride, weights, from, init_stride, out, y_stride);
      } else if (width == 2) {
        tile_of<A, 2>(own, K, in, x_stride, weights, from, init_stride, out, y_stride);
      } else if constexpr (kTileVectors >= 3) {
        tile_of<A, 3>(own, K, in, x_stride, weights, from, init_stride, out, y_stride);
      }
    }
  }
}

// The same product with weights as they are stored: what packing would cost more than it saves, a few rows once.
// Column c of group j is the K numbers from source(j) + c * column_stride on.
constexpr int64_t kDirectRows = 4;

template <typename T, int kRows, typename Source, typename Valid>
void multiply_direct_rows(int64_t K, const Compute<T>* x, int64_t x_stride, int64_t groups, const Source& source,
                          const Valid& valid, int64_t column_stride, const Compute<T>* init, int64_t init_stride,
                          Compute<T>* y, int64_t y_stride) {
  using A = Compute<T>;
  using V = Vector<A>;
  constexpr int lanes = kLanes<A>;
  constexpr int kUnroll = 4;
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t c = 0; c < kGroup; ++c) {
      A sums[kRows] = {};
      if (c < valid(group)) {
        const T* column = source(group) + c * column_stride;
        V sum[kRows][kUnroll] = {};
        int64_t k = 0;
        for (; k + kUnroll * lanes <= K; k += kUnroll * lanes) {
          for (int i = 0; i < kUnroll; ++i) {
            const V weight = load_widened(column + k + i * lanes);
            for (int r = 0; r < kRows; ++r) sum[r][i] += load(x + r * x_stride + k + i * lanes) * weight;
          }
        }
        for (int r = 0; r < kRows; ++r) {
          const V total = (sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3]);
          for (int i = 0; i < lanes; ++i) sums[r] += total[i];
        }
        for (; k < K; ++k) {
          for (int r = 0; r < kRows; ++r) sums[r] += x[r * x_stride + k] * widen(column[k]);
        }
      }
      const int64_t at = group * kGroup + c;
      for (int r = 0; r < kRows; ++r) {
        y[r * y_stride + at] = sums[r] + (init == nullptr ? A(0) : init[r * init_stride + at]);
      }
    }
  }
}

template <typename T, int kRows = kDirectRows, typename Source, typename Valid>
void multiply_direct(int64_t rows, int64_t K, const Compute<T>* x, int64_t x_stride, int64_t groups,
                     const Source& source, const Valid& valid, int64_t column_stride, const Compute<T>* init,
                     int64_t init_stride, Compute<T>* y, int64_t y_stride) {
  if (rows == kRows) {
    multiply_direct_rows<T, kRows>(K, x, x_stride, groups, source, valid, column_stride, init, init_stride, y,
                                   y_stride);
  } else if constexpr (kRows > 1) {
    multiply_direct<T, kRows - 1>(rows, K, x, x_stride, groups, source, valid, column_stride, init, init_stride, y,
                                  y_stride);
  }
}

}  // namespace SRN_ISA
}  // namespace srn
