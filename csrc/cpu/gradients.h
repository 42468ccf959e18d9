// Gradients of the input and of the weights: the products over all rows that follow the backward recurrence, which
// leaves their larger factor in the right order (row_gradients.h).
//
//   dW_ih = dz^T x,  dW_hh = dz^T h_prev,  dW_mc = dc^T s,  dW_hr = dh^T m    sums over rows
//   dx = dz W_ih                                                               sums over all gates' units
//
// A tile keeps kUnitGroup x kWideVectors vectors of sums in registers: of a unit group, or of as many rows, each number
// of which is broadcast, by vectors of the other factor, which is laid out for it: (column tiles, rows, a tile's
// columns). That one is small, and done for a block of rows at a time.
#pragma once

#include "cpu/row_gradients.h"

namespace srn {
namespace SRN_ISA {

// Sums are this long before they are added up, for their rounding error.
constexpr int64_t kSumLength = 256;

constexpr int kWideVectors = kTileStrips;
template <typename A>
constexpr int kTileColumns = kWideVectors * kLanes<A>;
// How many rows of a tile fit in registers at a time.
constexpr int kTileSide = kTileSums / kWideVectors >= kUnitGroup ? kUnitGroup : kUnitGroup / 2;

// -- tiles ------------------------------------------------------------------------------------------------------------

// The sums of a tile: (kUnitGroup, kTileColumns), of which the first columns are used.
template <typename A>
struct TileSums {
  static constexpr int kColumns = kTileColumns<A>;
  alignas(kAlignment) A numbers[kUnitGroup * kColumns];

  A* operator[](int row) { return numbers + row * kColumns; }

  template <int first, int kVectors>
  SRN_INLINE void put(const Vector<A> (&sum)[kTileSide][kVectors], bool add) {
#pragma GCC unroll 8
    for (int i = 0; i < kTileSide; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        A* to = (*this)[first + i] + v * kLanes<A>;
        store(to, add ? load(to) + sum[i][v] : sum[i][v]);
      }
    }
  }
};

// sums = flat^T x over `rows` rows: flat (rows, kUnitGroup), x (rows, kVectors vectors).
// next: the first of kUnitGroup rows that will be needed next, `stride` apart. They are prefetched one at a time: all at
// once they would hold up the loads of the product.
template <int kVectors, int first = 0, typename A>
void sum_over_rows(int64_t rows, const A* flat, const A* x, const A* next, int64_t stride, TileSums<A>& sums) {
  using V = Vector<A>;
  for (int64_t begin = 0; begin < rows; begin += kSumLength) {
    const int64_t end = smaller(begin + kSumLength, rows);
    V sum[kTileSide][kVectors] = {};
    for (int64_t r = begin; r < end; next += stride) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) __builtin_prefetch(next + v * kLanes<A>);
      const int64_t stop = smaller(r + kBlockRows / kUnitGroup, end);
#pragma GCC unroll 2
      for (; r < stop; ++r) {
        V value[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) value[v] = load(x + (r * kVectors + v) * kLanes<A>);
#pragma GCC unroll 8
        for (int i = 0; i < kTileSide; ++i) {
          const V factor = broadcast<A, 1>(flat + r * kUnitGroup + first + i);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) sum[i][v] += value[v] * factor;
        }
      }
    }
    sums.template put<first>(sum, begin > 0);
  }
  if constexpr (first + kTileSide < kUnitGroup) {
    sum_over_rows<kVectors, first + kTileSide>(rows, flat, x, next, 0, sums);
  }
}

// sums = flat w over `units` units of each of `groups` groups, `distance` numbers apart: flat (groups, kUnitGroup rows,
// kUnitGroup), w (groups, units, kVectors vectors).
template <int kVectors, int first = 0, typename A>
void sum_over_units(int64_t groups, int64_t units, int64_t distance, const A* flat, const A* w, TileSums<A>& sums) {
  using V = Vector<A>;
  V sum[kTileSide][kVectors] = {};
  for (int64_t group = 0; group < groups; ++group) {
    const A* from = flat + group * distance + first * kUnitGroup;
    const auto add = [&](int64_t unit) SRN_INLINE_LAMBDA {
      V value[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) value[v] = load(w + v * kLanes<A>);
#pragma GCC unroll 8
      for (int i = 0; i < kTileSide; ++i) {
        const V factor = broadcast<A, 1>(from + i * kUnitGroup + unit);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sum[i][v] += value[v] * factor;
      }
      w += kVectors * kLanes<A>;
    };
    if (units == kUnitGroup) {
#pragma GCC unroll 8
      for (int unit = 0; unit < kUnitGroup; ++unit) add(unit);
    } else {
      for (int64_t unit = 0; unit < units; ++unit) add(unit);
    }
  }
  sums.template put<first>(sum, false);
  if constexpr (first + kTileSide < kUnitGroup) {
    sum_over_units<kVectors, first + kTileSide>(groups, units, distance, flat,
                                                w - groups * units * kVectors * kLanes<A>, sums);
  }
}

