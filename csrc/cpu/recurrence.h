// What the forward and the backward recurrence share: the workspace, the packed weights' geometry, the thread team.
#pragma once

#include <omp.h>

#include "cpu/barrier.h"
#include "cpu/gemm.h"
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

// Sizes derived from a shape that both directions use.
struct Extents {
  int64_t unit_groups;   // groups of kGroup hidden units
  int64_t hidden;        // H rounded up to whole groups: the row length of buffers over hidden units
  int64_t state_groups;  // the same for the P columns of the state
  int64_t state;
  int team;  // threads worth using

  explicit Extents(const Shape& shape)
      : unit_groups(ceil_div(shape.hidden, kGroup)),
        hidden(unit_groups * kGroup),
        state_groups(ceil_div(shape.state, kGroup)),
        state(state_groups * kGroup) {
    // Below so many multiplications a step, a barrier costs more than a second thread saves.
    constexpr int64_t kWorthSharing = 1 << 17;
    const int64_t products = gate_blocks(shape.tasks) * shape.state + memory_count(shape.tasks) * shape.hidden;
    const bool share = shape.batch * shape.hidden * products >= kWorthSharing;
    team = share ? int(smaller(shape.threads, unit_groups)) : 1;
  }
};

// How many of a group's kGroup columns exist.
SRN_INLINE int64_t valid_columns(int64_t columns, int64_t group) {
  const int64_t left = columns - group * kGroup;
  return left < kGroup ? left : kGroup;
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

// Copies a (rows x columns) matrix of stored numbers to computed ones; a null source is zeros.
template <typename T>
void widen_rows(const T* from, int64_t from_stride, int64_t rows, Range columns, Compute<T>* to, int64_t to_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = columns.begin; c < columns.end; ++c) {
      to[r * to_stride + c] = from == nullptr ? 0 : widen(from[r * from_stride + c]);
    }
  }
}

template <typename T>
void narrow_rows(const Compute<T>* from, int64_t from_stride, int64_t rows, Range columns, T* to, int64_t to_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = columns.begin; c < columns.end; ++c) {
      to[r * to_stride + c] = narrow<T>(from[r * from_stride + c]);
    }
  }
}

// Reads `count` groups of kGroup numbers from rows `stride` apart; columns past the valid ones are zeros.
template <int count, typename T>
void gather(const T* from, int64_t stride, int64_t valid, Compute<T>* to) {
  for (int i = 0; i < count; ++i) {
    for (int64_t u = 0; u < kGroup; ++u) to[i * kGroup + u] = u < valid ? widen(from[i * stride + u]) : Compute<T>(0);
  }
}

// Writes `count` groups of kGroup numbers to rows `stride` apart, the valid columns of each.
template <typename T, int count>
void scatter(const Compute<T>* from, int64_t valid, T* to, int64_t stride) {
  for (int i = 0; i < count; ++i) {
    for (int64_t u = 0; u < valid; ++u) to[i * stride + u] = narrow<T>(from[i * kGroup + u]);
  }
}

}  // namespace SRN_ISA
}  // namespace srn
