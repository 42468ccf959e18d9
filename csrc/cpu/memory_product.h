// c = W_mc s (Eq. 8), in one of two ways.
//
//   by part    The thread that has computed a part's memories computes what they contribute to all columns of c, which
//              is then the sum over the parts. For this W_mc is packed by part, once a call.
//   as stored  Once all memories are there, each thread computes its columns of c, from W_mc as torch keeps it: for
//              calls of few steps (streaming), where packing would take longer than it saves.
#pragma once

#include "cpu/recurrence.h"

namespace srn {
namespace SRN_ISA {

// W_mc packed by part: (parts, hidden, the part's groups, M, kUnitGroup). For each of H columns of c, the numbers that
// multiply a part's memories lie side by side, and one block of memory holds all that a product with a part reads.
template <typename X>
struct PackedMemories {
  X* first;
  int64_t hidden, memories;

  static PackedMemories take(Arena& arena, const Extents& size, int64_t memories) {
    return {arena.take<X>(size.groups * size.hidden * memories * kUnitGroup), size.hidden, memories};
  }

  // The part of these groups, from a row on.
  SRN_INLINE X* operator()(Range part, int64_t row = 0) const {
    return first + (part.begin * hidden + row * part.size()) * memories * kUnitGroup;
  }
};

// What the product needs in the workspace.
template <typename T, int N>
struct MemoryPlan {
  using A = Compute<T>;
  using X = Operand<T>;
  static constexpr int M = memory_count(N);
  static constexpr bool kAlwaysByPart = !std::is_same_v<X, A>;  // pairs are laid out group by group
  static constexpr bool kWidened = sizeof(T) != sizeof(X);

  bool by_part;
  int64_t s_columns;         // numbers in a row of s: the largest part's groups, or M*H rounded up to whole groups
  PackedMemories<X> packed;  // by part
  X* copy;                   // as stored, of a W_mc in another type
  ThreadPieces<X> s;         // in lanes: by part, one part's memories; as stored, one piece, all by task subset
  PartSums<A> sums;          // of c: (parts, strips, hidden, lanes), by part in lanes, a deep strip's at the start of
                             // its room; as stored of one part, and as the product leaves them

  MemoryPlan(const Shape& shape, const Extents& size, Arena& arena) {
    constexpr int64_t kFewSteps = 4;
    by_part = shape.steps > kFewSteps || kAlwaysByPart;
    const int64_t memories = M * shape.hidden;
    s_columns = by_part ? size.part_groups * M * kUnitGroup : round_up(memories, kUnitGroup);
    if (by_part) packed = PackedMemories<X>::take(arena, size, M);
    copy = arena.take<X>(kWidened && !by_part ? shape.hidden * memories : 0);
    s = ThreadPieces<X>::take(arena, by_part ? size.team : 1, padded_rows<A>(shape.batch) * s_columns);
    sums = PartSums<A>::take(arena, by_part ? size.parts : 1, most_strips<A>(shape.batch), size.hidden);
  }
};

// A thread's share of the product.
template <typename T, int N>
class MemoryProduct {
  using A = Compute<T>;
  using V = Vector<A>;
  using X = Operand<T>;
  using Plan = MemoryPlan<T, N>;
  static constexpr int lanes = kLanes<A>;
  static constexpr int M = Plan::M;
  static constexpr int kDeepest = OperandOf<T>::kDeepest;

 public:
  // weight: W_mc, (H, M*H).
  MemoryProduct(const Plan& plan, const Shape& shape, const Extents& size, const void* weight, int thread)
      : plan_(plan),
        shape_(shape),
        size_(size),
        stored_(weight),
        mc_(as_operands<T>(weight, plan.copy)),
        s_(plan.s(plan.by_part ? thread : 0)) {}

  bool by_part() const { return plan_.by_part; }

  // Once a call: packs the thread's parts, or copies its share of the whole.
  void prepare(Range parts, int thread, int threads) const {
    if (plan_.by_part) {
      pack(parts);
    } else {
      copy_operands<T>(stored_, shape_.hidden * M * shape_.hidden, thread, threads, plan_.copy);
    }
  }

  // Takes one group's memories of a strip: s is M blocks of flat rows, as many as the strip has room for.
  template <typename B>
  void put(const Strip& strip, Range part, int64_t group, const A* s, B) const {
    if (plan_.by_part) {
      for (int m = 0; m < M; ++m) {
        V v[B::kCount];
        B::load_flat(s + m * B::kCount * lanes, v);
        store_operands(v, lanes_of(part)(strip.row, (group - part.begin) * M + m, B{}), B{});
      }
    } else if constexpr (!Plan::kAlwaysByPart) {
      spread(strip, group, s, B::kCount * lanes);
    }
  }

  // By part: what a part's memories contribute to all columns of c. after: what will be read next; scratch: a vector
  // for each column of each strip.
  void contribute(const Strips<A>& strips, int64_t part, const X* after, A* scratch) const {
    const Range groups = size_.part(part);
    const int64_t K = groups.size() * M * kUnitGroup;
    const WeightBlocks<X> weights = {plan_.packed(groups), size_.groups, kUnitGroup * K, K, kUnitGroup, after};
    const StripVectors<A> sums = plan_.sums(part);
    if constexpr (kDeepest == 1) {
      RowsProduct<X>(K, lanes_of(groups), weights, sums).run(strips);
    } else {
      const StripVectors<A> part_sums = {scratch, size_.hidden};
      RowsProduct<X>(K, lanes_of(groups), weights, sums).run_wide(strips);
      RowsProduct<X>(K, lanes_of(groups), weights, part_sums).run_deep(strips);
      for (int64_t i = strips.wide(); i < strips.count(); ++i) fold(strips[i], part_sums(i), sums(i));
    }
  }