// -- column tiles -----------------------------------------------------------------------------------------------------

// A factor laid out for tiles: (column tiles, kBlockRows, a tile's columns), the last tile with as many vectors as it
// needs.
template <typename A>
struct ColumnTiles {
  static constexpr int kColumns = kTileColumns<A>;

  A* first;
  int64_t columns;

  static ColumnTiles take(Arena& arena, int64_t columns) {
    return {arena.take<A>(round_up(columns, kLanes<A>) * kBlockRows), columns};
  }

  int64_t count() const { return ceil_div(columns, kColumns); }
  int64_t valid(int64_t tile) const { return smaller(columns - tile * kColumns, kColumns); }
  int vectors(int64_t tile) const { return int(ceil_div(valid(tile), kLanes<A>)); }
  SRN_INLINE A* operator()(int64_t tile, int64_t row = 0) const {
    return first + tile * kColumns * kBlockRows + row * vectors(tile) * kLanes<A>;
  }
};

// Calls f(Index<vectors>) for the vectors of a tile.
template <int kVectors = kWideVectors, typename F>
SRN_INLINE void with_vectors(int vectors, const F& f) {
  if constexpr (kVectors > 1) {
    if (vectors < kVectors) return with_vectors<kVectors - 1>(vectors, f);
  }
  f(Index<kVectors>{});
}

// A row's columns of one tile, zeros after those that exist.
template <typename A>
SRN_INLINE void copy_columns(const A* from, int64_t valid, int vectors, A* to) {
  if (__builtin_expect(valid == vectors * kLanes<A>, 1)) {
    for (int v = 0; v < vectors; ++v) store(to + v * kLanes<A>, load(from + v * kLanes<A>));
  } else {
    for (int64_t c = 0; c < vectors * kLanes<A>; ++c) to[c] = c < valid ? from[c] : A(0);
  }
}

// -- the products of a call -------------------------------------------------------------------------------------------

template <typename T, int N>
struct GradientPlan {
  using A = Compute<T>;

  RowGradients<T, N> rows;     // a chunk's
  ColumnTiles<A> x, h, dc, m;  // a block's rows of each
  ThreadPieces<A> w;           // (kSumLength, kTileColumns): of W_ih, as many gates' units

  static GradientPlan take(Arena& arena, const Shape& shape, const Extents& size, int64_t chunk_rows) {
    return {RowGradients<T, N>::take(arena, size, shape.projection, chunk_rows),
            ColumnTiles<A>::take(arena, shape.input),
            ColumnTiles<A>::take(arena, shape.state),
            ColumnTiles<A>::take(arena, shape.hidden),
            ColumnTiles<A>::take(arena, shape.projection ? shape.hidden : 0),
            ThreadPieces<A>::take(arena, size.team, kSumLength * kTileColumns<A>)};
  }
};

// One thread's work on a call.
template <typename T, int N>
class Gradients {
  using Plan = GradientPlan<T, N>;
  using A = Compute<T>;
  static constexpr int lanes = kLanes<A>;
  static constexpr int G = gate_blocks(N);
  static constexpr int M = memory_count(N);
  static constexpr int kColumns = kTileColumns<A>;
  static constexpr int64_t kPanels = 32;    // unit groups' rows that stay in the second-level cache
  static constexpr int64_t kItemRows = 64;  // of the input's gradient, the least that a thread takes

 public:
  Gradients(const Plan& plan, const Extents& size, const BackwardParams& params, Barrier& barrier, int thread,
            int threads)
      : plan_(plan),
        rows_(plan.rows),
        shape_(params.shape),
        size_(size),
        params_(params),
        barrier_(barrier),
        thread_(thread),
        threads_(threads) {}

