// The forward recurrence on a CPU.
//
// A team of threads works on one call. Each thread owns a range of hidden-unit groups, with their gates' columns of
// W_ih and W_hh, and a range of the columns of W_mc; it packs what it owns. A step has two phases, a barrier after each:
//
//   1. gates of the own units, activated, and their memories: reads all of h, writes the own part of s
//   2. the own columns of c = W_mc s, and of h = o tanh(c): reads all of s, writes the own part of c and h
//   3. with a projection, the own columns of W_hr m
//
// The input's part of the gates is computed a chunk of steps at a time, by the thread that will use it. A call of only a
// few rows (streaming) reads the weights as they are stored: packing them would take longer than using them once.
#pragma once

#include "cpu/recurrence.h"

namespace srn {
namespace SRN_ISA {

template <typename T, int N>
class Forward {
  using A = Compute<T>;
  using V = Vector<A>;
  using Unit = Cell<V, N>;
  static constexpr int G = Unit::G;
  static constexpr int M = Unit::M;
  static constexpr int kBlock = G * kGroup;  // gate columns of a group of units
  static constexpr int64_t kBlockVectors = kBlock / kLanes<A>;

 public:
  static size_t workspace(const Shape& shape) { return Forward(shape, nullptr).used_; }

  static void run(const ForwardParams& params) {
    Forward plan(params.shape, params.workspace);
    Barrier barrier;
#pragma omp parallel num_threads(plan.size_.team) if (plan.size_.team > 1)
    plan.work(params, barrier, omp_get_thread_num(), omp_get_num_threads());
  }

 private:
  Forward(const Shape& shape, void* base) : shape_(shape), size_(shape) {
    constexpr int64_t kChunkRows = 128;
    direct_ = shape.rows <= kDirectRows;
    const int64_t packed = direct_ ? 0 : 1;
    chunk_rows_ = smaller(shape.rows, shape.batch > kChunkRows ? shape.batch : kChunkRows);
    Arena arena(base);
    ih_ = arena.take<A>(packed * size_.unit_groups * kBlock * shape.input);
    hh_ = arena.take<A>(packed * size_.unit_groups * kBlock * shape.state);
    mc_ = arena.take<A>(packed * size_.hidden * M * shape.hidden);
    hr_ = arena.take<A>(shape.projection ? packed * size_.state * shape.hidden : 0);
    bias_ = arena.take<A>(size_.unit_groups * kBlock);
    bias_mc_ = arena.take<A>(size_.hidden);
    x_ = arena.take<A>(sizeof(T) == sizeof(A) ? 0 : chunk_rows_ * shape.input);
    z_ = arena.take<A>(size_.unit_groups * kBlock * chunk_rows_);
    o_ = arena.take<A>(shape.batch * size_.hidden);
    s_ = arena.take<A>(shape.batch * M * shape.hidden);
    c_ = arena.take<A>(shape.batch * size_.hidden);
    m_ = arena.take<A>(shape.projection ? shape.batch * size_.hidden : 0);
    h_ = arena.take<A>(shape.batch * size_.state);
    used_ = arena.used();
  }

  void work(const ForwardParams& params, Barrier& barrier, int thread, int threads) const {
    const Range units = share(size_.unit_groups, thread, threads);
    const Range columns = share(size_.unit_groups, thread, threads);
    const Range state = share(size_.state_groups, thread, threads);
    prepare(params, units, columns, state, thread, threads);

    const Schedule schedule(shape_, false);
    int64_t chunk_begin = 0, chunk_end = 0;  // rows whose input part is in z_
    for (Schedule::Step step = schedule.first(); !schedule.done(step); step = schedule.next(step)) {
      if (step.row < chunk_begin || step.row >= chunk_end) {
        chunk_begin = step.row;
        chunk_end = step.row + step.rows;
        extend_chunk(schedule, step, chunk_begin, chunk_end);
        input_gates(params, barrier, units, chunk_begin, chunk_end, thread, threads);
      }
      barrier.wait(threads);
      for (int64_t group = units.begin; group < units.end; ++group) {
        gates_and_memories(params, group, step, step.row - chunk_begin);
      }
      barrier.wait(threads);
      cell_and_hidden(params, columns, step);
      if (shape_.projection) {
        barrier.wait(threads);
        project(params, state, step);
      }
    }
    barrier.wait(threads);
    const Range rows = share(shape_.batch, thread, threads);
    const Range hidden = {0, shape_.hidden}, all_state = {0, shape_.state};
    narrow_rows<T>(c_ + rows.begin * size_.hidden, size_.hidden, rows.size(), hidden,
                   static_cast<T*>(params.c_n) + rows.begin * shape_.hidden, shape_.hidden);
    narrow_rows<T>(h_ + rows.begin * size_.state, size_.state, rows.size(), all_state,
                   static_cast<T*>(params.h_n) + rows.begin * shape_.state, shape_.state);
  }

