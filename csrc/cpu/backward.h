// The backward recurrence on a CPU: the forward's phases in the opposite order, over the same slices.
//
//   1. the gradient of h, and from it that of c, for the own columns (with a projection, W_hr lies in between)
//   2. the gradients of the own units' memories, ds = dc W_mc, and through the cell those of their gates: reads all dc
//   3. the own columns of the state's gradient, dh = dz W_hh: reads all dz; then phase 1 of the step before follows
//      without a barrier, as it needs only the own columns
#pragma once

#include "cpu/recurrence.h"

namespace srn {
namespace SRN_ISA {

template <typename T, int N>
class Backward {
  using A = Compute<T>;
  using V = Vector<A>;
  using Unit = Cell<V, N>;
  static constexpr int G = Unit::G;
  static constexpr int M = Unit::M;
  static constexpr int kBlock = M * kGroup;  // memory columns of a group of units

 public:
  static size_t workspace(const Shape& shape) { return Backward(shape, nullptr).used_; }

  static void run(const BackwardParams& params) {
    Backward plan(params.shape, params.workspace);
    Barrier barrier;
#pragma omp parallel num_threads(plan.size_.team) if (plan.size_.team > 1)
    plan.work(params, barrier, omp_get_thread_num(), omp_get_num_threads());
  }

 private:
  Backward(const Shape& shape, void* base) : shape_(shape), size_(shape) {
    Arena arena(base);
    mc_ = arena.take<A>(size_.unit_groups * kBlock * shape.hidden);
    hh_ = arena.take<A>(size_.state * G * shape.hidden);
    hr_ = arena.take<A>(shape.projection ? size_.hidden * shape.state : 0);
    ds_ = arena.take<A>(shape.batch * kBlock * size_.team);
    dz_ = arena.take<A>(shape.batch * G * shape.hidden);
    dc_ = arena.take<A>(shape.batch * size_.hidden);
    dc_next_ = arena.take<A>(shape.batch * size_.hidden);
    dm_ = arena.take<A>(shape.batch * size_.hidden);
    dh_ = arena.take<A>(shape.projection ? shape.batch * size_.state : 0);
    dh_next_ = arena.take<A>(shape.batch * size_.state);
    used_ = arena.used();
  }

  void work(const BackwardParams& params, Barrier& barrier, int thread, int threads) const {
    const Range units = share(size_.unit_groups, thread, threads);
    const Range state = share(size_.state_groups, thread, threads);
    prepare(params, units, state, thread, threads);
    barrier.wait(threads);
    const Schedule schedule(shape_, true);
    for (Schedule::Step step = schedule.first(); !schedule.done(step); step = schedule.next(step)) {
      const Schedule::Step ahead = schedule.next(step);  // in time: the step that this one's c_prev comes from
      hidden_gradient(params, state, step);
      if (shape_.projection) {
        barrier.wait(threads);
        unproject(units, step);
      }
      cell_gradient(params, units, step);
      barrier.wait(threads);
      for (int64_t group = units.begin; group < units.end; ++group) {
        gate_gradient(params, group, step, ahead, ds_ + thread * shape_.batch * kBlock);
      }
      barrier.wait(threads);
      const int64_t first = state.begin * kGroup, width = G * shape_.hidden;
      multiply<A>(step.rows, width, dz_, width, hh_ + first * width, state.size() * kGroup / kLanes<A>, nullptr, 0,
                  dh_next_ + first, size_.state);
    }
    barrier.wait(threads);
    const Range rows = share(shape_.batch, thread, threads);
    narrow_rows<T>(dh_next_ + rows.begin * size_.state, size_.state, rows.size(), {0, shape_.state},
                   static_cast<T*>(params.grad_h0) + rows.begin * shape_.state, shape_.state);
    narrow_rows<T>(dc_next_ + rows.begin * size_.hidden, size_.hidden, rows.size(), {0, shape_.hidden},
                   static_cast<T*>(params.grad_c0) + rows.begin * shape_.hidden, shape_.hidden);
  }

