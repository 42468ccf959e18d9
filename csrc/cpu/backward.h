// The backward recurrence on a CPU: the forward's phases in the opposite order, over the same unit groups.
//
//   1. the thread's columns of h's gradient, summed over the parts, and from them those of c's gradient (with a
//      projection, by way of W_hr)
//   2. part by part: the gradients of its memories, ds = dc W_mc, through the cell those of its gates, and what these
//      contribute to all of dh = dz W_hh; reads all of dc, writes partial sums of dh
//
// As in the forward pass, a step reads each weight once, and every other step takes the parts backwards.
#pragma once

#include "cpu/backward_plan.h"

namespace srn {
namespace SRN_ISA {

// One thread's work on a call.
template <typename T, int N>
class Backward {
  using Plan = BackwardPlan<T, N>;
  using A = Compute<T>;
  using V = Vector<A>;
  using Unit = Cell<V, N>;
  static constexpr int lanes = kLanes<A>;
  static constexpr int G = Unit::G;
  static constexpr int M = Unit::M;
  static constexpr int kMostRows = lanes;  // of a strip

 public:
  static size_t workspace(const Shape& shape) { return Plan(shape, nullptr).arena.used(); }

  static void run(const BackwardParams& params) {
    const Plan plan(params.shape, params.workspace);
    Barrier barrier;
#pragma omp parallel num_threads(plan.size.team) if (plan.size.team > 1)
    Backward(plan, params, barrier, omp_get_thread_num(), omp_get_num_threads()).work();
  }

 private:
  Backward(const Plan& plan, const BackwardParams& params, Barrier& barrier, int thread, int threads)
      : plan_(plan),
        shape_(plan.shape),
        size_(plan.size),
        params_(params),
        barrier_(barrier),
        threads_(threads),
        parts_(share(size_.parts, thread, threads)),
        units_(size_.units(parts_)),
        state_(shape_.projection ? share(size_.state_groups, thread, threads) : units_),
        gates_{plan.strip(thread), size_.part_groups},
        s_{gates_(G, 0), size_.part_groups},
        c_{s_(M, 0), size_.part_groups},
        c_prev_{c_(1, 0), size_.part_groups},
        scratch_(plan.scratch(thread)),
        gradients_(plan.gradients, plan.size, params, barrier, thread, threads) {}

  void work() const {
    prepare();
    const Schedule schedule(shape_, true);
    Schedule::Step step = schedule.first();
    Chunk chunk = {};
    bool first = true;  // chunk
    for (int64_t count = 0; !schedule.done(step); ++count) {
      const Schedule::Step ahead = schedule.next(step);  // in time: the step that this one's c_prev comes from
      if (!chunk.rows.contains(step.row)) chunk = schedule.chunk(step, plan_.chunk_rows);
      const int64_t chunk_row = step.row - chunk.rows.begin;
      const Strips<A> strips(step.rows, kMaxSpread<A>);
      for (int64_t group = state_.begin; group < state_.end; ++group) hidden_gradient(strips, group, step, chunk_row);
      if (shape_.projection) barrier_.wait(threads_);
      for (int64_t group = units_.begin; group < units_.end; ++group) {
        if (shape_.projection) unproject(strips, group);
        cell_gradient(strips, group, step, chunk_row);
      }
      barrier_.wait(threads_);
      for (int64_t i = 0; i < parts_.size(); ++i) {
        const int64_t part = part_in_turn(parts_, i, count);
        // After the last comes the same one, in the step ahead.
        const int64_t after = i + 1 < parts_.size() ? part_in_turn(parts_, i + 1, count) : part;
        gate_gradient(strips, size_.part(part), step, ahead, chunk_row);
        contribute(strips, part, after);
      }
      barrier_.wait(threads_);
      for (int64_t group = state_.begin; group < state_.end; ++group) sum_hidden_gradient(strips, group);
      if constexpr (kSumsOverRows<T>) {
        if (schedule.done(ahead) || !chunk.rows.contains(ahead.row)) gradients_.run(chunk, first), first = false;
      }
      step = ahead;
    }
    if constexpr (kSumsOverRows<T>) {
      if (shape_.rows == 0) gradients_.clear();  // a single thread
    }
    for (int64_t group = state_.begin; group < state_.end; ++group) {
      scatter(plan_.dh(group), shape_.batch, valid_columns(shape_.state, group),
              static_cast<T*>(params_.grad_h0) + group * kUnitGroup, shape_.state);
    }
    for (int64_t group = units_.begin; group < units_.end; ++group) {
      scatter(plan_.dc(group), shape_.batch, valid_columns(shape_.hidden, group),
              static_cast<T*>(params_.grad_c0) + group * kUnitGroup, shape_.hidden);
    }
  }

