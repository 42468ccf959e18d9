// The forward recurrence on a CPU.
//
// A team of threads works on one call. Each thread owns a range of the unit groups: their gates, their memories, and
// their columns of c and h. A step has two phases, a barrier after each:
//
//   1. part by part (a few groups): the gates of its units, their memories, and what these contribute to all of
//      c = W_mc s; reads all of h, writes partial sums of c
//   2. the thread's columns of c, summed over the parts, and of h = o tanh(c)
//   3. with a projection, the thread's columns of W_hr m
//
// A step reads each weight once. Within phase 1 parts may come in any order, so every other step takes them backwards:
// the weights that the caches still hold come first. The input's part of the gates is computed a chunk of steps at a
// time, by the thread that will use it. A call of few steps (streaming) multiplies with W_mc in phase 2
// (memory_product.h).
#pragma once

#include "cpu/forward_plan.h"

namespace srn {
namespace SRN_ISA {

// One thread's work on a call.
template <typename T, int N>
class Forward {
  using Plan = ForwardPlan<T, N>;
  using A = Compute<T>;
  using V = Vector<A>;
  using X = Operand<T>;
  using Unit = Cell<V, N>;
  static constexpr int lanes = kLanes<A>;
  static constexpr int G = Unit::G;
  static constexpr int M = Unit::M;
  static constexpr int kMostRows = lanes;  // of a strip
  static constexpr int kDeepest = OperandOf<T>::kDeepest;

 public:
  static size_t workspace(const Shape& shape) { return Plan(shape, nullptr).arena.used(); }

  static void run(const ForwardParams& params) {
    const Plan plan(params.shape, params.workspace);
    Barrier barrier;
#pragma omp parallel num_threads(plan.size.team) if (plan.size.team > 1)
    Forward(plan, params, barrier, omp_get_thread_num(), omp_get_num_threads()).work();
  }

 private:
  Forward(const Plan& plan, const ForwardParams& params, Barrier& barrier, int thread, int threads)
      : plan_(plan),
        shape_(plan.shape),
        size_(plan.size),
        params_(params),
        barrier_(barrier),
        thread_(thread),
        threads_(threads),
        parts_(share(size_.parts, thread, threads)),
        units_(size_.units(parts_)),
        state_(shape_.projection ? share(size_.state_groups, thread, threads) : units_),
        ih_(as_operands<T>(params.weights.ih, plan.ih)),
        hh_(as_operands<T>(params.weights.hh, plan.hh)),
        hr_(as_operands<T>(params.weights.hr, plan.hr)),
        memories_(plan.memories, shape_, size_, params.weights.mc, thread),
        kept_(plan.kept(thread)),
        scratch_(plan.scratch(thread)) {}

  void work() const {
    const Schedule schedule(shape_, false);
    Schedule::Step step = schedule.first();
    prepare(step);
    Range chunk = {0, 0};  // rows whose input part is in z
    for (int64_t count = 0; !schedule.done(step); ++count) {
      if (!chunk.contains(step.row)) {
        chunk = schedule.chunk(step, plan_.chunk_rows).rows;
        const Strips<A> strips(chunk.size(), kDeepest);
        barrier_.wait(threads_);  // all are done with the chunk before
        input_lanes(strips, chunk.begin);
        barrier_.wait(threads_);
        input_gates(strips);
      }
      const Schedule::Step next = schedule.next(step);
      const Strips<A> strips(step.rows, kDeepest), next_strips(next.rows, kDeepest);
      barrier_.wait(threads_);
      for (int64_t i = 0; i < parts_.size(); ++i) {
        const int64_t part = part_in_turn(parts_, i, count);
        gates_and_memories(strips, size_.part(part), step, step.row - chunk.begin);
        if (memories_.by_part()) memories_.contribute(strips, part, hh_, scratch_);
      }
      barrier_.wait(threads_);
      if (!memories_.by_part()) memories_.multiply(strips, units_);
      for (int64_t group = units_.begin; group < units_.end; ++group) {
        cell_and_hidden(strips, group, step);
        if (!shape_.projection) flat_to_lanes<T>(next_strips, plan_.h, group, plan_.h_lanes);
      }
      if (shape_.projection) {
        barrier_.wait(threads_);
        for (int64_t group = state_.begin; group < state_.end; ++group) project(strips, group, step);
        barrier_.wait(threads_);
        for (int64_t group = state_.begin; group < state_.end; ++group) {
          flat_to_lanes<T>(next_strips, plan_.h, group, plan_.h_lanes);
        }
      }
      step = next;
    }
    for (int64_t group = units_.begin; group < units_.end; ++group) {
      scatter(plan_.c(group), shape_.batch, valid_columns(shape_.hidden, group),
              static_cast<T*>(params_.c_n) + group * kUnitGroup, shape_.hidden);
    }
    for (int64_t group = state_.begin; group < state_.end; ++group) {
      scatter(plan_.h(group), shape_.batch, valid_columns(shape_.state, group),
              static_cast<T*>(params_.h_n) + group * kUnitGroup, shape_.state);
    }
  }

