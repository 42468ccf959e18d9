// Matrix products of a few rows of activations, laid out in lanes, with weights as they are stored.
//
// A tile keeps kVectors x kStrips vectors of sums in registers. For each weight it reads one number (or `depth`
// consecutive ones, see lanes.h), broadcasts it over the vector and multiplies it with the activations of whole strips;
// nothing is packed, and a weight is read once for all rows.
#pragma once

#include "cpu/lanes.h"

namespace srn {
namespace SRN_ISA {

// A product runs over the weights in pieces, so that the activations of a piece stay in the first-level cache while all
// columns' weights pass by. It also keeps sums short: a sum of short sums has a far smaller rounding error than one
// long sum.
constexpr int64_t kPieceBytes = 30 * 1024;
constexpr int64_t kPieceLength = 256;

template <typename A>
SRN_INLINE int64_t piece_count(int64_t length, int64_t strips) {
  const int64_t fits = kPieceBytes / (kVectorBytes * strips);
  const int64_t most = fits < kPieceLength ? fits : kPieceLength;
  return length > most ? ceil_div(length, most) : 1;
}

// Columns are taken in fours, of consecutive rows of weights.
constexpr int kQuad = 4;

// The vector of x that holds the last columns, `rest` of them. In a strip of one row there may be nothing behind those.
template <typename A, int depth>
SRN_INLINE Vector<A> last_of(const A* x, int64_t rest) {
  if constexpr (depth == kLanes<A>) {
    return broadcast_some<A, depth>(x, rest);
  } else {
    return load(x);
  }
}

// y (+)= x w for `length` vectors of x, where column c takes the weights from columns[c] on, and `rest` weights more.
//   x: [length][lanes], strips x_stride apart; y: [column][lanes] of part sums, strips y_stride apart.
// kRegular: columns lie `stride` apart within every kQuad of them, which spares registers.
// next: for each kQuad columns the first of those that will be wanted next. They are asked for a cache line at a
// time: the processor's own prefetchers do not follow as many streams of memory as a tile has columns.
template <typename A, int depth, int kColumns, int kStrips, bool kRegular>
void rows_tile(int64_t length, int64_t rest, const A* const* columns, int64_t stride, const A* const* next, const A* x,
               int64_t x_stride, bool add, A* y, int64_t y_stride) {
  using V = Vector<A>;
  constexpr int lanes = kLanes<A>;
  constexpr int every = kRegular ? kQuad : 1;
  constexpr bool kAhead = depth < 4;  // deeper, a line serves so few products that asking costs more than it gains
  constexpr int kLine = 64 / int(sizeof(A)) / depth;  // as many vectors of x take a cache line of each column
  const A* at[kColumns / every];
#pragma GCC unroll 24
  for (int i = 0; i < kColumns / every; ++i) at[i] = columns[i * every];
  V sum[kColumns][kStrips] = {};
  for (int64_t k = 0; k < length;) {
#pragma GCC unroll 8
    for (int b = 0; kAhead && b < kColumns / kQuad; ++b) {
#pragma GCC unroll 8
      for (int c = 0; c < kQuad; ++c) __builtin_prefetch(next[b] + c * stride + k * depth, 0, 2);
    }
    const int64_t end = smaller(k + kLine, length);
#pragma GCC unroll 1
    for (; k < end; ++k) {
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
  }
  if (depth > 1 && rest > 0) {
#pragma GCC unroll 24
    for (int c = 0; c < kColumns; ++c) {
      const V weight = broadcast_some<A, depth>(at[c / every] + (c % every) * stride + length * depth, rest);
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s)
        sum[c][s] += last_of<A, depth>(x + s * x_stride + length * lanes, rest) * weight;
    }
  }
#pragma GCC unroll 24
  for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 4
    for (int s = 0; s < kStrips; ++s) {
      A* to = y + s * y_stride + c * lanes;
      store(to, add ? load(to) + sum[c][s] : sum[c][s]);
    }
  }
}

// The weights of a product by rows: W's rows are the columns of y, in blocks of kGroup rows.
template <typename A>
struct WeightBlocks {
  const A* first;
  int64_t count, distance;  // blocks, and from one to the next
  int64_t stride;           // from one row to the next
  int64_t valid;            // rows of every block that exist; columns of y past those hold anything
  const A* after;           // what will be read next
};

// y = x W^T for every strip, K weights to a row.
//   x: lanes of `x_columns` columns, at least K of them; y: [strip][block][kGroup][lanes], strips y_stride apart.
template <typename A>
class RowsProduct {
  static constexpr int lanes = kLanes<A>;
  static constexpr int kQuads = kGroup / kQuad;  // to a block