  // Packs the thread's own weights and biases and its share of the initial state.
  void prepare(const ForwardParams& params, Range units, Range columns, Range state, int thread, int threads) const {
    const int64_t hidden = shape_.hidden;
    if (!direct_) pack_weights(params.weights, units, columns, state);
    for (int64_t group = units.begin; group < units.end; ++group) {
      for (int gate = 0; gate < G; ++gate) {
        for (int64_t u = 0; u < kGroup; ++u) {
          bias_[group * kBlock + gate * kGroup + u] =
              u < valid_columns(hidden, group) ? gate_bias(params.weights, gate * hidden + group * kGroup + u) : 0;
        }
      }
    }
    for (int64_t u = columns.begin * kGroup; u < columns.end * kGroup; ++u) {
      const T* bias = static_cast<const T*>(params.weights.b_mc);
      bias_mc_[u] = bias != nullptr && u < hidden ? widen(bias[u]) : A(0);
    }
    const Range rows = share(shape_.batch, thread, threads);
    widen_rows<T>(static_cast<const T*>(params.h0) + rows.begin * shape_.state, shape_.state, rows.size(),
                  {0, shape_.state}, h_ + rows.begin * size_.state, size_.state);
    widen_rows<T>(static_cast<const T*>(params.c0) + rows.begin * hidden, hidden, rows.size(), {0, hidden},
                  c_ + rows.begin * size_.hidden, size_.hidden);
  }

  void pack_weights(const Weights& weights, Range units, Range columns, Range state) const {
    for (int64_t group = units.begin; group < units.end; ++group) {
      const auto valid = [&](int64_t) { return valid_columns(shape_.hidden, group); };
      pack<T>(shape_.input, G, gate_rows(weights.ih, group, shape_.input), valid, 1, shape_.input,
              ih_ + group * kBlock * shape_.input);
      pack<T>(shape_.state, G, gate_rows(weights.hh, group, shape_.state), valid, 1, shape_.state,
              hh_ + group * kBlock * shape_.state);
    }
    const int64_t memories = M * shape_.hidden;
    pack<T>(memories, columns.size(), rows_from(weights.mc, columns, memories), valid_from(shape_.hidden, columns), 1,
            memories, mc_ + columns.begin * kGroup * memories);
    if (shape_.projection) {
      pack<T>(shape_.hidden, state.size(), rows_from(weights.hr, state, shape_.hidden), valid_from(shape_.state, state),
              1, shape_.hidden, hr_ + state.begin * kGroup * shape_.hidden);
    }
  }

  // Where the weights of one group of units lie, gate by gate: rows of `width` numbers.
  auto gate_rows(const void* weight, int64_t group, int64_t width) const {
    const T* rows = static_cast<const T*>(weight) + group * kGroup * width;
    return [rows, step = shape_.hidden * width](int64_t gate) { return rows + gate * step; };
  }

  // The same for a range of column groups of a product: its columns are the weight's rows.
  static auto rows_from(const void* weight, Range groups, int64_t width) {
    const T* rows = static_cast<const T*>(weight) + groups.begin * kGroup * width;
    return [rows, width](int64_t j) { return rows + j * kGroup * width; };
  }

  static auto valid_from(int64_t columns, Range groups) {
    return [columns, groups](int64_t j) { return valid_columns(columns, groups.begin + j); };
  }