  // Weights, biases and initial state of the thread's groups, and its share of all weights stored in another type.
  void prepare(const Schedule::Step& first) const {
    const Weights& weights = params_.weights;
    const int64_t hidden = shape_.hidden;
    copy_operands<T>(weights.ih, G * hidden * shape_.input, thread_, threads_, plan_.ih);
    copy_operands<T>(weights.hh, G * hidden * shape_.state, thread_, threads_, plan_.hh);
    copy_operands<T>(weights.hr, shape_.state * hidden, thread_, threads_, plan_.hr);
    memories_.prepare(parts_, thread_, threads_);
    for (int64_t group = units_.begin; group < units_.end; ++group) {
      const int64_t valid = valid_columns(hidden, group);
      for (int64_t u = 0; u < kUnitGroup; ++u) {
        const int64_t unit = group * kUnitGroup + u;
        for (int gate = 0; gate < G; ++gate) {
          plan_.bias(group, gate)[u] = u < valid ? gate_bias(gate * hidden + unit) : A(0);
        }
        const T* bias = static_cast<const T*>(weights.b_mc);
        plan_.bias_mc[unit] = bias != nullptr && u < valid ? widen(bias[unit]) : A(0);
      }
      initial_rows(static_cast<const T*>(params_.c0) + group * kUnitGroup, hidden, shape_.batch, valid, plan_.c(group));
    }
    const Strips<A> strips(first.rows, kDeepest);
    for (int64_t group = state_.begin; group < state_.end; ++group) {
      initial_rows(static_cast<const T*>(params_.h0) + group * kUnitGroup, shape_.state, shape_.batch,
                   valid_columns(shape_.state, group), plan_.h(group));
      flat_to_lanes<T>(strips, plan_.h, group, plan_.h_lanes);
    }
  }

  A gate_bias(int64_t column) const {
    const T* ih = static_cast<const T*>(params_.weights.b_ih);
    const T* hh = static_cast<const T*>(params_.weights.b_hh);
    return (ih == nullptr ? A(0) : widen(ih[column])) + (hh == nullptr ? A(0) : widen(hh[column]));
  }

  // Lays out the thread's share of a chunk's input for the products.
  void input_lanes(const Strips<A>& strips, int64_t begin) const {
    const T* x = static_cast<const T*>(params_.input) + begin * shape_.input;
    const int64_t groups = plan_.x.columns / kUnitGroup;
    const Range items = share(strips.count() * groups, thread_, threads_);
    alignas(kAlignment) A flat[kMostRows * kUnitGroup] = {};  // lanes without a row: any normal number
    for (int64_t i = items.begin; i < items.end; ++i) {
      const Strip strip = strips[i / groups];
      const int64_t group = i % groups;
      gather(x + strip.row * shape_.input + group * kUnitGroup, shape_.input, strip.rows,
             valid_columns(shape_.input, group), flat);
      with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
        using B = Block<A, decltype(depth)::value>;
        V v[B::kCount];
        B::load_flat(flat, v);
        store_operands(v, plan_.x(strip.row, group, B{}), B{});
      });
    }
  }