 public:
  RowsProduct(int64_t K, const A* x, int64_t x_columns, const WeightBlocks<A>& weights, A* y, int64_t y_stride)
      : K_(K), x_(x), x_columns_(x_columns), weights_(weights), y_(y), y_stride_(y_stride) {}

  void run(const Strips<A>& strips) const {
    run_wide(strips);
    run_deep(strips);
  }

  // The strips of depth 1, which leave a vector of sums for each column.
  void run_wide(const Strips<A>& strips) const {
    int64_t i = 0;
    for (const int64_t wide = strips.wide(); i < wide;) {
      const int64_t left = wide - i;
      if (left == 1) {
        pass<1, 1>(i * lanes, i);
        i += 1;
      } else if (left == 2 || left == 4 || kTileStrips == 2) {
        pass<1, 2>(i * lanes, i);
        i += 2;
      } else {
        pass<1, kTileStrips>(i * lanes, i);
        i += kTileStrips;
      }
    }
  }

  // The others, which leave part sums.
  void run_deep(const Strips<A>& strips) const {
    for (int64_t i = strips.wide(); i < strips.count(); ++i) {
      const Strip strip = strips[i];
      with_depth<A>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA { pass<decltype(depth)::value, 1>(strip.row, i); });
    }
  }

 private:
  // All columns for the strips from one on, piece by piece.
  template <int depth, int kStrips>
  void pass(int64_t row, int64_t strip) const {
    constexpr int kMost = kTileSums / (kQuad * kStrips);  // fours of columns to a tile
    const int64_t length = K_ / depth, pieces = piece_count<A>(length, kStrips), quads = weights_.count * kQuads;
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const Piece own = {length * piece / pieces, length * (piece + 1) / pieces, piece + 1 == pieces};
      int64_t quad = 0;
      if (weights_.valid == kGroup) {
        for (; quad + kMost <= quads; quad += kMost) compute<depth, kMost, kStrips, true>(quad, row, strip, own);
        last<depth, kMost - 1, kStrips>(quad, row, strip, own);
      } else {
        for (; quad < quads; ++quad) compute<depth, 1, kStrips, false>(quad, row, strip, own);
      }
    }
  }

  struct Piece {
    int64_t begin, end;  // vectors of x
    bool last;
  };

  // As many fours of columns as are left, fewer than a tile's.
  template <int depth, int kMost, int kStrips>
  SRN_INLINE void last(int64_t quad, int64_t row, int64_t strip, const Piece& piece) const {
    if constexpr (kMost > 0) {
      if (weights_.count * kQuads - quad == kMost) {
        compute<depth, kMost, kStrips, true>(quad, row, strip, piece);
      } else {
        last<depth, kMost - 1, kStrips>(quad, row, strip, piece);
      }
    }
  }

  // The first of four columns, from its k-th weight on; past the last, what will be read after this piece.
  const A* weights_at(int64_t quad, const Piece& piece, int64_t k) const {
    const int64_t quads = weights_.count * kQuads;
    if (quad >= quads) {
      quad -= quads;
      if (piece.last) return weights_.after + quad * kQuad * weights_.stride;
      k += piece.end - piece.begin;
    }
    return weights_.first + quad / kQuads * weights_.distance + quad % kQuads * kQuad * weights_.stride + k;
  }

  template <int depth, int kTile, int kStrips, bool kRegular>
  SRN_INLINE void compute(int64_t quad, int64_t row, int64_t strip, const Piece& piece) const {
    constexpr int kColumns = kTile * kQuad;
    const A* columns[kColumns];
    const A* next[kTile];
    for (int b = 0; b < kTile; ++b) {
      const A* first = weights_at(quad + b, piece, piece.begin * depth);
      for (int c = 0; c < kQuad; ++c) {
        const int64_t at = (quad + b) % kQuads * kQuad + c;
        const int64_t missing = kRegular || at < weights_.valid ? 0 : at - weights_.valid + 1;  // the last row instead
        columns[b * kQuad + c] = first + (c - missing) * weights_.stride;
      }
      // Weights are fetched once, for the first strips; then they are near.
      next[b] = strip > 0 ? first : weights_at(quad + kTile + b, piece, piece.begin * depth);
    }
    rows_tile<A, depth, kColumns, kStrips, kRegular>(
        piece.end - piece.begin, piece.last ? K_ - piece.end * depth : 0, columns, weights_.stride, next,
        x_ + row * x_columns_ + piece.begin * lanes, lanes * x_columns_, piece.begin > 0,
        y_ + strip * y_stride_ + quad * kQuad * lanes, y_stride_);
  }

  int64_t K_;
  const A* x_;
  int64_t x_columns_;
  WeightBlocks<A> weights_;
  A* y_;
  int64_t y_stride_;
};

