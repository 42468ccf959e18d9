// The two layouts of activations in memory, and the way between them.
//
// Weights are read as they are stored, so the activations are laid out for the vectors. Both layouts cut the columns
// (hidden units, or inputs) into unit groups of kUnitGroup, and the rows of a step (sequences) into strips:
//
//   flat   [group][row][kUnitGroup]: what the cell is computed on, whatever the vector's length
//   lanes  [strip][column / depth][lanes]: what products read. A vector holds `depth` consecutive columns of each of
//          the lanes / depth rows of a strip, so a product multiplies it by `depth` consecutive weights, broadcast.
//
// A strip of as many rows as a vector has lanes has depth 1; leftover rows take deeper strips, down to a single row, so
// no lane is idle for want of rows. The exchange below decides the order of a strip's rows among the lanes; only the
// exchange back depends on it.
#pragma once

#include <type_traits>
#include <utility>

#include "cpu/numeric.h"

namespace srn {
namespace SRN_ISA {

constexpr int kUnitGroup = 8;  // units (or other columns) in a unit group

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
SRN_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }  // std's would break cell.h's rule
SRN_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// How many of a group's kUnitGroup columns exist.
SRN_INLINE int64_t valid_columns(int64_t columns, int64_t group) {
  return smaller(columns - group * kUnitGroup, kUnitGroup);
}

// The depth of the deepest strip: all of a vector's lanes, for one row; in products by columns, which repeat a row's
// numbers for the columns of a group, at most a group.
template <typename A>
constexpr int kMaxDepth = kLanes<A>;
template <typename A>
constexpr int kMaxSpread = kLanes<A> < kUnitGroup ? kLanes<A> : kUnitGroup;

// -- strips -----------------------------------------------------------------------------------------------------------

struct Strip {
  int64_t row;   // its first row
  int64_t rows;  // how many it has; lanes past them hold anything
  int depth;
};

// The strips of a number of rows: full ones, then the rest in strips at most a quarter empty, except those of the
// greatest depth allowed. Only the last strip may have fewer rows than lanes / depth.
template <typename A>
class Strips {
 public:
  static constexpr int lanes = kLanes<A>;
  static constexpr int kMostRest = 5;

  explicit Strips(int64_t rows, int deepest = kMaxDepth<A>) : full_(rows / lanes) {
    int64_t row = full_ * lanes, left = rows - row;
    for (int width = lanes; left > 0;) {
      while (width / 2 >= left && width > lanes / deepest) width /= 2;
      const bool last = 4 * left >= 3 * width || width == lanes / deepest;
      const int64_t taken = last ? smaller(left, width) : width / 2;
      rest_[rest_count_++] = {row, taken, last ? lanes / width : 2 * lanes / width};
      row += taken, left -= taken;
    }
  }

  int64_t count() const { return full_ + rest_count_; }
  // How many have depth 1; they come first.
  int64_t wide() const { return full_ + (rest_count_ > 0 && rest_[0].depth == 1); }
  Strip operator[](int64_t i) const { return i < full_ ? Strip{i * lanes, lanes, 1} : rest_[i - full_]; }

 private:
  int64_t full_;
  int rest_count_ = 0;
  Strip rest_[kMostRest];
};

// The most strips for up to `rows` rows, and the most rows that a buffer for them must hold.
template <typename A>
constexpr int64_t most_strips(int64_t rows) {
  return rows / kLanes<A> + Strips<A>::kMostRest;
}
template <typename A>
constexpr int64_t padded_rows(int64_t rows) {
  return rows + kLanes<A>;
}

// Calls f(Index<depth>) for a strip's depth.
template <typename A, int depth = kMaxDepth<A>, typename F>
SRN_INLINE void with_depth(int wanted, const F& f) {
  if (wanted == depth) {
    f(Index<depth>{});
  } else if constexpr (depth > 1) {
    with_depth<A, depth / 2>(wanted, f);
  }
}

// -- between the layouts ----------------------------------------------------------------------------------------------

// Exchanges blocks of `step` lanes between two vectors: the second of each pair of blocks of `a` with the first of `b`.
template <typename E, int step, int... lane>
SRN_INLINE void swap_blocks(Vector<E>& a, Vector<E>& b, std::integer_sequence<int, lane...>) {
  constexpr int lanes = kLanes<E>;
#if defined(__clang__)
  const Vector<E> low = __builtin_shufflevector(a, b, ((lane & step) ? lanes + lane - step : lane)...);
  b = __builtin_shufflevector(a, b, ((lane & step) ? lanes + lane : lane + step)...);
#else
  using Mask = typename Lanes<Vector<E>>::Int;
  const Vector<E> low = __builtin_shuffle(a, b, Mask{((lane & step) ? lanes + lane - step : lane)...});
  b = __builtin_shuffle(a, b, Mask{((lane & step) ? lanes + lane : lane + step)...});
#endif
  a = low;
}

template <int step, typename E>
SRN_INLINE void swap_blocks(Vector<E>& a, Vector<E>& b, const E*) {
  swap_blocks<E, step>(a, b, std::make_integer_sequence<int, kLanes<E>>{});
}

// Gives each lane the value of the `which`-th lane in its block of `depth` lanes.
template <typename E, int depth, int which, int... lane>
SRN_INLINE Vector<E> spread(Vector<E> a, std::integer_sequence<int, lane...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, a, (lane / depth * depth + which)...);
#else
  using Mask = typename Lanes<Vector<E>>::Int;
  return __builtin_shuffle(a, Mask{(lane / depth * depth + which)...});
#endif
}

