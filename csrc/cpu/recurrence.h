// What the forward and the backward recurrence share: sizes, the parts of the hidden units, the order of the steps.
#pragma once

#include <omp.h>

#include "cpu/barrier.h"
#include "cpu/operand.h"
#include "srn.h"

namespace srn {
namespace SRN_ISA {

// Sums over hidden units are kept in this many parts, each a fixed range of the units that one thread owns, and added
// up in a fixed order: results do not depend on the number of threads. It divides evenly among 2, 3, 4, 6 and 12
// threads, the most that work on a call.
constexpr int64_t kParts = 12;

// A half-open range.
struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
  bool contains(int64_t i) const { return begin <= i && i < end; }
};

// The `index`-th of `shares` equal shares of `count` items.
SRN_INLINE Range share(int64_t count, int64_t index, int64_t shares) {
  return {count * index / shares, count * (index + 1) / shares};
}

// Sizes derived from a shape, for both passes.
struct Extents {
  int64_t groups;        // unit groups: kUnitGroup hidden units each
  int64_t hidden;        // H rounded up to whole groups
  int64_t state_groups;  // the same for the P columns of the state
  int64_t state;
  int64_t parts;
  int64_t part_groups;  // the most unit groups of a part
  int team;             // threads worth using

  explicit Extents(const Shape& shape)
      : groups(ceil_div(shape.hidden, kUnitGroup)),
        hidden(groups * kUnitGroup),
        state_groups(ceil_div(shape.state, kUnitGroup)),
        state(state_groups * kUnitGroup),
        parts(smaller(kParts, groups)),
        part_groups(ceil_div(groups, parts > 0 ? parts : 1)),
        units_(shape.hidden) {
    // Below this many multiplications a step, a barrier costs more than a second thread saves.
    constexpr int64_t kWorthSharing = 1 << 17;
    const int64_t products = gate_blocks(shape.tasks) * shape.state + memory_count(shape.tasks) * shape.hidden;
    const bool share = shape.batch * shape.hidden * products >= kWorthSharing;
    team = share ? int(smaller(shape.threads, parts)) : 1;
  }

  // The unit groups of a part, and of a range of parts.
  Range part(int64_t index) const { return share(groups, index, parts); }
  Range units(Range range) const {
    return {share(groups, range.begin, parts).begin, share(groups, range.end, parts).begin};
  }

  // How many hidden units a range of groups has.
  int64_t unit_count(Range range) const { return smaller(range.end * kUnitGroup, units_) - range.begin * kUnitGroup; }

 private:
  int64_t units_;  // H
};

// The i-th of a thread's parts in a step: every other step takes them backwards, beginning with the weights that the
// caches still hold.
SRN_INLINE int64_t part_in_turn(Range parts, int64_t i, int64_t step) {
  return step % 2 == 0 ? parts.begin + i : parts.end - 1 - i;
}

// A group's vectors of one strip, from `vector` on, in lanes: the sum over the parts, in order.
template <typename A, typename B>
SRN_INLINE void sum_of_parts(const PartSums<A>& sums, int64_t strip, int64_t vector, Vector<A> (&v)[B::kCount], B) {
  const A* from = sums(0)(strip, vector);
  unrolled<0, B::kCount>([&](auto j) SRN_INLINE_LAMBDA { v[j.value] = load(from + j.value * B::lanes); });
  for (int64_t part = 1; part < sums.parts; ++part) {
    from = sums(part)(strip, vector);
    unrolled<0, B::kCount>([&](auto j) SRN_INLINE_LAMBDA { v[j.value] += load(from + j.value * B::lanes); });
  }
}

// Consecutive steps.
struct Chunk {
  Range rows;
  int64_t first;  // t of the first in time
};

// The steps in the order that a direction visits them, with the rows of each.
class Schedule {
 public:
  explicit Schedule(const Shape& shape, bool backwards)
      : sizes_(shape.batch_sizes), count_(shape.steps), rows_(shape.rows), down_(shape.reverse != backwards) {}

  struct Step {
    int64_t index;  // t
    int64_t row;    // its first row
    int64_t rows;   // its number of rows, 0 past the end
  };

  Step first() const {
    if (count_ == 0) return {0, 0, 0};
    return down_ ? Step{count_ - 1, rows_ - sizes_[count_ - 1], sizes_[count_ - 1]} : Step{0, 0, sizes_[0]};
  }

  // As many whole steps as `most` rows hold, the given one in any case.
  Chunk chunk(Step step, int64_t most) const {
    Chunk chunk = {{step.row, step.row + step.rows}, step.index};
    for (step = next(step); !done(step) && chunk.rows.size() + step.rows <= most; step = next(step)) {
      chunk.rows = {smaller(chunk.rows.begin, step.row), larger(chunk.rows.end, step.row + step.rows)};
      chunk.first = smaller(chunk.first, step.index);
    }
    return chunk;
  }

  bool done(const Step& step) const { return step.rows == 0; }

  Step next(const Step& step) const {
    const int64_t index = down_ ? step.index - 1 : step.index + 1;
    if (index < 0 || index >= count_) return {index, 0, 0};
    return {index, down_ ? step.row - sizes_[index] : step.row + step.rows, sizes_[index]};
  }

 private:
  const int64_t* sizes_;
  int64_t count_, rows_;
  bool down_;
};

// A weight as products multiply it: as it is stored or, if that is another type, from a copy that the threads make
// together.
template <typename T>
const Operand<T>* as_operands(const void* stored, const Operand<T>* copy) {
  if constexpr (sizeof(T) == sizeof(Operand<T>)) {
    return static_cast<const T*>(stored);
  } else {
    return copy;
  }
}

template <typename T>
void copy_operands(const void* stored, int64_t count, int thread, int threads, Operand<T>* copy) {
  if constexpr (sizeof(T) != sizeof(Operand<T>)) {
    if (stored == nullptr) return;
    const Range range = share(count, thread, threads);
    for (int64_t i = range.begin; i < range.end; ++i) copy[i] = widen(static_cast<const T*>(stored)[i]);
  }
}

}  // namespace SRN_ISA
}  // namespace srn