  void prepare(const BackwardParams& params, Range units, Range state, int thread, int threads) const {
    const T* mc = static_cast<const T*>(params.weights.mc);
    const T* hh = static_cast<const T*>(params.weights.hh);
    const int64_t hidden = shape_.hidden;
    for (int64_t group = units.begin; group < units.end; ++group) {
      pack<T>(
          hidden, M, [&](int64_t memory) { return mc + memory * hidden + group * kGroup; },
          [&](int64_t) { return valid_columns(hidden, group); }, M * hidden, 1, mc_ + group * kBlock * hidden);
    }
    pack<T>(
        G * hidden, state.size(), [&](int64_t j) { return hh + (state.begin + j) * kGroup; },
        [&](int64_t j) { return valid_columns(shape_.state, state.begin + j); }, shape_.state, 1,
        hh_ + state.begin * kGroup * G * hidden);
    if (shape_.projection) {
      const T* hr = static_cast<const T*>(params.weights.hr);
      pack<T>(
          shape_.state, units.size(), [&](int64_t j) { return hr + (units.begin + j) * kGroup; },
          [&](int64_t j) { return valid_columns(hidden, units.begin + j); }, hidden, 1,
          hr_ + units.begin * kGroup * shape_.state);
    }
    const Range rows = share(shape_.batch, thread, threads);
    const T* grad_h_n = static_cast<const T*>(params.grad_h_n);
    const T* grad_c_n = static_cast<const T*>(params.grad_c_n);
    widen_rows<T>(grad_h_n == nullptr ? nullptr : grad_h_n + rows.begin * shape_.state, shape_.state, rows.size(),
                  {0, shape_.state}, dh_next_ + rows.begin * size_.state, size_.state);
    widen_rows<T>(grad_c_n == nullptr ? nullptr : grad_c_n + rows.begin * hidden, hidden, rows.size(), {0, hidden},
                  dc_next_ + rows.begin * size_.hidden, size_.hidden);
  }

  // Phase 1: the whole gradient of h_t, own columns. Without a projection this is the gradient of the hidden units.
  void hidden_gradient(const BackwardParams& params, Range state, const Schedule::Step& step) const {
    const int64_t first = state.begin * kGroup, last = smaller(state.end * kGroup, shape_.state);
    const T* grad = static_cast<const T*>(params.grad_output);
    A* to = shape_.projection ? dh_ : dm_;  // the same row length: without a projection P = H
    for (int64_t b = 0; b < step.rows; ++b) {
      const T* from = grad == nullptr ? nullptr : grad + (step.row + b) * params.grad_output_stride;
      for (int64_t p = first; p < last; ++p) {
        to[b * size_.state + p] = dh_next_[b * size_.state + p] + (from == nullptr ? A(0) : widen(from[p]));
      }
    }
    if (shape_.projection) {
      narrow_rows<T>(dh_, size_.state, step.rows, {first, last}, static_cast<T*>(params.dh) + step.row * shape_.state,
                     shape_.state);
    }
  }

  void unproject(Range units, const Schedule::Step& step) const {
    const int64_t first = units.begin * kGroup;
    multiply<A>(step.rows, shape_.state, dh_, size_.state, hr_ + first * shape_.state,
                units.size() * kGroup / kLanes<A>, nullptr, 0, dm_ + first, size_.hidden);
  }

  // Phase 1, second half: the whole gradient of c_t, own columns.
  void cell_gradient(const BackwardParams& params, Range units, const Schedule::Step& step) const {
    const T* cells = static_cast<const T*>(params.cells);
    const T* gates = static_cast<const T*>(params.gates);
    for (int64_t b = 0; b < step.rows; ++b) {
      const int64_t row = step.row + b;
      for (int64_t group = units.begin; group < units.end; ++group) {
        const int64_t first = group * kGroup, at = b * size_.hidden + first;
        const int64_t valid = valid_columns(shape_.hidden, group);
        alignas(kAlignment) A o[kGroup], c[kGroup];
        gather<1>(gates + (row * G + kOutput) * shape_.hidden + first, 0, valid, o);
        gather<1>(cells + row * shape_.hidden + first, 0, valid, c);
        for (int u = 0; u < kGroup; u += kLanes<A>) {
          store(dc_ + at + u,
                Unit::cell_gradient(load(o + u), load(c + u), load(dm_ + at + u), load(dc_next_ + at + u)));
        }
        scatter<T, 1>(dc_ + at, valid, static_cast<T*>(params.dc) + row * shape_.hidden + first, 0);
      }
    }
  }

