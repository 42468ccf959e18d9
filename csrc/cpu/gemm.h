// Matrix products of a few rows of activations, laid out in lanes, with weights as they are stored.
//
// A tile keeps kVectors x kStrips vectors of sums in registers. For each weight it reads one number (or `depth`
// consecutive ones, see lanes.h), broadcasts it over the vector and multiplies it with the activations of whole strips;
// nothing is packed, and a weight is read once for all rows.
#pragma once

#include "cpu/lanes.h"

namespace srn {
namespace SRN_ISA {

// Sums run over at most so many products before they are added to the result: a sum of short sums has a far smaller
// rounding error than one long sum, and costs little.
constexpr int64_t kSumLength = 160;

// y = x w, where column c of y takes the K weights from columns[c] on.
//   x: [K / depth][lanes], strips x_stride apart; y: [column][lanes] of part sums, strips y_stride apart.
// kRegular: columns lie `stride` apart within every four of them, which spares registers.
template <typename A, int depth, int kColumns, int kStrips, bool kRegular>
void rows_tile(int64_t K, const A* const* columns, int64_t stride, const A* x, int64_t x_stride, A* y,
               int64_t y_stride) {
  using V = Vector<A>;
  constexpr int lanes = kLanes<A>;
  constexpr int every = kRegular ? 4 : 1;
  const A* at[kColumns / every];
#pragma GCC unroll 24
  for (int i = 0; i < kColumns / every; ++i) at[i] = columns[i * every];
  const int64_t whole = K / depth, pieces = whole > kSumLength ? ceil_div(whole, kSumLength) : 1;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    V sum[kColumns][kStrips] = {};
    const int64_t end = whole * (piece + 1) / pieces;
    for (int64_t k = whole * piece / pieces; k < end; ++k) {
      V value[kStrips];
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) value[s] = load(x + s * x_stride + k * lanes);
#pragma GCC unroll 24
      for (int c = 0; c < kColumns; ++c) {
        const V weight = broadcast<A, depth>(at[c / every] + (c % every) * stride + k * depth);
#pragma GCC unroll 4
        for (int s = 0; s < kStrips; ++s) sum[c][s] += value[s] * weight;
      }
    }
    if (depth > 1 && piece + 1 == pieces && whole * depth < K) {
#pragma GCC unroll 24
      for (int c = 0; c < kColumns; ++c) {
        A last[depth] = {};
        for (int64_t k = whole * depth; k < K; ++k) {
          last[k - whole * depth] = at[c / every][(c % every) * stride + k];
        }
        const V weight = broadcast<A, depth>(last);
#pragma GCC unroll 4
        for (int s = 0; s < kStrips; ++s) sum[c][s] += load(x + s * x_stride + whole * lanes) * weight;
      }
    }
#pragma GCC unroll 24
    for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) {
        A* to = y + s * y_stride + c * lanes;
        store(to, piece > 0 ? load(to) + sum[c][s] : sum[c][s]);
      }
    }
  }
}

// y = x W^T for every strip: W's rows are the columns of y, in blocks of kGroup. Block j starts at block(j), rows
// `stride` apart, `valid` of each block's rows existing; columns of y past those hold anything.
//   x: lanes of `x_columns` columns, at least K of them; y: [strip][block][kGroup][lanes], strips y_stride apart.
template <typename A, typename BlockAt>
void multiply_rows(const Strips<A>& strips, int64_t K, const A* x, int64_t x_columns, int64_t blocks,
                   const BlockAt& block, int64_t stride, int64_t valid, A* y, int64_t y_stride) {
  constexpr int lanes = kLanes<A>;
  constexpr int kParts = kGroup / kTileColumns;  // tiles to a block
  const auto several = [&](auto count, int64_t first) SRN_INLINE_LAMBDA {
    constexpr int kStrips = decltype(count)::value;
    for (int64_t j = 0; j < blocks * kParts; ++j) {
      const A* columns[kTileColumns];
      for (int c = 0; c < kTileColumns; ++c) {
        const int64_t row = j % kParts * kTileColumns + c;
        columns[c] = block(j / kParts) + (row < valid ? row : valid - 1) * stride;
      }
      const A* in = x + first * lanes * x_columns;
      A* out = y + first * y_stride + j * kTileColumns * lanes;
      if (valid == kGroup) {
        rows_tile<A, 1, kTileColumns, kStrips, true>(K, columns, stride, in, lanes * x_columns, out, y_stride);
      } else {
        rows_tile<A, 1, kTileColumns, kStrips, false>(K, columns, stride, in, lanes * x_columns, out, y_stride);
      }
    }
  };
  const auto one = [&](auto depth, const Strip& strip, int64_t index) SRN_INLINE_LAMBDA {
    constexpr int d = decltype(depth)::value;
    const A* in = x + strip.row * x_columns;
    A* out = y + index * y_stride;
    int64_t j = 0;
    const auto tiles = [&](auto width) SRN_INLINE_LAMBDA {
      constexpr int kBlocks = decltype(width)::value, kColumns = kBlocks * kTileColumns;
      for (; j + kBlocks <= blocks * kParts; j += kBlocks) {
        const A* columns[kColumns];
        for (int c = 0; c < kColumns; ++c) {
          const int64_t row = (j + c / kTileColumns) % kParts * kTileColumns + c % kTileColumns;
          columns[c] = block((j + c / kTileColumns) / kParts) + (row < valid ? row : valid - 1) * stride;
        }
        if (valid == kGroup) {
          rows_tile<A, d, kColumns, 1, true>(K, columns, stride, in, 0, out + j * kTileColumns * lanes, 0);
        } else {
          rows_tile<A, d, kColumns, 1, false>(K, columns, stride, in, 0, out + j * kTileColumns * lanes, 0);
        }
      }
    };
    if (valid == kGroup) tiles(Index<kTileBlocks>{});
    tiles(Index<1>{});
  };
  int64_t i = 0;
  for (const int64_t full = strips.full(); i < full;) {
    const int64_t left = full - i;
    if (left == 1) {
      one(Index<1>{}, strips[i], i);
      i += 1;
    } else if (left == 2 || left == 4 || kTileStrips == 2) {
      several(Index<2>{}, i);
      i += 2;
    } else {
      several(Index<kTileStrips>{}, i);
      i += kTileStrips;
    }
  }
  for (; i < strips.count(); ++i) {
    const Strip strip = strips[i];
    with_depth<A>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA { one(depth, strip, i); });
  }
}