  // z = W_ih x + b of the thread's units for the rows of a chunk.
  void input_gates(const Strips<A>& strips) const {
    const StripVectors<A> sums = gate_sums();
    for (int64_t group = units_.begin; group < units_.end; ++group) {
      RowsProduct<X>(shape_.input, plan_.x, gate_weights(ih_, shape_.input, group), sums).run(strips);
      for (int64_t i = 0; i < strips.count(); ++i) {
        const Strip strip = strips[i];
        with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
          using B = Block<A, decltype(depth)::value>;
          for (int gate = 0; gate < G; ++gate) {
            V v[B::kCount];
            sums_to_flat(sums(i, gate * kUnitGroup), v, B{});
            add_bias(plan_.bias(group, gate), v, B{});
            B::store_flat(v, plan_.z(group, gate, strip.row));
          }
        });
      }
    }
  }

  // The weights of a group's gates: a block of rows of each gate.
  WeightBlocks<X> gate_weights(const X* weight, int64_t width, int64_t group) const {
    const X* first = weight + group * kUnitGroup * width;
    return {first, G, shape_.hidden * width, width, valid_columns(shape_.hidden, group), first + kUnitGroup * width};
  }

  // What their product leaves: a vector for each unit, gate by gate.
  StripVectors<A> gate_sums() const { return {scratch_, G * kUnitGroup}; }

  // Adds a group's bias to each flat row.
  template <typename B>
  static SRN_INLINE void add_bias(const A* bias, V (&v)[B::kCount], B) {
    unrolled<0, B::kCount>([&](auto i) SRN_INLINE_LAMBDA {
      constexpr int first = B::flat_at(i.value) * lanes % kUnitGroup;
      v[i.value] += broadcast<A, B::kInner>(bias + first);
    });
  }

  // Phase 1 for one part: Eq. 1-7 and 10.
  void gates_and_memories(const Strips<A>& strips, Range part, const Schedule::Step& step, int64_t chunk_row) const {
    if (params_.memories != nullptr) prefetch_memories(part, step);
    const StripVectors<A> sums = gate_sums();
    for (int64_t group = part.begin; group < part.end; ++group) {
      RowsProduct<X>(shape_.state, plan_.h_lanes, gate_weights(hh_, shape_.state, group), sums).run(strips);
      for (int64_t i = 0; i < strips.count(); ++i) {
        const Strip strip = strips[i];
        with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
          gates_of_strip(strip, part, group, step, chunk_row, sums(i), kept(i, part),
                         Block<A, decltype(depth)::value>{});
        });
      }
    }
    if (params_.memories != nullptr) write_memories(strips, part, step);
  }

  template <typename B>
  void gates_of_strip(const Strip& strip, Range part, int64_t group, const Schedule::Step& step, int64_t chunk_row,
                      const A* sums, const PartRows<A>& kept, B) const {
    constexpr int kCount = B::kCount * lanes;  // numbers of a gate
    const int64_t valid = valid_columns(shape_.hidden, group);
    alignas(kAlignment) A gates[G][kCount];
    alignas(kAlignment) A s[M][kCount];
    for (int gate = 0; gate < G; ++gate) {
      V v[B::kCount];
      sums_to_flat(sums + gate * kUnitGroup * lanes, v, B{});
      const A* z = plan_.z(group, gate, chunk_row + strip.row);
      unrolled<0, B::kCount>([&](auto i) SRN_INLINE_LAMBDA {
        constexpr int at = B::flat_at(i.value) * lanes;
        store(gates[gate] + at, v[i.value] + load(z + at));
      });
    }
    if (valid < kUnitGroup) clear_columns(gates[0], G * kCount / kUnitGroup, valid);  // no units: s = 0
    select(gates[0], plan_.c(group, strip.row), s[0], kCount);
    memcpy(plan_.o(group, strip.row), gates[kOutput], sizeof(A) * kCount);
    memories_.put(strip, part, group, s[0], B{});
    if (params_.gates != nullptr) {
      const KeptGates<T, G> kept_gates(static_cast<T*>(params_.gates), shape_.hidden, step.row, step.rows);
      for (int gate = 0; gate < G; ++gate) {
        scatter(gates[gate], strip.rows, valid, kept_gates(group, gate, strip.row), valid);
      }
    }
    if (params_.memories != nullptr) {
      for (int m = 0; m < M; ++m) {
        A* to = kept(m, group - part.begin);
        for (int i = 0; i < kCount; i += lanes) store(to + i, tanh(load(s[m] + i)));
      }
    }
  }

  // Activates gates in place and computes the memories: `count` numbers of each, in vectors.
  static void select(A* gates, const A* c_prev, A* s, int count) {
    for (int i = 0; i < count; i += lanes) {
      V before[G], gate[G], memory[M];
      unrolled<0, G>([&](auto g) SRN_INLINE_LAMBDA { before[g.value] = load(gates + g.value * count + i); });
      Unit::activate(before, gate);
      Unit::memories(gate, load(c_prev + i), memory);
      unrolled<0, G>([&](auto g) SRN_INLINE_LAMBDA { store(gates + g.value * count + i, gate[g.value]); });
      unrolled<0, M>([&](auto m) SRN_INLINE_LAMBDA { store(s + m.value * count + i, memory[m.value]); });
    }
  }

  // tanh(s) of a part for the rows of a strip, on the way to the caller.
  PartRows<A> kept(int64_t strip, Range part) const {
    return {kept_ + strip * PartRows<A>::size(M, part.size()), part.size()};
  }

  // The caller's memories, from a row and a unit group on.
  MatrixBlocks<T> caller_memories(int64_t row, int64_t group) const {
    const MatrixBlocks<T> all = {static_cast<T*>(params_.memories), params_.memories_row_stride, params_.memory_stride};
    return all.from(row, group * kUnitGroup);
  }

  // Prefetches what a part will write, while its products keep the processor busy.
  void prefetch_memories(Range part, const Schedule::Step& step) const {
    const MatrixBlocks<T> memories = caller_memories(step.row, part.begin);
    for (int m = 0; m < M; ++m) {
      prefetch_rows(memories(0, m), memories.row_stride, step.rows, size_.unit_count(part));
    }
  }

  void write_memories(const Strips<A>& strips, Range part, const Schedule::Step& step) const {
    for (int64_t i = 0; i < strips.count(); ++i) {
      scatter_part(kept(i, part), strips[i].rows, M, size_.unit_count(part),
                   caller_memories(step.row + strips[i].row, part.begin));
    }
  }

  // Phase 2 for one group: Eq. 8, 9.
  void cell_and_hidden(const Strips<A>& strips, int64_t group, const Schedule::Step& step) const {
    const int64_t valid = valid_columns(shape_.hidden, group), first = group * kUnitGroup;
    T* cells = static_cast<T*>(params_.cells);
    T* output = static_cast<T*>(params_.output);
    for (int64_t i = 0; i < strips.count(); ++i) {
      const Strip strip = strips[i];
      alignas(kAlignment) A c[kMostRows * kUnitGroup], h[kMostRows * kUnitGroup];
      with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
        using B = Block<A, decltype(depth)::value>;
        V v[B::kCount];
        memories_.columns(i, group, v, B{});
        B::exchange(v);
        add_bias(plan_.bias_mc + first, v, B{});
        const A* o = plan_.o(group, strip.row);
        unrolled<0, B::kCount>([&](auto j) SRN_INLINE_LAMBDA {
          constexpr int at = B::flat_at(j.value) * lanes;
          const V state = Unit::clipped(v[j.value], A(params_.cell_clip));
          store(c + at, state);
          store(h + at, Unit::hidden(load(o + at), state));
        });
        if (valid < kUnitGroup) {
          clear_columns(c, strip.rows, valid);
          clear_columns(h, strip.rows, valid);
        }
      });
      memcpy(plan_.c(group, strip.row), c, sizeof(A) * strip.rows * kUnitGroup);
      const int64_t row = step.row + strip.row;
      if (cells != nullptr) scatter(c, strip.rows, valid, cells + row * shape_.hidden + first, shape_.hidden);
      if (shape_.projection) {
        with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
          using B = Block<A, decltype(depth)::value>;
          V v[B::kCount];
          B::load_flat(h, v);
          store_operands(v, plan_.m_lanes(strip.row, group, B{}), B{});
        });
      } else {
        memcpy(plan_.h(group, strip.row), h, sizeof(A) * strip.rows * kUnitGroup);
        scatter(h, strip.rows, valid, output + row * params_.output_stride + first, params_.output_stride);
      }
    }
  }

  // Phase 3 for one group of the state's columns.
  void project(const Strips<A>& strips, int64_t group, const Schedule::Step& step) const {
    const int64_t valid = valid_columns(shape_.state, group), first = group * kUnitGroup;
    const X* weights = hr_ + first * shape_.hidden;
    const StripVectors<A> sums = {scratch_, kUnitGroup};
    RowsProduct<X>(shape_.hidden, plan_.m_lanes,
                   {weights, 1, 0, shape_.hidden, valid, weights + kUnitGroup * shape_.hidden}, sums)
        .run(strips);
    T* output = static_cast<T*>(params_.output) + step.row * params_.output_stride + first;
    for (int64_t i = 0; i < strips.count(); ++i) {
      const Strip strip = strips[i];
      alignas(kAlignment) A h[kMostRows * kUnitGroup];
      with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
        using B = Block<A, decltype(depth)::value>;
        V v[B::kCount];
        sums_to_flat(sums(i), v, B{});
        B::store_flat(v, h);
      });
      if (valid < kUnitGroup) clear_columns(h, strip.rows, valid);
      memcpy(plan_.h(group, strip.row), h, sizeof(A) * strip.rows * kUnitGroup);
      scatter(h, strip.rows, valid, output + strip.row * params_.output_stride, params_.output_stride);
    }
  }

  const Plan& plan_;
  const Shape& shape_;
  const Extents& size_;
  const ForwardParams& params_;
  Barrier& barrier_;
  const int thread_, threads_;
  const Range parts_, units_;  // the parts of the units that the thread owns, and their groups
  const Range state_;          // its groups of the state's columns
  const X* ih_;                // the weights as they are computed with
  const X* hh_;
  const X* hr_;
  const MemoryProduct<T, N> memories_;
  A* kept_;  // the thread's pieces of the plan
  A* scratch_;
};

}  // namespace SRN_ISA
}  // namespace srn