// A group's columns of one strip: the same vectors in either layout.
template <typename A, int depth>
struct Block {
  using Number = A;
  using V = Vector<A>;
  static constexpr int lanes = kLanes<A>;
  static constexpr int kCount = kUnitGroup / depth;            // vectors
  static constexpr int kNumbers = kUnitGroup * lanes / depth;  // that it takes in lanes
  static constexpr int kInner = lanes < kUnitGroup ? lanes : kUnitGroup;

  // The place of register i in the flat layout, in vectors: if a row takes several, they must be adjacent there.
  static constexpr int flat_at(int i) {
    constexpr int rows = kInner / depth;
    return i % rows * (kUnitGroup / kInner) + i / rows;
  }

  // From flat to lanes and back: swaps bits of the vector's number with bits of the lane's.
  template <int step = kInner / 2>
  static SRN_INLINE void exchange(V (&v)[kCount]) {
    if constexpr (step >= depth && step > 0) {
      unrolled<0, kCount>([&](auto i) SRN_INLINE_LAMBDA {
        constexpr int distance = step / depth;
        if constexpr ((i.value & distance) == 0) {
          swap_blocks<step>(v[i.value], v[i.value + distance], static_cast<const A*>(nullptr));
        }
      });
      exchange<step / 2>(v);
    }
  }

  static SRN_INLINE void load_flat(const A* from, V (&v)[kCount]) {
    unrolled<0, kCount>([&](auto i) SRN_INLINE_LAMBDA { v[i.value] = load(from + flat_at(i.value) * lanes); });
  }
  static SRN_INLINE void store_flat(const V (&v)[kCount], A* to) {
    unrolled<0, kCount>([&](auto i) SRN_INLINE_LAMBDA { store(to + flat_at(i.value) * lanes, v[i.value]); });
  }
  static SRN_INLINE void load_lanes(const A* from, V (&v)[kCount]) {
    unrolled<0, kCount>([&](auto i) SRN_INLINE_LAMBDA { v[i.value] = load(from + i.value * lanes); });
  }
  static SRN_INLINE void store_lanes(const V (&v)[kCount], A* to) {
    unrolled<0, kCount>([&](auto i) SRN_INLINE_LAMBDA { store(to + i.value * lanes, v[i.value]); });
  }

  // Adds up what a product by rows leaves, for each column a vector of `depth` part sums a row, into lanes.
  static SRN_INLINE void sum_parts(V (&columns)[kUnitGroup], V (&v)[kCount]) {
    sum_pairs<1>(columns);
    unrolled<0, kCount>([&](auto i) SRN_INLINE_LAMBDA { v[i.value] = columns[i.value]; });
  }

  // Stores what a product by columns reads: one vector a column, each row's value `depth` times. `v` is in lanes.
  static SRN_INLINE void store_spread(const V (&v)[kCount], A* to) {
    unrolled<0, kUnitGroup>([&](auto column) SRN_INLINE_LAMBDA {
      constexpr int c = decltype(column)::value;
      store(to + c * lanes, spread<A, depth, c % depth>(v[c / depth], std::make_integer_sequence<int, lanes>{}));
    });
  }

 private:
  template <int step>
  static SRN_INLINE void sum_pairs(V (&columns)[kUnitGroup]) {
    if constexpr (step < depth) {
      unrolled<0, kUnitGroup / (2 * step)>([&](auto i) SRN_INLINE_LAMBDA {
        V a = columns[2 * i.value], b = columns[2 * i.value + 1];
        swap_blocks<step>(a, b, static_cast<const A*>(nullptr));
        columns[i.value] = a + b;
      });
      sum_pairs<2 * step>(columns);
    }
  }
};

// A single row in lanes, where a vector is as long as two groups: columns in their order. In the flat layout it shares
// its vector with a row that does not exist.
template <typename A>
struct Block<A, 2 * kUnitGroup> {
  using Number = A;
  using V = Vector<A>;
  using Pair = Block<A, kUnitGroup>;
  static constexpr int lanes = kLanes<A>;
  static constexpr int kCount = 1;
  static constexpr int kNumbers = kUnitGroup;
  static constexpr int kInner = kUnitGroup;
  static constexpr int flat_at(int) { return 0; }

  static SRN_INLINE void exchange(V (&)[1]) {}
  static SRN_INLINE void load_flat(const A* from, V (&v)[1]) { Pair::load_flat(from, v); }
  static SRN_INLINE void store_flat(const V (&v)[1], A* to) { Pair::store_flat(v, to); }
  static SRN_INLINE void store_lanes(const V (&v)[1], A* to) { memcpy(to, &v[0], sizeof(A) * kUnitGroup); }

  // As for two rows, which are then added up too.
  static SRN_INLINE void sum_parts(V (&columns)[kUnitGroup], V (&v)[1]) {
    Pair::sum_parts(columns, v);
    V other = v[0];
    swap_blocks<kUnitGroup>(v[0], other, static_cast<const A*>(nullptr));
    v[0] += other;
  }
};

// Adds up what a product by rows left for a group, for each column a vector of `depth` part sums a row, into lanes.
template <typename B>
SRN_INLINE void sums_to_lanes(const typename B::Number* sums, typename B::V (&v)[B::kCount], B) {
  typename B::V columns[kUnitGroup];
  unrolled<0, kUnitGroup>([&](auto c) SRN_INLINE_LAMBDA { columns[c.value] = load(sums + c.value * B::lanes); });
  B::sum_parts(columns, v);
}

// The same, into flat rows.
template <typename B>
SRN_INLINE void sums_to_flat(const typename B::Number* sums, typename B::V (&v)[B::kCount], B) {
  sums_to_lanes(sums, v, B{});
  B::exchange(v);
}

}  // namespace SRN_ISA
}  // namespace srn