  // The gates of one group of units: z (rows, kBlock) = init + x (rows, width) * weight, packed or as stored.
  void multiply_gates(int64_t rows, int64_t width, const A* x, int64_t x_stride, const void* weight, const A* packed,
                      int64_t group, const A* init, int64_t init_stride, A* z) const {
    if (direct_) {
      const int64_t valid = valid_columns(shape_.hidden, group);
      multiply_direct<T>(
          rows, width, x, x_stride, G, gate_rows(weight, group, width), [=](int64_t) { return valid; }, width, init,
          init_stride, z, kBlock);
    } else {
      multiply<A>(rows, width, x, x_stride, packed + group * kBlock * width, kBlockVectors, init, init_stride, z,
                  kBlock);
    }
  }

  // A range of column groups of a product: y (rows, ...) = init + x (rows, width) * weight, packed or as stored.
  void multiply_columns(int64_t rows, int64_t width, const A* x, int64_t x_stride, const void* weight, const A* packed,
                        int64_t columns, Range groups, const A* init, A* y, int64_t y_stride) const {
    const int64_t first = groups.begin * kGroup;
    if (direct_) {
      multiply_direct<T>(rows, width, x, x_stride, groups.size(), rows_from(weight, groups, width),
                         valid_from(columns, groups), width, init, 0, y + first, y_stride);
    } else {
      multiply<A>(rows, width, x, x_stride, packed + first * width, groups.size() * kGroup / kLanes<A>, init, 0,
                  y + first, y_stride);
    }
  }

  static A gate_bias(const Weights& weights, int64_t column) {
    const T* ih = static_cast<const T*>(weights.b_ih);
    const T* hh = static_cast<const T*>(weights.b_hh);
    return (ih == nullptr ? A(0) : widen(ih[column])) + (hh == nullptr ? A(0) : widen(hh[column]));
  }

  // As many whole steps as fit, the current one included.
  void extend_chunk(const Schedule& schedule, Schedule::Step step, int64_t& begin, int64_t& end) const {
    for (step = schedule.next(step); !schedule.done(step) && end - begin + step.rows <= chunk_rows_;
         step = schedule.next(step)) {
      begin = smaller(begin, step.row);
      end = step.row + step.rows > end ? step.row + step.rows : end;
    }
  }

  // z = W_ih x + b of the own units for the rows of a chunk.
  void input_gates(const ForwardParams& params, Barrier& barrier, Range units, int64_t begin, int64_t end, int thread,
                   int threads) const {
    const int64_t rows = end - begin, width = shape_.input;
    const T* stored = static_cast<const T*>(params.input) + begin * width;
    const A* x;
    if constexpr (sizeof(T) == sizeof(A)) {
      x = stored;
    } else {
      const Range own = share(rows, thread, threads);
      widen_rows<T>(stored + own.begin * width, width, own.size(), {0, width}, x_ + own.begin * width, width);
      barrier.wait(threads);
      x = x_;
    }
    (void)barrier, (void)thread, (void)threads;
    for (int64_t group = units.begin; group < units.end; ++group) {
      multiply_gates(rows, width, x, width, params.weights.ih, ih_, group, bias_ + group * kBlock, 0,
                     z_ + group * kBlock * chunk_rows_);
    }
  }

  // Phase 1 for one group of units: Eq. 1-7 and 10.
  void gates_and_memories(const ForwardParams& params, int64_t group, const Schedule::Step& step,
                          int64_t chunk_row) const {
    A* z = z_ + group * kBlock * chunk_rows_ + chunk_row * kBlock;
    multiply_gates(step.rows, shape_.state, h_, size_.state, params.weights.hh, hh_, group, z, kBlock, z);
    const int64_t first = group * kGroup, valid = valid_columns(shape_.hidden, group);
    T* gates = static_cast<T*>(params.gates);
    T* memories = static_cast<T*>(params.memories);
    for (int64_t b = 0; b < step.rows; ++b) {
      A* gate = z + b * kBlock;
      alignas(kAlignment) A s[M * kGroup];
      select(gate, c_ + b * size_.hidden + first, s);
      const int64_t row = step.row + b;
      for (int64_t u = 0; u < kGroup; ++u) o_[b * size_.hidden + first + u] = gate[kOutput * kGroup + u];
      scatter<A, M>(s, valid, s_ + b * M * shape_.hidden + first, shape_.hidden);
      if (gates != nullptr) scatter<T, G>(gate, valid, gates + row * G * shape_.hidden + first, shape_.hidden);
      if (memories != nullptr) {
        squash(s);
        scatter<T, M>(s, valid, memories + row * params.memories_row_stride + first, params.memory_stride);
      }
    }
  }

