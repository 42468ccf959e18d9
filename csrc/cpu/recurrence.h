// What the forward and the backward recurrence share: the workspace, the packed weights' geometry, the thread team.
#pragma once

#include <omp.h>

#include "cpu/barrier.h"
#include "cpu/operand.h"
#include "srn.h"

namespace srn {
namespace SRN_ISA {

// Hands out aligned pieces of a workspace; from a null base it only measures, so one plan serves both.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}

  template <typename X>
  X* take(int64_t count) {
    X* piece = base_ == nullptr ? nullptr : reinterpret_cast<X*>(base_ + used_);
    used_ += size_t(round_up(count * int64_t(sizeof(X)), int64_t(kAlignment)));
    return piece;
  }

  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

// Sums over hidden units that several threads contribute to are kept in so many parts, each a fixed range of the units
// that one thread owns, and added up in a fixed order: results do not depend on the number of threads. It divides
// evenly among 2, 3, 4, 6 and 12 threads, the most that work on a call.
constexpr int64_t kParts = 12;

// A half-open range, and the part of `count` things that falls to one of `shares`.
struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

SRN_INLINE Range share(int64_t count, int64_t index, int64_t shares) {
  return {count * index / shares, count * (index + 1) / shares};
}

// Sizes derived from a shape that both directions use.
struct Extents {
  int64_t groups;        // groups of kGroup hidden units
  int64_t hidden;        // H rounded up to whole groups
  int64_t state_groups;  // the same for the P columns of the state
  int64_t state;
  int64_t parts;
  int64_t part_groups;  // the most groups of a part
  int team;             // threads worth using

  explicit Extents(const Shape& shape)
      : groups(ceil_div(shape.hidden, kGroup)),
        hidden(groups * kGroup),
        state_groups(ceil_div(shape.state, kGroup)),
        state(state_groups * kGroup),
        parts(smaller(kParts, groups)),
        part_groups(ceil_div(groups, parts > 0 ? parts : 1)) {
    // Below so many multiplications a step, a barrier costs more than a second thread saves.
    constexpr int64_t kWorthSharing = 1 << 17;
    const int64_t products = gate_blocks(shape.tasks) * shape.state + memory_count(shape.tasks) * shape.hidden;
    const bool share = shape.batch * shape.hidden * products >= kWorthSharing;
    team = share ? int(smaller(shape.threads, parts)) : 1;
  }

  // The groups of units of a part, and of all parts that a thread owns.
  Range part(int64_t index) const { return share(groups, index, parts); }
  Range units(Range own) const { return {share(groups, own.begin, parts).begin, share(groups, own.end, parts).begin}; }
};

// How many of a group's kGroup columns exist.
SRN_INLINE int64_t valid_columns(int64_t columns, int64_t group) {
  const int64_t left = columns - group * kGroup;
  return left < kGroup ? left : kGroup;
}

// A step's gates as they are kept for the backward pass: group by group, [group][G][row][unit], the last group of as
// many units as there are. Both passes go through them in this order, where rows of all gates would lie far apart.
template <typename T, int G>
class KeptGates {
 public:
  KeptGates(T* all, int64_t hidden, int64_t first_row, int64_t rows)
      : first_(all + first_row * G * hidden), hidden_(hidden), rows_(rows) {}

  // Those of one group and gate from a row on: rows of as many numbers as the group has units.
  T* at(int64_t group, int gate, int64_t row) const {
    return first_ + group * kGroup * G * rows_ + (gate * rows_ + row) * valid_columns(hidden_, group);
  }

 private:
  T* first_;
  int64_t hidden_, rows_;
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

// Packs W_mc by part: out of the row of each of H columns of c, the numbers that a part's memories are multiplied with,
// group by group: (hidden, groups of the part, M, kGroup). One block of memory then holds all that a product with a
// part reads. Rows up to a whole group, and columns of units past the last, are zeros.
template <typename T>
void pack_memories(const T* mc, int64_t hidden, int memories, const Extents& size, Range parts, Operand<T>* packed) {
  for (int64_t row = 0; row < size.hidden; ++row) {
    for (int64_t part = parts.begin; part < parts.end; ++part) {
      const Range groups = size.part(part);
      Operand<T>* to = packed + (groups.begin * size.hidden + row * groups.size()) * memories * kGroup;
      for (int64_t group = groups.begin; group < groups.end; ++group) {
        for (int64_t m = 0; m < memories; ++m, to += kGroup) {
          if (row < hidden) {
            gather_row<T, Operand<T>>(mc + (row * memories + m) * hidden + group * kGroup, valid_columns(hidden, group),
                                      to);
          } else {
            for (int c = 0; c < kGroup; ++c) to[c] = Operand<T>{};
          }
        }
      }
    }
  }
}

// The address of a matrix as operands: its own, or of a copy that the threads share in making.
template <typename T>
const Operand<T>* operands(const void* stored, int64_t count, Operand<T>* copy, int thread, int threads) {
  if constexpr (sizeof(T) == sizeof(Operand<T>)) {
    return static_cast<const T*>(stored);
  } else {
    if (stored == nullptr) return nullptr;
    const Range own = share(count, thread, threads);
    for (int64_t i = own.begin; i < own.end; ++i) copy[i] = widen(static_cast<const T*>(stored)[i]);
    return copy;
  }
}

}  // namespace SRN_ISA
}  // namespace srn
