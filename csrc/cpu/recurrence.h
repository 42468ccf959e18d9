// What the forward and the backward recurrence share: sizes, the parts of the hidden units, the order of the steps.
#pragma once

#include <omp.h>

#include "cpu/barrier.h"
#include "cpu/operand.h"
#include "srn.h"

namespace srn {
namespace SRN_ISA {

// Sums over hidden units that several threads contribute to are kept in so many parts, each a fixed range of the units
// that one thread owns, and added up in a fixed order: results do not depend on the number of threads. It divides
// evenly among 2, 3, 4, 6 and 12 threads, the most that work on a call.
constexpr int64_t kParts = 12;

// A half-open range, and the part of `count` things that falls to one of `shares`.
struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
  bool contains(int64_t i) const { return begin <= i && i < end; }
};

SRN_INLINE Range share(int64_t count, int64_t index, int64_t shares) {
  return {count * index / shares, count * (index + 1) / shares};
}

// Sizes derived from a shape that both directions use.
struct Extents {
  int64_t groups;        // unit groups: kGroup hidden units each
  int64_t hidden;        // H rounded up to whole groups
  int64_t state_groups;  // the same for the P columns of the state
  int64_t state;
  int64_t parts;
  int64_t part_groups;  // the most unit groups of a part
  int team;             // threads worth using

  explicit Extents(const Shape& shape)
      : groups(ceil_div(shape.hidden, kGroup)),
        hidden(groups * kGroup),
        state_groups(ceil_div(shape.state, kGroup)),
        state(state_groups * kGroup),
        parts(smaller(kParts, groups)),
        part_groups(ceil_div(groups, parts > 0 ? parts : 1)),
        units_(shape.hidden) {
    // Below so many multiplications a step, a barrier costs more than a second thread saves.
    constexpr int64_t kWorthSharing = 1 << 17;
    const int64_t products = gate_blocks(shape.tasks) * shape.state + memory_count(shape.tasks) * shape.hidden;
    const bool share = shape.batch * shape.hidden * products >= kWorthSharing;
    team = share ? int(smaller(shape.threads, parts)) : 1;
  }

  // The unit groups of a part, and of all parts that a thread owns.
  Range part(int64_t index) const { return share(groups, index, parts); }
  Range units(Range own) const { return {share(groups, own.begin, parts).begin, share(groups, own.end, parts).begin}; }

  // How many hidden units these groups have.
  int64_t unit_count(Range own) const { return smaller(own.end * kGroup, units_) - own.begin * kGroup; }

 private:
  int64_t units_;  // H
};

// The i-th of a thread's parts in a step: every other one takes them backwards, beginning with the weights that the
// caches still hold.
SRN_INLINE int64_t part_in_turn(Range parts, int64_t i, int64_t step) {
  return step % 2 == 0 ? parts.begin + i : parts.end - 1 - i;
}

// A group's vectors of one strip in a sum over the parts, added up in order: from `vector` on, in lanes.
template <typename A, typename B>
SRN_INLINE void sum_of_parts(const PartSums<A>& sums, int64_t strip, int64_t vector, Vector<A> (&v)[B::kCount], B) {
  const A* from = sums(0)(strip, vector);
  unrolled<0, B::kCount>([&](auto j) SRN_INLINE_LAMBDA { v[j.value] = load(from + j.value * B::lanes); });
  for (int64_t part = 1; part < sums.parts; ++part) {
    from = sums(part)(strip, vector);
    unrolled<0, B::kCount>([&](auto j) SRN_INLINE_LAMBDA { v[j.value] += load(from + j.value * B::lanes); });
  }
}

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

// A weight as products multiply it: as it is stored or, where that is in another type, from a copy, which the threads
// share in making.
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
    const Range own = share(count, thread, threads);
    for (int64_t i = own.begin; i < own.end; ++i) copy[i] = widen(static_cast<const T*>(stored)[i]);
  }
}

}  // namespace SRN_ISA
}  // namespace srn