// The weights of a product by columns: `outer` times `inner` rows, a row of weights for each row of x.
template <typename A>
struct WeightRows {
  const A* first;
  int64_t outer, outer_stride;
  int64_t inner, inner_stride;
};

// y = x W for kVectors vectors of columns, of `depth` columns each.
//   x: [outer][x_inner][lanes], spread; y: [vector][lanes].
template <typename A, int depth, int kVectors, int kStrips>
void columns_tile(const WeightRows<A>& weights, int64_t x_inner, const A* x, int64_t x_stride, A* y,
                  int64_t y_stride) {
  using V = Vector<A>;
  constexpr int lanes = kLanes<A>;
  const int64_t inner = weights.inner;
  const int64_t pieces = inner > kSumLength ? ceil_div(inner, kSumLength) : 1;  // of one of the outer rows
  for (int64_t piece = 0; piece < pieces; ++piece) {
    V sum[kVectors][kStrips] = {};
    const int64_t begin = inner * piece / pieces, end = inner * (piece + 1) / pieces;
    for (int64_t o = 0; o < weights.outer; ++o) {
      const A* from = weights.first + o * weights.outer_stride + begin * weights.inner_stride;
      const A* in = x + (o * x_inner + begin) * lanes;
      for (int64_t k = begin; k < end; ++k, from += weights.inner_stride, in += lanes) {
        V value[kStrips];
#pragma GCC unroll 4
        for (int s = 0; s < kStrips; ++s) value[s] = load(in + s * x_stride);
#pragma GCC unroll 24
        for (int v = 0; v < kVectors; ++v) {
          const V weight = broadcast<A, depth>(from + v * depth);
#pragma GCC unroll 4
          for (int s = 0; s < kStrips; ++s) sum[v][s] += value[s] * weight;
        }
      }
    }
#pragma GCC unroll 24
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) {
        A* to = y + s * y_stride + v * lanes;
        store(to, piece > 0 ? load(to) + sum[v][s] : sum[v][s]);
      }
    }
  }
}

// As many vectors as are left, fewer than kVectors of them.
template <typename A, int depth, int kVectors>
SRN_INLINE void last_columns(int64_t vectors, const WeightRows<A>& weights, int64_t x_inner, const A* x, A* y) {
  if constexpr (kVectors > 0) {
    if (vectors == kVectors) {
      columns_tile<A, depth, kVectors, 1>(weights, x_inner, x, 0, y, 0);
    } else {
      last_columns<A, depth, kVectors - 1>(vectors, weights, x_inner, x, y);
    }
  }
}

// y = x W for every strip and `columns` columns, a multiple of kGroup.
//   x: [strip][outer][x_inner][lanes], spread, strips x_stride apart; y: lanes, strips y_stride apart.
template <typename A>
void multiply_columns(const Strips<A>& strips, WeightRows<A> weights, int64_t x_inner, const A* x, int64_t x_stride,
                      int64_t columns, A* y, int64_t y_stride) {
  constexpr int lanes = kLanes<A>;
  const A* const first = weights.first;
  const auto several = [&](auto count, int64_t i) SRN_INLINE_LAMBDA {
    for (int64_t c = 0; c < columns; c += kTileColumns) {
      weights.first = first + c;
      columns_tile<A, 1, kTileColumns, decltype(count)::value>(weights, x_inner, x + i * x_stride, x_stride,
                                                               y + i * y_stride + c * lanes, y_stride);
    }
  };
  const auto one = [&](auto width, int64_t i) SRN_INLINE_LAMBDA {
    constexpr int depth = decltype(width)::value, kMost = kTileBlocks * kTileColumns;
    const int64_t vectors = columns / depth;
    int64_t v = 0;
    const auto tiles = [&](auto most) SRN_INLINE_LAMBDA {
      constexpr int kVectors = decltype(most)::value;
      for (; v + kVectors <= vectors; v += kVectors) {
        weights.first = first + v * depth;
        columns_tile<A, depth, kVectors, 1>(weights, x_inner, x + i * x_stride, 0, y + i * y_stride + v * lanes,
                                            0);
      }
    };
    tiles(Index<kMost>{});
    tiles(Index<kTileColumns>{});
    weights.first = first + v * depth;
    last_columns<A, depth, kTileColumns - 1>(vectors - v, weights, x_inner, x + i * x_stride,
                                             y + i * y_stride + v * lanes);
  };
  int64_t i = 0;
  for (const int64_t full = strips.full(); i < full;) {
    const int64_t left = full - i;
    if (left == 1) {
      one(Index<1>{}, i);
      i += 1;
    } else if (left == 2 || left == 4 || kTileStrips == 2) {
      several(Index<2>{}, i);
      i += 2;
    } else {
      several(Index<kTileStrips>{}, i);
      i += kTileStrips;
    }
  }
  for (; i < strips.count(); ++i) {
    with_depth<A>(strips[i].depth, [&](auto depth) SRN_INLINE_LAMBDA { one(depth, i); });
  }
}

}  // namespace SRN_ISA
}  // namespace srn