  // The products over a chunk's rows, which all threads have left. The gradients of the weights are added to, but for
  // those of the first chunk.
  void run(const Chunk& chunk, bool first) const {
    for (int64_t row = 0; params_.grad_ih != nullptr && row < chunk.rows.size(); row += kBlockRows) {
      const Range block = {row, smaller(row + kBlockRows, chunk.rows.size())};
      lay_out(chunk, block);
      barrier_.wait(threads_);
      sum_rows(block, !first || row > 0);
      if (block.end < chunk.rows.size()) barrier_.wait(threads_);
    }
    if (params_.grad_input != nullptr) input_gradient(chunk);
    barrier_.wait(threads_);
  }

  // The gradients of the weights where there are no rows.
  void clear() const {
    const int64_t gates = G * shape_.hidden;
    clear(params_.grad_ih, gates * shape_.input);
    clear(params_.grad_hh, gates * shape_.state);
    clear(params_.grad_b, gates);
    clear(params_.grad_mc, shape_.hidden * M * shape_.hidden);
    clear(params_.grad_b_mc, shape_.hidden);
    clear(params_.grad_hr, shape_.state * shape_.hidden);
  }

 private:
  static void clear(void* gradient, int64_t count) {
    if (gradient != nullptr) memset(gradient, 0, sizeof(A) * count);
  }

  // The thread's share of a block's rows into tiles, a few rows at a time.
  void lay_out(const Chunk& chunk, const Range& block) const {
    const Range rows = share(block.size(), thread_, threads_);
    const A* x = static_cast<const A*>(params_.input) + (chunk.rows.begin + block.begin) * shape_.input;
    const A* before[kBlockRows];
    states_before(chunk, block, before);
    for (int64_t begin = rows.begin; begin < rows.end; begin += kUnitGroup) {
      const Range some = {begin, smaller(begin + kUnitGroup, rows.end)};
      lay_out_rows(plan_.x, some, [&](int64_t row) SRN_INLINE_LAMBDA { return x + row * shape_.input; });
      lay_out_rows(plan_.h, some, [&](int64_t row) SRN_INLINE_LAMBDA { return before[row]; });
      lay_out_flat(plan_.dc, some, block.begin, rows_.dc);
      if (shape_.projection) lay_out_flat(plan_.m, some, block.begin, rows_.m);
    }
  }

