// Matrix products of a few rows of activations, laid out in lanes, with weights as they are stored.
//
// A tile keeps kVectors x kStrips vectors of sums in registers. For each weight it reads one number (or `depth`
// consecutive ones, see lanes.h), broadcasts it over the vector and multiplies it with the activations of whole strips;
// nothing is packed, and a weight is read once for all rows.
#pragma once

#include "cpu/gather.h"

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

// -- how products go through strips and columns, tile by tile ---------------------------------------------------------

// Calls f(Index<count>, first) for the strips of depth 1: as many at a time as a tile takes, but four as two and two.
template <typename A, typename F>
SRN_INLINE void each_wide(const Strips<A>& strips, const F& f) {
  int64_t i = 0;
  for (const int64_t wide = strips.wide(); i < wide;) {
    const int64_t left = wide - i;
    if (left == 1) {
      f(Index<1>{}, i);
      i += 1;
    } else if (left == 2 || left == 4 || kTileStrips == 2) {
      f(Index<2>{}, i);
      i += 2;
    } else {
      f(Index<kTileStrips>{}, i);
      i += kTileStrips;
    }
  }
}

// Calls f(Index<depth>, strip) for each other strip.
template <typename A, int deepest, typename F>
SRN_INLINE void each_deep(const Strips<A>& strips, const F& f) {
  for (int64_t i = strips.wide(); i < strips.count(); ++i) {
    with_depth<A, deepest>(strips[i].depth, [&](auto depth) SRN_INLINE_LAMBDA { f(depth, i); });
  }
}

// Calls f(Index<count>, first) for the items from `first` to `end`, if there are any: fewer than kMost.
template <int kMost, typename F>
SRN_INLINE void fewer(int64_t first, int64_t end, const F& f) {
  if constexpr (kMost > 1) {
    if (end - first == kMost - 1) {
      f(Index<kMost - 1>{}, first);
    } else {
      fewer<kMost - 1>(first, end, f);
    }
  }
}

// The same for any number of items: kMost at a time, then the rest.
template <int kMost, typename F>
SRN_INLINE void each_tile(int64_t count, const F& f) {
  int64_t first = 0;
  for (; first + kMost <= count; first += kMost) f(Index<kMost>{}, first);
  fewer<kMost>(first, count, f);
}

// -- by rows ----------------------------------------------------------------------------------------------------------

// Columns are taken in fours: consecutive rows of weights.
constexpr int kQuad = 4;

// The vector of x that holds the last columns, `rest` of them. In a strip of one row nothing need follow them.
template <typename A, int depth>
SRN_INLINE Vector<A> last_of(const A* x, int64_t rest) {
  if constexpr (depth == kLanes<A>) {
    return broadcast_some<A, depth>(x, rest);
  } else {
    return load(x);
  }
}