  // Phase 2 for one group of units: Eq. 8, 10 and then 7-1 backwards.
  void gate_gradient(const BackwardParams& params, int64_t group, const Schedule::Step& step,
                     const Schedule::Step& ahead, A* ds) const {
    const int64_t hidden = shape_.hidden, first = group * kGroup, valid = valid_columns(hidden, group);
    multiply<A>(step.rows, hidden, dc_, size_.hidden, mc_ + group * kBlock * hidden, kBlock / kLanes<A>, nullptr, 0, ds,
                kBlock);
    const T* grad_memories = static_cast<const T*>(params.grad_memories);
    const T* cells = static_cast<const T*>(params.cells);
    for (int64_t b = 0; b < step.rows; ++b) {
      const int64_t row = step.row + b;
      // A sequence that the step before (in time) does not hold starts here, from its initial state.
      const T* c_prev =
          b < ahead.rows ? cells + (ahead.row + b) * hidden : static_cast<const T*>(params.c0) + b * hidden;
      Block block;
      gather<G>(static_cast<const T*>(params.gates) + row * G * hidden + first, hidden, valid, block.gate);
      gather<1>(c_prev + first, 0, valid, block.c_prev);
      gather<1>(cells + row * hidden + first, 0, valid, block.c);
      if (grad_memories != nullptr) {
        gather<M>(grad_memories + row * params.grad_memories_row_stride + first, params.grad_memory_stride, valid,
                  block.memory);
      } else {
        for (int i = 0; i < M * kGroup; ++i) block.memory[i] = 0;
      }
      const int64_t at = b * size_.hidden + first;
      through_cell(block, dm_ + at, ds + b * kBlock, dc_next_ + at);
      scatter<T, M>(block.memory, valid, static_cast<T*>(params.s) + row * M * hidden + first, hidden);
      scatter<T, G>(block.gate, valid, static_cast<T*>(params.dz) + row * G * hidden + first, hidden);
      scatter<A, G>(block.gate, valid, dz_ + b * G * hidden + first, hidden);
    }
  }

  // One row of a group of units. `gate` goes in as gates and comes out as their gradients dz; `memory` goes in as the
  // gradient of tanh(s) and comes out as s.
  struct Block {
    alignas(kAlignment) A gate[G * kGroup];
    alignas(kAlignment) A memory[M * kGroup];
    alignas(kAlignment) A c_prev[kGroup];
    alignas(kAlignment) A c[kGroup];
  };

  static void through_cell(Block& block, const A* dm, const A* ds, A* dc_prev) {
    for (int u = 0; u < kGroup; u += kLanes<A>) {
      V gate[G], s[M], d[M], dz[G];
      const V c_prev = load(block.c_prev + u);
      unrolled<0, G>([&](auto g) SRN_INLINE_LAMBDA { gate[g.value] = load(block.gate + g.value * kGroup + u); });
      Unit::memories(gate, c_prev, s);
      unrolled<0, M>([&](auto m) SRN_INLINE_LAMBDA {
        const int i = m.value * kGroup + u;
        const V t = tanh(s[m.value]);
        d[m.value] = load(ds + i) + load(block.memory + i) * (A(1) - t * t);
        store(block.memory + i, s[m.value]);
      });
      store(dc_prev + u, Unit::backward(gate, c_prev, load(block.c + u), load(dm + u), d, dz));
      unrolled<0, G>([&](auto g) SRN_INLINE_LAMBDA { store(block.gate + g.value * kGroup + u, dz[g.value]); });
    }
  }

  Shape shape_;
  Extents size_;
  A* mc_;       // packed, by unit group: M * kGroup columns, H rows
  A* hh_;       // packed, by thread: its columns of P, G*H rows
  A* hr_;       // packed, by thread: its columns of H, P rows
  A* ds_;       // (team, B, M, kGroup): a thread's gradients of one group's memories
  A* dz_;       // (B, G*H): the step's gate gradients
  A* dc_;       // (B, hidden): the step's gradient of c
  A* dc_next_;  // (B, hidden): gradient of c that comes from later steps
  A* dm_;       // (B, hidden): the step's gradient of the hidden units
  A* dh_;       // (B, state): the step's gradient of h, with a projection
  A* dh_next_;  // (B, state): gradient of h that comes from later steps
  size_t used_;
};

}  // namespace SRN_ISA
}  // namespace srn