  template <typename F>
  void lay_out_rows(const ColumnTiles<A>& to, const Range& rows, const F& from) const {
    for (int64_t tile = 0; tile < to.count(); ++tile) {
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        copy_columns(from(row) + tile * kColumns, to.valid(tile), to.vectors(tile), to(tile, row));
      }
    }
  }

  // From flat rows, which `first` is the first of. Columns of a tile past the last group hold anything.
  void lay_out_flat(const ColumnTiles<A>& to, const Range& rows, int64_t first, const FlatRows<A>& flat) const {
    constexpr int kPiece = kColumns % kUnitGroup == 0 ? kUnitGroup : kUnitGroup / 2;
    const int64_t end = smaller(round_up(to.columns, kUnitGroup), round_up(to.columns, lanes));
    for (int64_t column = 0; column < end; column += kPiece) {
      const int64_t tile = column / kColumns;
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        const A* from = flat(column / kUnitGroup, first + row) + column % kUnitGroup;
        memcpy(to(tile, row) + column % kColumns, from, sizeof(A) * kPiece);
      }
    }
  }

  // For each row of a block, the state that its step began with.
  void states_before(const Chunk& chunk, const Range& block, const A** before) const {
    const A* output = static_cast<const A*>(params_.output);
    const A* h0 = static_cast<const A*>(params_.h0);
    const int64_t* sizes = shape_.batch_sizes;
    const Range rows = {chunk.rows.begin + block.begin, chunk.rows.begin + block.end};
    int64_t row = chunk.rows.begin;  // a step's first
    for (int64_t t = chunk.first; row < rows.end; row += sizes[t++]) {
      const int64_t other = shape_.reverse ? t + 1 : t - 1;
      const int64_t others = other < 0 || other == shape_.steps ? 0 : sizes[other];
      const int64_t first = shape_.reverse ? row + sizes[t] : row - others;
      for (int64_t b = larger(rows.begin - row, 0); b < smaller(rows.end - row, sizes[t]); ++b) {
        const A* state = b < others ? output + (first + b) * params_.output_stride : h0 + b * shape_.state;
        before[row + b - rows.begin] = state;
      }
    }
  }

  // The thread's units' part of the gradients of weights and biases that a block's rows make up.
  void sum_rows(const Range& block, bool add) const {
    const int64_t hidden = shape_.hidden, state = shape_.state;
    const Range groups = share(size_.groups, thread_, threads_);
    const UnitMatrix ih = {params_.grad_ih, shape_.input, hidden, G}, hh = {params_.grad_hh, state, hidden, G};
    const UnitMatrix mc = {params_.grad_mc, M * hidden, hidden, M}, hr = {params_.grad_hr, hidden, state, 1};
    each_block(groups, G, [&](const Range& panels) {
      sum_panels<false>(rows_.dz.each(), panels, block, plan_.x, ih, add);
      sum_panels<false>(rows_.dz.each(), panels, block, plan_.h, hh, add);
      sum_bias(rows_.dz.each(), panels, block, {params_.grad_b, 1, hidden, G}, add);
    });
    each_block(groups, M,
               [&](const Range& panels) { sum_panels<true>(rows_.s.each(), panels, block, plan_.dc, mc, add); });
    sum_bias(rows_.dc, groups, block, {params_.grad_b_mc, 1, hidden, 1}, add);
    if (!shape_.projection) return;
    each_block(share(size_.state_groups, thread_, threads_), 1,
               [&](const Range& panels) { sum_panels<false>(rows_.dh, panels, block, plan_.m, hr, add); });
  }

  // A matrix of gradients, one of whose dimensions is that of `blocks` blocks of units. A panel is a unit group of a
  // block: panel = group * blocks + block.
  struct UnitMatrix {
    void* first;
    int64_t stride;  // from one row to the next
    int64_t units, blocks;

    int64_t unit(int64_t panel) const { return panel % blocks * units + panel / blocks * kUnitGroup; }
    int64_t valid(int64_t panel) const { return valid_columns(units, panel / blocks); }
    SRN_INLINE A* operator()(int64_t row, int64_t column) const {
      return static_cast<A*>(first) + row * stride + column;
    }
  };

  // Calls f(range) for the panels of some groups, few enough at a time for the second-level cache.
  template <typename F>
  static void each_block(const Range& groups, int64_t blocks, const F& f) {
    for (int64_t panel = groups.begin * blocks; panel < groups.end * blocks; panel += kPanels) {
      f(Range{panel, smaller(panel + kPanels, groups.end * blocks)});
    }
  }

  // All panels by all tiles. Units are the columns of the matrix, or else its rows.
  template <bool kUnitsAreColumns>
  static void sum_panels(const FlatRows<A>& flat, const Range& panels, const Range& block, const ColumnTiles<A>& tiles,
                         const UnitMatrix& to, bool add) {
    TileSums<A> sums;
    for (int64_t tile = 0; tile < tiles.count(); ++tile) {
      with_vectors(tiles.vectors(tile), [&](auto vectors) SRN_INLINE_LAMBDA {
        for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
          const A* x = tiles(tile);
          const A* next = kUnitsAreColumns ? x : to(to.unit(panel), tile * kColumns);
          sum_over_rows<decltype(vectors)::value>(block.size(), flat(panel, block.begin), x, next,
                                                  kUnitsAreColumns ? 0 : to.stride, sums);
          if constexpr (kUnitsAreColumns) {
            add_columns(sums, tiles.valid(tile), tile, to, panel, add);
          } else {
            for (int64_t unit = 0; unit < to.valid(panel); ++unit) {
              add_numbers(sums[int(unit)], tiles.valid(tile), to(to.unit(panel) + unit, tile * kColumns), add);
            }
          }
        }
      });
    }
  }

  static void add_columns(TileSums<A>& sums, int64_t valid, int64_t tile, const UnitMatrix& to, int64_t panel,
                          bool add) {
    using B = Block<A, 1>;
    constexpr int kHalves = lanes / B::kInner;
    for (int64_t first = 0; first < valid; first += lanes) {
      alignas(kAlignment) A rows[lanes * kUnitGroup];
      Vector<A> v[B::kCount];
      unrolled<0, kUnitGroup>([&](auto i) SRN_INLINE_LAMBDA { v[i.value] = load(sums[i.value] + first); });
      B::exchange(v);
      B::store_flat(v, rows);
      for (int64_t i = 0; i < lanes; ++i) {
        const int64_t row = first + i % kHalves * B::kInner + i / kHalves;  // the exchange's order
        if (row >= valid) continue;
        add_numbers(rows + i * kUnitGroup, to.valid(panel), to(tile * kColumns + row, to.unit(panel)), add);
      }
    }
  }

  // Sums of the rows themselves: `to` has a single column.
  static void sum_bias(const FlatRows<A>& flat, const Range& panels, const Range& block, const UnitMatrix& to,
                       bool add) {
    if (to.first == nullptr) return;
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      constexpr int kAtOnce = 4 * kUnitGroup;  // so many sums depend on none before them
      A sums[kAtOnce] = {};
      const A* from = flat(panel, block.begin);
      for (int64_t i = 0; i < block.size() * kUnitGroup; ++i) sums[i % kAtOnce] += from[i];
      for (int i = kUnitGroup; i < kAtOnce; ++i) sums[i % kUnitGroup] += sums[i];
      add_numbers(sums, to.valid(panel), to(to.unit(panel), 0), add);
    }
  }

  // A tile is nearly always whole.
  static SRN_INLINE void add_numbers(const A* from, int64_t count, A* to, bool add) {
    if (__builtin_expect(count == kColumns, 1)) {
#pragma GCC unroll 4
      for (int i = 0; i < kColumns; i += lanes) store(to + i, add ? load(to + i) + load(from + i) : load(from + i));
    } else if (add) {
      for (int64_t i = 0; i < count; ++i) to[i] += from[i];
    } else {
      for (int64_t i = 0; i < count; ++i) to[i] = from[i];
    }
  }

  // dx = dz W_ih: the thread's share of the column tiles, each cut into some rows at a time.
  void input_gradient(const Chunk& chunk) const {
    const int64_t tiles = ceil_div(shape_.input, kColumns), pieces = ceil_div(chunk.rows.size(), kItemRows);
    const Range items = share(tiles * pieces, thread_, threads_);
    for (int64_t item = items.begin; item < items.end;) {  // all that follow of a tile at once
      const int64_t tile = item / pieces, end = smaller(items.end, (tile + 1) * pieces);
      const Range rows = {(item - tile * pieces) * kItemRows,
                          smaller((end - tile * pieces) * kItemRows, chunk.rows.size())};
      const int64_t valid = smaller(shape_.input - tile * kColumns, kColumns);
      with_vectors(int(ceil_div(valid, lanes)), [&](auto vectors) SRN_INLINE_LAMBDA {
        input_gradient<decltype(vectors)::value>(chunk, rows, tile * kColumns, valid);
      });
      item = end;
    }
  }

  // All gates' units in blocks, those of the last group, which may be few, apart.
  template <int kVectors>
  void input_gradient(const Chunk& chunk, const Range& rows, int64_t column, int64_t valid) const {
    constexpr int64_t kBlock = kSumLength / kUnitGroup;
    const int64_t whole = shape_.hidden / kUnitGroup * G, all = size_.groups * G;
    for (int64_t panel = 0; panel < all;) {
      const Range panels = {panel, smaller(panel + kBlock, panel < whole ? whole : all)};
      const int64_t units = valid_columns(shape_.hidden, panel / G);
      lay_out_weights<kVectors>(panels, units, column, valid);
      TileSums<A> sums;
      for (int64_t row = rows.begin; row < rows.end; row += kUnitGroup) {
        const FlatRows<A> flat = rows_.dz.each();
        sum_over_units<kVectors>(panels.size(), units, flat(1) - flat(0), flat(panel, row), plan_.w(thread_), sums);
        A* to = static_cast<A*>(params_.grad_input) + (chunk.rows.begin + row) * shape_.input + column;
        for (int64_t i = 0; i < smaller(kUnitGroup, rows.end - row); ++i) {
          add_numbers(sums[int(i)], valid, to + i * shape_.input, panel > 0);
        }
      }
      panel = panels.end;
    }
  }

  // A tile's columns of W_ih, in the panels' order.
  template <int kVectors>
  void lay_out_weights(const Range& panels, int64_t units, int64_t column, int64_t valid) const {
    const A* ih = static_cast<const A*>(params_.weights.ih) + column;
    A* to = plan_.w(thread_);
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      const A* from = ih + (panel % G * shape_.hidden + panel / G * kUnitGroup) * shape_.input;
      for (int64_t unit = 0; unit < units; ++unit, to += kVectors * lanes) {
        copy_columns(from + unit * shape_.input, valid, kVectors, to);
      }
    }
  }

  const Plan& plan_;
  const RowGradients<T, N>& rows_;
  const Shape& shape_;
  const Extents& size_;
  const BackwardParams& params_;
  Barrier& barrier_;
  const int thread_, threads_;
};

}  // namespace SRN_ISA
}  // namespace srn