// y (+)= x w for `length` vectors of x and `rest` more weights; column c takes its weights from columns[c] on.
//   x: [length][lanes], strips x_stride apart; y: [column][lanes] of part sums, strips y_stride apart.
// kRegular: columns lie `stride` apart within every kQuad of them, which saves registers.
// next: for each kQuad columns, the first of those needed next. They are prefetched a cache line at a time: the
// processor's prefetchers do not follow as many streams of memory as a tile has columns.
template <typename A, int depth, int kColumns, int kStrips, bool kRegular>
void rows_tile(int64_t length, int64_t rest, const A* const* columns, int64_t stride, const A* const* next, const A* x,
               int64_t x_stride, bool add, A* y, int64_t y_stride) {
  using V = Vector<A>;
  constexpr int lanes = kLanes<A>;
  constexpr int every = kRegular ? kQuad : 1;
  constexpr bool kAhead = depth < 4;                  // deeper, a line serves too few products to be worth prefetching
  constexpr int kLine = 64 / int(sizeof(A)) / depth;  // vectors of x for a cache line of each column
  const A* at[kColumns / every];
#pragma GCC unroll 24
  for (int i = 0; i < kColumns / every; ++i) at[i] = columns[i * every];
  V sum[kColumns][kStrips] = {};
  for (int64_t k = 0; k < length;) {
#pragma GCC unroll 8
    for (int b = 0; kAhead && b < kColumns / kQuad; ++b) {
#pragma GCC unroll 8
      for (int c = 0; c < kQuad; ++c) __builtin_prefetch(next[b] + c * stride + k * depth);
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

// The weights of a product by rows: W's rows are the columns of y, in blocks of kUnitGroup rows.
template <typename A>
struct WeightBlocks {
  const A* first;
  int64_t count, distance;  // how many blocks, and from one to the next
  int64_t stride;           // from one row to the next
  int64_t valid;            // rows of every block that exist; columns of y past those hold anything
  const A* after;           // what will be read next
};

// y = x W^T for every strip, K weights to a row; x has at least K columns. y: a vector for each column, block by block.
template <typename A>
class RowsProduct {
  static constexpr int lanes = kLanes<A>;
  static constexpr int kQuads = kUnitGroup / kQuad;  // in a block

 public:
  RowsProduct(int64_t K, const RowLanes<A>& x, const WeightBlocks<A>& weights, const StripVectors<A>& y)
      : K_(K), x_(x), weights_(weights), y_(y) {}

  void run(const Strips<A>& strips) const {
    run_wide(strips);
    run_deep(strips);
  }

  // The strips of depth 1, which leave a vector of sums for each column.
  void run_wide(const Strips<A>& strips) const {
    each_wide(strips, [&](auto count, int64_t i) SRN_INLINE_LAMBDA { pass<1, decltype(count)::value>(i * lanes, i); });
  }

  // The others, which leave part sums.
  void run_deep(const Strips<A>& strips) const {
    each_deep<A, kMaxDepth<A>>(
        strips, [&](auto depth, int64_t i) SRN_INLINE_LAMBDA { pass<decltype(depth)::value, 1>(strips[i].row, i); });
  }

 private:
  // All columns for kStrips strips, piece by piece.
  template <int depth, int kStrips>
  void pass(int64_t row, int64_t strip) const {
    constexpr int kMost = kTileSums / (kQuad * kStrips);  // fours of columns to a tile
    const int64_t length = K_ / depth, pieces = piece_count<A>(length, kStrips), quads = weights_.count * kQuads;
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const Piece bounds = {length * piece / pieces, length * (piece + 1) / pieces, piece + 1 == pieces};
      if (weights_.valid == kUnitGroup) {
        each_tile<kMost>(quads, [&](auto count, int64_t quad) SRN_INLINE_LAMBDA {
          compute<depth, decltype(count)::value, kStrips, true>(quad, row, strip, bounds);
        });
      } else {
        for (int64_t quad = 0; quad < quads; ++quad) compute<depth, 1, kStrips, false>(quad, row, strip, bounds);
      }
    }
  }

  struct Piece {
    int64_t begin, end;  // vectors of x
    bool last;
  };

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
      // Weights are fetched once, for the first strips; then the caches have them.
      next[b] = strip > 0 ? first : weights_at(quad + kTile + b, piece, piece.begin * depth);
    }
    rows_tile<A, depth, kColumns, kStrips, kRegular>(
        piece.end - piece.begin, piece.last ? K_ - piece.end * depth : 0, columns, weights_.stride, next,
        x_(row) + piece.begin * lanes, lanes * x_.columns, piece.begin > 0, y_(strip, quad * kQuad), y_.strip_stride());
  }

  int64_t K_;
  RowLanes<A> x_;
  WeightBlocks<A> weights_;
  StripVectors<A> y_;
};

// -- by columns -------------------------------------------------------------------------------------------------------