  // As stored: all of c, for the columns of these groups.
  void multiply(const Strips<A>& strips, Range units) const {
    const int64_t memories = M * shape_.hidden;
    for (int64_t group = units.begin; group < units.end; ++group) {
      const X* weights = mc_ + group * kUnitGroup * memories;
      const int64_t valid = valid_columns(shape_.hidden, group);
      const StripVectors<A> sums = {plan_.sums(0)(0, group * kUnitGroup), size_.hidden};
      RowsProduct<X>(memories, {s_, plan_.s_columns}, {weights, 1, 0, memories, valid, weights + kUnitGroup * memories},
                     sums)
          .run(strips);
    }
  }

  // One group's columns of c of a strip, in lanes.
  template <typename B>
  SRN_INLINE void columns(int64_t strip, int64_t group, V (&v)[B::kCount], B) const {
    if (plan_.by_part) {
      sum_of_parts(plan_.sums, strip, group * B::kCount, v, B{});
    } else {
      sums_to_lanes(plan_.sums(0)(strip, group * kUnitGroup), v, B{});
    }
  }

 private:
  // The lanes of a part's memories.
  RowLanes<X> lanes_of(Range part) const { return {s_, part.size() * M * kUnitGroup}; }

  // Rows up to a whole group, and columns of units past the last, are zeros.
  void pack(Range parts) const {
    const T* mc = static_cast<const T*>(stored_);
    for (int64_t row = 0; row < size_.hidden; ++row) {
      for (int64_t part = parts.begin; part < parts.end; ++part) {
        const Range groups = size_.part(part);
        X* to = plan_.packed(groups, row);
        for (int64_t group = groups.begin; group < groups.end; ++group) {
          for (int64_t m = 0; m < M; ++m, to += kUnitGroup) {
            if (row < shape_.hidden) {
              gather_row<T, X>(mc + (row * M + m) * shape_.hidden + group * kUnitGroup,
                               valid_columns(shape_.hidden, group), to);
            } else {
              for (int c = 0; c < kUnitGroup; ++c) to[c] = X{};
            }
          }
        }
      }
    }
  }

  // Puts memories into lanes in the order of the stored W_mc, number by number: a group is no multiple of a vector
  // there. Blocks of s are `block` numbers long.
  void spread(const Strip& strip, int64_t group, const A* s, int block) const {
    A* to = RowLanes<X>{s_, plan_.s_columns}(strip.row);
    // Finds which lane of a strip holds a row by exchanging row numbers.
    alignas(kAlignment) A order[lanes * kUnitGroup];
    const int64_t width = lanes / strip.depth;
    for (int64_t r = 0; r < width; ++r) {
      for (int64_t u = 0; u < kUnitGroup; ++u) order[r * kUnitGroup + u] = A(r);
    }
    with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
      using B = Block<A, decltype(depth)::value>;
      V v[B::kCount];
      B::load_flat(order, v);
      B::exchange(v);
      B::store_lanes(v, order);
    });
    // Column k of the strip's first row; rows lie `depth` lanes apart.
    const auto column = [&](int64_t k) { return to + k / strip.depth * lanes + k % strip.depth; };
    const int64_t memories = M * shape_.hidden, valid = valid_columns(shape_.hidden, group);
    if (group == size_.groups - 1) {  // the last weights of a row are multiplied by whole vectors
      for (int64_t k = memories; k < plan_.s_columns; ++k) {
        for (int64_t b = 0; b < width; ++b) column(k)[b * strip.depth] = A(0);
      }
    }
    for (int64_t m = 0; m < M; ++m) {
      for (int64_t u = 0; u < valid; ++u) {
        A* lane = column(m * shape_.hidden + group * kUnitGroup + u);
        for (int64_t b = 0; b < width; ++b) {
          const int64_t row = int64_t(order[b * strip.depth]);
          lane[b * strip.depth] = s[m * block + row * kUnitGroup + u];
        }
      }
    }
  }

  // Adds up the part sums of a strip, so that the parts of c take no more of the cache than they must.
  void fold(const Strip& strip, const A* part_sums, A* sums) const {
    with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
      using B = Block<A, decltype(depth)::value>;
      for (int64_t group = 0; group < size_.groups; ++group) {
        V v[B::kCount];
        sums_to_lanes(part_sums + group * kUnitGroup * lanes, v, B{});
        unrolled<0, B::kCount>(
            [&](auto j) SRN_INLINE_LAMBDA { store(sums + (group * B::kCount + j.value) * lanes, v[j.value]); });
      }
    });
  }

  const Plan& plan_;
  const Shape& shape_;
  const Extents& size_;
  const void* stored_;
  const X* mc_;
  X* s_;
};

}  // namespace SRN_ISA
}  // namespace srn