  void prepare() const {
    memset(gates_.first, 0, sizeof(A) * plan_.strip.size);  // rows that a strip lacks: any normal number
    pack_weights();
    for (int64_t group = units_.begin; group < units_.end; ++group) {
      const T* grad = static_cast<const T*>(params_.grad_c_n);
      initial_rows(grad == nullptr ? nullptr : grad + group * kUnitGroup, shape_.hidden, shape_.batch,
                   valid_columns(shape_.hidden, group), plan_.dc(group));
      initial_rows<T>(nullptr, 0, shape_.batch, 0, plan_.dm(group));
    }
    for (int64_t group = state_.begin; group < state_.end; ++group) {
      const T* grad = static_cast<const T*>(params_.grad_h_n);
      initial_rows(grad == nullptr ? nullptr : grad + group * kUnitGroup, shape_.state, shape_.batch,
                   valid_columns(shape_.state, group), plan_.dh(group));
    }
  }

  // The weights of the thread's parts, as panels.
  void pack_weights() const {
    const int64_t hidden = shape_.hidden, state = shape_.state;
    const T* mc = static_cast<const T*>(params_.weights.mc);
    const T* hh = static_cast<const T*>(params_.weights.hh);
    const T* hr = static_cast<const T*>(params_.weights.hr);
    for (int64_t part = parts_.begin; part < parts_.end; ++part) {
      const Range groups = size_.part(part);
      const int64_t exist = size_.unit_count(groups);
      const FlatBlocks<A> gates = plan_.hh(groups);
      for (int64_t gate = 0; gate < G; ++gate) {
        pack_panels(hh + (gate * hidden + groups.begin * kUnitGroup) * state, exist, state, state, gates.block(gate));
        for (int64_t panel = 0; panel < size_.state_groups; ++panel) {  // units that do not exist
          A* rest = gates(panel, gate, exist);
          for (int64_t i = 0; i < (gates.rows - exist) * kUnitGroup; ++i) rest[i] = A(0);
        }
      }
    }
    for (int64_t row = 0; row < hidden; ++row) {  // outermost: each row is read once, whole
      for (int64_t m = 0; m < M; ++m) {
        for (int64_t group = units_.begin; group < units_.end; ++group) {
          gather_row(mc + (row * M + m) * hidden + group * kUnitGroup, valid_columns(hidden, group),
                     plan_.mc(group, m, row));
        }
      }
    }
    for (int64_t group = units_.begin; shape_.projection && group < units_.end; ++group) {
      const FlatRows<A> panel = {plan_.hr(group), state};
      pack_panels(hr + group * kUnitGroup, state, hidden, valid_columns(hidden, group), panel);
    }
  }

  // Phase 1: the whole gradient of h_t, for one group. Without a projection this is the gradient of the hidden units.
  void hidden_gradient(const Strips<A>& strips, int64_t group, const Schedule::Step& step, int64_t chunk_row) const {
    const int64_t valid = valid_columns(shape_.state, group), first = group * kUnitGroup;
    const T* grad = static_cast<const T*>(params_.grad_output);
    A* to = shape_.projection ? plan_.dh(group) : plan_.dm(group);
    const A* next = plan_.dh(group);
    for (int64_t b = 0; b < step.rows; ++b) {
      const T* from = grad == nullptr ? nullptr : grad + (step.row + b) * params_.grad_output_stride + first;
      for (int64_t u = 0; u < kUnitGroup; ++u) {
        const int64_t at = b * kUnitGroup + u;
        to[at] = next[at] + (from == nullptr || u >= valid ? A(0) : widen(from[u]));
      }
    }
    if (shape_.projection) {
      leave({to, step.rows}, group, valid, plan_.gradients.rows.dh, chunk_row, params_.dh, step.row, shape_.state);
      flat_to_spread(strips, plan_.dh, group, plan_.dh_spread);
    }
  }