// y = x W for kPanels panels of kUnitGroup columns: a panel holds its columns' weights side by side, row by row.
//   x: [length][lanes], spread, strips x_stride apart; y: [panel][kUnitGroup / depth][lanes], strips y_stride apart.
// next: the panels needed next, prefetched a cache line at a time.
template <typename A, int depth, int kPanels, int kStrips>
void columns_tile(int64_t length, const A* panels, int64_t distance, const A* next, const A* x, int64_t x_stride,
                  bool add, A* y, int64_t y_stride) {
  using V = Vector<A>;
  constexpr int lanes = kLanes<A>, kVectors = kUnitGroup / depth;  // of a panel
  constexpr int kLine = 64 / int(sizeof(A)) / kUnitGroup;          // rows of a panel to a cache line
  const A* at[kPanels];
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) at[p] = panels + p * distance;
  V sum[kPanels * kVectors][kStrips] = {};
  for (int64_t k = 0; k < length;) {
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) __builtin_prefetch(next + p * distance + k * kUnitGroup);
    const int64_t end = smaller(k + kLine, length);
#pragma GCC unroll 1
    for (; k < end; ++k) {
      V value[kStrips];
#pragma GCC unroll 4
      for (int s = 0; s < kStrips; ++s) value[s] = load(x + s * x_stride + k * lanes);
#pragma GCC unroll 24
      for (int v = 0; v < kPanels * kVectors; ++v) {
        const V weight = broadcast<A, depth>(at[v / kVectors] + k * kUnitGroup + v % kVectors * depth);
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

// y = x W for every strip: `count` panels of kUnitGroup columns, (panels, K, kUnitGroup). x: spread, a vector for each
// of at least K columns; y: lanes, panel by panel.
template <typename A>
class ColumnsProduct {
  static constexpr int lanes = kLanes<A>;

 public:
  // after: what will be read next.
  ColumnsProduct(const StripVectors<A>& x, const FlatRows<A>& panels, int64_t count, const A* after,
                 const StripVectors<A>& y)
      : K_(panels.rows), x_(x), panels_(panels), count_(count), after_(after), y_(y) {}

  void run(const Strips<A>& strips) const {
    each_wide(strips, [&](auto count, int64_t i) SRN_INLINE_LAMBDA { pass<1, decltype(count)::value>(i); });
    each_deep<A, kMaxSpread<A>>(strips,
                                [&](auto depth, int64_t i) SRN_INLINE_LAMBDA { pass<decltype(depth)::value, 1>(i); });
  }

 private:
  template <int depth, int kStrips>
  void pass(int64_t strip) const {
    // As many panels as there are registers for sums, but at most eight, for their addresses.
    constexpr int kVectors = kUnitGroup / depth, fit = kTileSums / (kVectors * kStrips);
    constexpr int kPanels = fit > 8 ? 8 : fit < 1 ? 1 : fit;
    const int64_t pieces = piece_count<A>(K_, kStrips);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t begin = K_ * piece / pieces, end = K_ * (piece + 1) / pieces;
      each_tile<kPanels>(count_, [&](auto count, int64_t panel) SRN_INLINE_LAMBDA {
        compute<depth, decltype(count)::value, kStrips>(strip, panel, begin, end);
      });
    }
  }

  template <int depth, int kPanels, int kStrips>
  SRN_INLINE void compute(int64_t strip, int64_t panel, int64_t begin, int64_t end) const {
    const A* panels = panels_(panel, begin);
    const A* next = strip > 0 ? panels : panels_(panel + kPanels, begin);
    if (strip == 0 && panel + kPanels >= count_) next = end < K_ ? panels_(0, end) : after_;
    columns_tile<A, depth, kPanels, kStrips>(end - begin, panels, K_ * kUnitGroup, next, x_(strip, begin),
                                             x_.strip_stride(), begin > 0, y_(strip, panel * (kUnitGroup / depth)),
                                             y_.strip_stride());
  }

  int64_t K_;
  StripVectors<A> x_;
  FlatRows<A> panels_;
  int64_t count_;
  const A* after_;
  StripVectors<A> y_;
};

// Packs the first columns of `rows` rows of weights, `stride` apart, into panels. Columns past the `columns` that exist
// are zeros.
template <typename T>
void pack_panels(const T* from, int64_t rows, int64_t stride, int64_t columns, const FlatRows<Compute<T>>& panels) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t first = 0; first < columns; first += kUnitGroup) {
      gather_row(from + row * stride + first, smaller(columns - first, kUnitGroup), panels(first / kUnitGroup, row));
    }
  }
}

}  // namespace SRN_ISA
}  // namespace srn