// y = x W for kPanels panels of kGroup columns each: a panel holds the weights of its columns side by side, row by row.
//   x: [length][lanes], spread, strips x_stride apart; y: [panel][kGroup / depth][lanes], strips y_stride apart.
// next: the panels that will be wanted next, asked for a cache line at a time.
template <typename A, int depth, int kPanels, int kStrips>
void columns_tile(int64_t length, const A* panels, int64_t distance, const A* next, const A* x, int64_t x_stride,
                  bool add, A* y, int64_t y_stride) {
  using V = Vector<A>;
  constexpr int lanes = kLanes<A>, kVectors = kGroup / depth;  // of a panel
  constexpr int kLine = 64 / int(sizeof(A)) / kGroup;          // rows of a panel to a cache line
  const A* at[kPanels];
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) at[p] = panels + p * distance;
  V sum[kPanels * kVectors][kStrips] = {};
  for (int64_t k = 0; k < length;) {
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) __builtin_prefetch(next + p * distance + k * kGroup, 0, 2);
    const int64_t end = smaller(k + kLine, length);
#pragma GCC unroll 1
    for (; k < end; ++k) {
      V value[kStrips];
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) value[s] = load(x + s * x_stride + k * lanes);
#pragma GCC unroll 24
      for (int v = 0; v < kPanels * kVectors; ++v) {
        const V weight = broadcast<A, depth>(at[v / kVectors] + k * kGroup + v % kVectors * depth);
#pragma GCC unroll 4
        for (int s = 0; s < kStrips; ++s) sum[v][s] += value[s] * weight;
      }
    }
  }
#pragma GCC unroll 24
  for (int v = 0; v < kPanels * kVectors; ++v) {
#pragma GCC unroll 4
    for (int s = 0; s < kStrips; ++s) {
      A* to = y + s * y_stride + v * lanes;
      store(to, add ? load(to) + sum[v][s] : sum[v][s]);
    }
  }
}

// y = x W for every strip: K rows of weights, packed in panels of kGroup columns, [panel][K][kGroup].
//   x: [strip][K][lanes], spread, strips x_stride apart; y: lanes, strips y_stride apart.
template <typename A>
class ColumnsProduct {
  static constexpr int lanes = kLanes<A>;