  // Gates before activation to gates, in place, and the memories of a group of units.
  static void select(A* z, const A* c_prev, A* s) {
    for (int u = 0; u < kGroup; u += kLanes<A>) {
      V before[G], gate[G], memory[M];
      unrolled<0, G>([&](auto g) SRN_INLINE_LAMBDA { before[g.value] = load(z + g.value * kGroup + u); });
      Unit::activate(before, gate);
      Unit::memories(gate, load(c_prev + u), memory);
      unrolled<0, G>([&](auto g) SRN_INLINE_LAMBDA { store(z + g.value * kGroup + u, gate[g.value]); });
      unrolled<0, M>([&](auto m) SRN_INLINE_LAMBDA { store(s + m.value * kGroup + u, memory[m.value]); });
    }
  }

  static void squash(A* s) {
    for (int i = 0; i < M * kGroup; i += kLanes<A>) store(s + i, tanh(load(s + i)));
  }

  // Phase 2 for a range of column groups: Eq. 8, 9.
  void cell_and_hidden(const ForwardParams& params, Range columns, const Schedule::Step& step) const {
    const int64_t first = columns.begin * kGroup;
    const int64_t last = smaller(columns.end * kGroup, shape_.hidden);
    const int64_t memories = M * shape_.hidden;
    multiply_columns(step.rows, memories, s_, memories, params.weights.mc, mc_, shape_.hidden, columns,
                     bias_mc_ + first, c_, size_.hidden);
    T* cells = static_cast<T*>(params.cells);
    T* output = static_cast<T*>(params.output);
    A* hidden = shape_.projection ? m_ : h_;  // the same row length: without a projection P = H
    for (int64_t b = 0; b < step.rows; ++b) {
      const int64_t row = step.row + b, at = b * size_.hidden;
      for (int64_t u = first; u < columns.end * kGroup; u += kLanes<A>) {
        store(hidden + at + u, Unit::hidden(load(o_ + at + u), load(c_ + at + u)));
      }
      if (cells != nullptr) narrow_rows<T>(c_ + at, 0, 1, {first, last}, cells + row * shape_.hidden, 0);
      if (!shape_.projection) narrow_rows<T>(h_ + at, 0, 1, {first, last}, output + row * params.output_stride, 0);
    }
  }

  // Phase 3 for a range of state column groups.
  void project(const ForwardParams& params, Range state, const Schedule::Step& step) const {
    const int64_t first = state.begin * kGroup;
    const Range own = {first, smaller(state.end * kGroup, shape_.state)};
    multiply_columns(step.rows, shape_.hidden, m_, size_.hidden, params.weights.hr, hr_, shape_.state, state, nullptr,
                     h_, size_.state);
    narrow_rows<T>(h_, size_.state, step.rows, own, static_cast<T*>(params.output) + step.row * params.output_stride,
                   params.output_stride);
  }

  Shape shape_;
  Extents size_;
  bool direct_;         // whether the weights are read as they are stored; nothing is packed then
  int64_t chunk_rows_;  // rows of input whose gates are computed at a time
  A* ih_;               // packed, by unit group: G * kGroup columns, D rows
  A* hh_;               // packed, by unit group: G * kGroup columns, P rows
  A* mc_;               // packed, by thread: its columns of H, M*H rows
  A* hr_;               // packed, by thread: its columns of P, H rows
  A* bias_;             // (unit groups, G, kGroup): b_ih + b_hh
  A* bias_mc_;          // (hidden)
  A* x_;                // (chunk_rows_, D): the chunk's input, where it is stored in another type
  A* z_;                // (unit groups, chunk_rows_, G, kGroup): gates of a chunk
  A* o_;                // (B, hidden): the step's output gates
  A* s_;                // (B, M*H): the step's memories
  A* c_;                // (B, hidden): every sequence's cell state
  A* m_;                // (B, hidden): the step's hidden units before a projection
  A* h_;                // (B, state): every sequence's state
  size_t used_;
};

}  // namespace SRN_ISA
}  // namespace srn