  // The gradient of the hidden units before a projection, for one group: dm = dh W_hr.
  void unproject(const Strips<A>& strips, int64_t group) const {
    const FlatRows<A> panel = {plan_.hr(group), shape_.state};
    const StripVectors<A> dm = {scratch_, kUnitGroup};
    ColumnsProduct<A>(plan_.dh_spread, panel, 1, panel(1), dm).run(strips);
    for (int64_t i = 0; i < strips.count(); ++i) store_rows(strips[i], dm(i), plan_.dm(group, strips[i].row));
  }

  // Lanes of one group to flat rows, those of the strip and no others.
  static void store_rows(const Strip& strip, const A* sums, A* flat) {
    alignas(kAlignment) A rows[kMostRows * kUnitGroup];
    with_depth<A, kMaxSpread<A>>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
      using B = Block<A, decltype(depth)::value>;
      V v[B::kCount];
      B::load_lanes(sums, v);
      B::exchange(v);
      B::store_flat(v, rows);
    });
    memcpy(flat, rows, sizeof(A) * strip.rows * kUnitGroup);
  }

  // Phase 1, the end: the whole gradient of c_t, for one group.
  void cell_gradient(const Strips<A>& strips, int64_t group, const Schedule::Step& step, int64_t chunk_row) const {
    const int64_t hidden = shape_.hidden, first = group * kUnitGroup, valid = valid_columns(hidden, group);
    const KeptGates<const T, G> gates = kept_gates(step);
    const T* cells = static_cast<const T*>(params_.cells) + step.row * hidden + first;
    for (int64_t i = 0; i < strips.count(); ++i) {
      const Strip strip = strips[i];
      alignas(kAlignment) A o[kMostRows * kUnitGroup] = {}, c[kMostRows * kUnitGroup] = {};
      gather(gates(group, kOutput, strip.row), valid, strip.rows, valid, o);
      gather(cells + strip.row * hidden, hidden, strip.rows, valid, c);
      if (shape_.projection) {
        alignas(kAlignment) A m[kMostRows * kUnitGroup];
        for (int64_t at = 0; at < kMostRows * kUnitGroup; at += lanes)
          store(m + at, Unit::hidden(load(o + at), load(c + at)));
        leave({m, strip.rows}, group, valid, plan_.gradients.rows.m, chunk_row + strip.row, params_.m,
              step.row + strip.row, hidden);
      }
      A* dc = plan_.dc(group, strip.row);
      const A* dm = plan_.dm(group, strip.row);
      for (int64_t at = 0; at < strip.rows * kUnitGroup; at += lanes) {
        store(o + at,
              Unit::cell_gradient(load(o + at), load(c + at), load(dm + at), load(dc + at), A(params_.cell_clip)));
      }
      memcpy(dc, o, sizeof(A) * strip.rows * kUnitGroup);
    }
    leave({plan_.dc(group), step.rows}, group, valid, plan_.gradients.rows.dc, chunk_row, params_.dc, step.row, hidden);
    flat_to_spread(strips, plan_.dc, group, plan_.dc_spread);
  }

  // A group's rows for the products that follow: from a chunk's row on or, if those are torch's, in a caller's matrix.
  static void leave(const FlatRows<A>& flat, int64_t group, int64_t valid, const FlatRows<A>& chunk, int64_t chunk_row,
                    void* matrix, int64_t row, int64_t columns) {
    if constexpr (kSumsOverRows<T>) {
      memcpy(chunk(group, chunk_row), flat.first, sizeof(A) * flat.rows * kUnitGroup);
    } else {
      scatter(flat.first, flat.rows, valid, static_cast<T*>(matrix) + row * columns + group * kUnitGroup, columns);
    }
  }

  KeptGates<const T, G> kept_gates(const Schedule::Step& step) const {
    return {static_cast<const T*>(params_.gates), shape_.hidden, step.row, step.rows};
  }

  // What products leave for a part's memories and read for its gates, a vector for each of its units: (M, units) in
  // lanes and, after all strips of those, (G, units) spread.
  StripVectors<A> memory_gradients(Range part) const { return {scratch_, part.size() * M * kUnitGroup}; }
  StripVectors<A> gate_gradients(const Strips<A>& strips, Range part) const {
    return {memory_gradients(part)(strips.count()), part.size() * G * kUnitGroup};
  }