 public:
  // after: what will be read next.
  ColumnsProduct(int64_t K, const A* x, int64_t x_stride, const A* panels, int64_t count, const A* after, A* y,
                 int64_t y_stride)
      : K_(K), x_(x), x_stride_(x_stride), panels_(panels), count_(count), after_(after), y_(y), y_stride_(y_stride) {}

  void run(const Strips<A>& strips) const {
    int64_t i = 0;
    for (const int64_t wide = strips.wide(); i < wide;) {
      const int64_t left = wide - i;
      if (left == 1) {
        pass<1, 1>(i);
        i += 1;
      } else if (left == 2 || left == 4 || kTileStrips == 2) {
        pass<1, 2>(i);
        i += 2;
      } else {
        pass<1, kTileStrips>(i);
        i += kTileStrips;
      }
    }
    for (; i < strips.count(); ++i) {
      with_depth<A, kMaxSpread<A>>(strips[i].depth,
                                   [&](auto depth) SRN_INLINE_LAMBDA { pass<decltype(depth)::value, 1>(i); });
    }
  }

 private:
  template <int depth, int kStrips>
  void pass(int64_t strip) const {
    // As many panels as there are registers for sums; addresses allow no more than eight.
    constexpr int kVectors = kGroup / depth, fit = kTileSums / (kVectors * kStrips);
    constexpr int kPanels = fit > 8 ? 8 : fit < 1 ? 1 : fit;
    const int64_t pieces = piece_count<A>(K_, kStrips);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t begin = K_ * piece / pieces, end = K_ * (piece + 1) / pieces;
      int64_t panel = 0;
      for (; panel + kPanels <= count_; panel += kPanels) compute<depth, kPanels, kStrips>(strip, panel, begin, end);
      last<depth, kPanels - 1, kStrips>(strip, panel, begin, end);
    }
  }

  template <int depth, int kPanels, int kStrips>
  SRN_INLINE void last(int64_t strip, int64_t panel, int64_t begin, int64_t end) const {
    if constexpr (kPanels > 0) {
      if (count_ - panel == kPanels) {
        compute<depth, kPanels, kStrips>(strip, panel, begin, end);
      } else {
        last<depth, kPanels - 1, kStrips>(strip, panel, begin, end);
      }
    }
  }

  template <int depth, int kPanels, int kStrips>
  SRN_INLINE void compute(int64_t strip, int64_t panel, int64_t begin, int64_t end) const {
    const A* panels = panels_ + (panel * K_ + begin) * kGroup;
    const A* next = strip > 0 ? panels : panels + kPanels * K_ * kGroup;
    if (strip == 0 && panel + kPanels >= count_) next = end < K_ ? panels_ + end * kGroup : after_;
    columns_tile<A, depth, kPanels, kStrips>(end - begin, panels, K_ * kGroup, next,
                                             x_ + strip * x_stride_ + begin * lanes, x_stride_, begin > 0,
                                             y_ + strip * y_stride_ + panel * (kGroup / depth) * lanes, y_stride_);
  }

  int64_t K_;
  const A* x_;
  int64_t x_stride_;
  const A* panels_;
  int64_t count_;
  const A* after_;
  A* y_;
  int64_t y_stride_;
};

// Packs `rows` rows of weights for a product by columns: those of a panel from `from` on, `stride` apart, into each
// panel's rows from `at` on. Columns past the `columns` that exist are zeros.
template <typename T>
void pack_panels(const T* from, int64_t rows, int64_t stride, int64_t columns, int64_t K, int64_t at,
                 Compute<T>* panels) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t first = 0; first < columns; first += kGroup) {
      gather_row(from + row * stride + first, smaller(columns - first, kGroup),
                 panels + (first / kGroup * K + at + row) * kGroup);
    }
  }
}

}  // namespace SRN_ISA
}  // namespace srn