  // Phase 2 for one part of the units: Eq. 8, 10 and then 7-1 backwards.
  void gate_gradient(const Strips<A>& strips, Range part, const Schedule::Step& step, const Schedule::Step& ahead,
                     int64_t chunk_row) const {
    const FlatRows<A> panels = {plan_.mc(part.begin, 0, 0), shape_.hidden};
    const StripVectors<A> ds = memory_gradients(part), dz = gate_gradients(strips, part);
    ColumnsProduct<A>(plan_.dc_spread, panels, part.size() * M, plan_.hh(part).first, ds).run(strips);
    for (int64_t i = 0; i < strips.count(); ++i) {
      const Strip strip = strips[i];
      read_part(part, strip, step, ahead);
      with_depth<A, kMaxSpread<A>>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
        using B = Block<A, decltype(depth)::value>;
        for (int64_t group = 0; group < part.size(); ++group) {
          gates_of_strip(strip, part, group, ds(i, group * M * B::kCount), dz(i), B{});
        }
      });
      write_part(part, strip, step, chunk_row);
    }
  }

  // A part's gates, cell states and gradients of tanh(s), for the rows of a strip; rows past its last keep what they
  // have.
  void read_part(Range part, const Strip& strip, const Schedule::Step& step, const Schedule::Step& ahead) const {
    const int64_t hidden = shape_.hidden, columns = size_.unit_count(part), first = part.begin * kUnitGroup;
    const int64_t row = step.row + strip.row;
    const KeptGates<const T, G> gates = kept_gates(step);
    for (int64_t group = part.begin; group < part.end; ++group) {
      const int64_t valid = valid_columns(hidden, group);
      for (int gate = 0; gate < G; ++gate) {
        gather(gates(group, gate, strip.row), valid, strip.rows, valid, gates_(gate, group - part.begin));
      }
    }
    const MatrixBlocks<const T> cells = {static_cast<const T*>(params_.cells), hidden, hidden};
    gather_part(cells.from(row, first), strip.rows, 1, columns, c_);
    // A sequence that the step before (in time) does not hold starts here, from its initial state.
    const MatrixBlocks<const T> c0 = {static_cast<const T*>(params_.c0), hidden, hidden};
    const int64_t left = ahead.rows - strip.row, before = left < 0 ? 0 : smaller(left, strip.rows);
    gather_part(cells.from(ahead.row + strip.row, first), before, 1, columns, c_prev_);
    gather_part(c0.from(strip.row + before, first), strip.rows - before, 1, columns, c_prev_.from(before));
    if (params_.grad_memories != nullptr) {
      const MatrixBlocks<const T> grad = {static_cast<const T*>(params_.grad_memories),
                                          params_.grad_memories_row_stride, params_.grad_memory_stride};
      gather_part(grad.from(row, first), strip.rows, M, columns, s_);
    } else {
      memset(s_.first, 0, sizeof(A) * PartRows<A>::size(M, size_.part_groups));
    }
  }

  void write_part(Range part, const Strip& strip, const Schedule::Step& step, int64_t chunk_row) const {
    if constexpr (kSumsOverRows<T>) {
      const auto& to = plan_.gradients.rows;
      const size_t bytes = sizeof(A) * strip.rows * kUnitGroup;
      const int64_t row = chunk_row + strip.row;
      for (int64_t group = part.begin; group < part.end; ++group) {
        for (int m = 0; m < M; ++m) memcpy(to.s(group, m, row), s_(m, group - part.begin), bytes);
        for (int gate = 0; gate < G; ++gate) memcpy(to.dz(group, gate, row), gates_(gate, group - part.begin), bytes);
      }
    } else {
      const int64_t hidden = shape_.hidden, columns = size_.unit_count(part), first = part.begin * kUnitGroup;
      const int64_t row = step.row + strip.row;
      const MatrixBlocks<T> s = {static_cast<T*>(params_.s), M * hidden, hidden};
      const MatrixBlocks<T> dz = {static_cast<T*>(params_.dz), G * hidden, hidden};
      scatter_part(s_, strip.rows, M, columns, s.from(row, first));
      scatter_part(gates_, strip.rows, G, columns, dz.from(row, first));
    }
  }

  // One group, the part's `group`-th. ds_lanes: its memories' gradients; dz_spread: the strip's gates.
  template <typename B>
  void gates_of_strip(const Strip& strip, Range part, int64_t group, const A* ds_lanes, A* dz_spread, B) const {
    constexpr int kCount = B::kCount * lanes;
    alignas(kAlignment) A ds[M][kCount];
    alignas(kAlignment) A dc[kCount];
    for (int m = 0; m < M; ++m) {
      V v[B::kCount];
      B::load_lanes(ds_lanes + m * kCount, v);
      B::exchange(v);
      B::store_flat(v, ds[m]);
    }
    through_cell(gates_(0, group), s_(0, group), c_prev_(0, group), c_(0, group),
                 plan_.dm(part.begin + group, strip.row), ds[0], dc, kCount, gates_.block_stride());
    memcpy(plan_.dc(part.begin + group, strip.row), dc, sizeof(A) * strip.rows * kUnitGroup);
    for (int gate = 0; gate < G; ++gate) {
      V v[B::kCount];
      B::load_flat(gates_(gate, group), v);
      B::exchange(v);
      B::store_spread(v, dz_spread + (gate * part.size() + group) * kUnitGroup * lanes);
    }
  }

  // `count` numbers of each; gates and memories `stride` apart. `gates` goes in as gates and comes out as their
  // gradients dz; `s` goes in as the gradient of tanh(s) and comes out as s.
  static void through_cell(A* gates, A* s, const A* c_prev, const A* c, const A* dm, const A* ds, A* dc_prev, int count,
                           int64_t stride) {
    for (int i = 0; i < count; i += lanes) {
      V gate[G], memory[M], d[M], dz[G];
      const V before = load(c_prev + i);
      unrolled<0, G>([&](auto g) SRN_INLINE_LAMBDA { gate[g.value] = load(gates + g.value * stride + i); });
      Unit::memories(gate, before, memory);
      unrolled<0, M>([&](auto m) SRN_INLINE_LAMBDA {
        const V t = tanh(memory[m.value]);
        d[m.value] = load(ds + m.value * count + i) + load(s + m.value * stride + i) * (A(1) - t * t);
        store(s + m.value * stride + i, memory[m.value]);
      });
      store(dc_prev + i, Unit::backward(gate, before, load(c + i), load(dm + i), d, dz));
      unrolled<0, G>([&](auto g) SRN_INLINE_LAMBDA { store(gates + g.value * stride + i, dz[g.value]); });
    }
  }

  // Phase 2, the end: what a part's gates contribute to all columns of the previous state's gradient. `after`: the next
  // part.
  void contribute(const Strips<A>& strips, int64_t part, int64_t after) const {
    const Range groups = size_.part(part);
    const A* next = plan_.mc(size_.part(after).begin, 0, 0);
    ColumnsProduct<A>(gate_gradients(strips, groups), plan_.hh(groups).joined(), size_.state_groups, next,
                      plan_.sums(part))
        .run(strips);
  }

  // The previous state's gradient for one group, its parts added up in order.
  void sum_hidden_gradient(const Strips<A>& strips, int64_t group) const {
    for (int64_t i = 0; i < strips.count(); ++i) {
      const Strip strip = strips[i];
      alignas(kAlignment) A rows[kMostRows * kUnitGroup];
      with_depth<A, kMaxSpread<A>>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
        using B = Block<A, decltype(depth)::value>;
        V v[B::kCount];
        sum_of_parts(plan_.sums, i, group * B::kCount, v, B{});
        B::exchange(v);
        B::store_flat(v, rows);
      });
      clear_columns(rows, strip.rows, valid_columns(shape_.state, group));
      memcpy(plan_.dh(group, strip.row), rows, sizeof(A) * strip.rows * kUnitGroup);
    }
  }

  const Plan& plan_;
  const Shape& shape_;
  const Extents& size_;
  const BackwardParams& params_;
  Barrier& barrier_;
  const int threads_;
  const Range parts_, units_;  // the parts of the units that the thread owns, and their groups
  const Range state_;          // its groups of the state's columns
  const PartRows<A> gates_;    // a strip's gates, then their gradients
  const PartRows<A> s_;        // gradients of tanh(s), then s
  const PartRows<A> c_;        // cell states, and those before
  const PartRows<A> c_prev_;
  A* scratch_;
  const Gradients<T, N> gradients_;  // the thread's part of the products over rows
};

}  // namespace SRN_ISA
}  // namespace srn
