// The backward recurrence on a CPU: the forward's phases in the opposite order, over the same groups of units.
//
//   1. the own columns of h's gradient, summed over its parts, and from them those of c's gradient (with a projection,
//      W_hr lies in between)
//   2. part by part, the gradients of its memories, ds = dc W_mc, through the cell those of its gates, and what these
//      contribute to all of dh = dz W_hh: reads all dc, writes part sums of dh
//
// As in the forward pass, a step reads each weight once, and every other step takes the parts backwards.
#pragma once

#include "cpu/recurrence.h"

namespace srn {
namespace SRN_ISA {

template <typename T, int N>
class Backward {
  using A = Compute<T>;
  using V = Vector<A>;
  using Unit = Cell<V, N>;
  static constexpr int lanes = kLanes<A>;
  static constexpr int G = Unit::G;
  static constexpr int M = Unit::M;
  static constexpr int kGates = G * kGroup;
  static constexpr int kMemories = M * kGroup;
  static constexpr int kMostRows = lanes;  // of a strip
  static constexpr int kBlock = kGroup * kMostRows;

 public:
  static size_t workspace(const Shape& shape) { return Backward(shape, nullptr).used_; }

  static void run(const BackwardParams& params) {
    Backward plan(params.shape, params.workspace);
    Barrier barrier;
#pragma omp parallel num_threads(plan.size_.team) if (plan.size_.team > 1)
    Backward(plan).work(params, barrier, omp_get_thread_num(), omp_get_num_threads());
  }

 private:
  Backward(const Shape& shape, void* base) : shape_(shape), size_(shape) {
    batch_padded_ = padded_rows<A>(shape.batch);
    const int64_t strips = most_strips<A>(shape.batch);
    Arena arena(base);
    mc_ = arena.take<A>(size_.groups * kMemories * shape.hidden);
    hh_ = arena.take<A>(G * size_.hidden * size_.state);
    hr_ = arena.take<A>(shape.projection ? shape.state * size_.hidden : 0);
    dh_ = arena.take<A>(size_.state_groups * batch_padded_ * kGroup);
    dc_ = arena.take<A>(size_.groups * batch_padded_ * kGroup);
    dm_ = arena.take<A>(size_.groups * batch_padded_ * kGroup);
    dc_spread_ = arena.take<A>(strips * size_.hidden * lanes);
    dh_spread_ = arena.take<A>(shape.projection ? strips * size_.state * lanes : 0);
    sums_stride_ = strips * size_.state * lanes;
    sums_ = arena.take<A>(size_.parts * sums_stride_);
    part_size_ = (G + M + 2) * size_.part_groups * kBlock;
    gates_ = arena.take<A>(size_.team * part_size_);
    scratch_size_ = strips * size_.part_groups * (kMemories + kGates) * lanes;
    scratch_ = arena.take<A>(size_.team * scratch_size_);
    used_ = arena.used();
  }

  void work(const BackwardParams& params, Barrier& barrier, int thread, int threads) {
    const Range parts = share(size_.parts, thread, threads);
    const Range units = size_.units(parts);
    const Range state = shape_.projection ? share(size_.state_groups, thread, threads) : units;
    scratch_ += thread * scratch_size_;
    gates_ += thread * part_size_;
    memset(gates_, 0, sizeof(A) * part_size_);  // rows that a strip lacks: any normal number
    s_ = gates_ + G * size_.part_groups * kBlock;
    c_ = s_ + M * size_.part_groups * kBlock;
    c_prev_ = c_ + size_.part_groups * kBlock;
    prepare(params, parts, units, state);
    const Schedule schedule(shape_, true);
    Schedule::Step step = schedule.first();
    for (int64_t count = 0; !schedule.done(step); ++count) {
      const Schedule::Step ahead = schedule.next(step);  // in time: the step that this one's c_prev comes from
      const Strips<A> strips(step.rows, kMaxSpread<A>);
      for (int64_t group = state.begin; group < state.end; ++group) hidden_gradient(params, strips, group, step);
      if (shape_.projection) barrier.wait(threads);
      for (int64_t group = units.begin; group < units.end; ++group) {
        if (shape_.projection) unproject(strips, group);
        cell_gradient(params, strips, group, step);
      }
      barrier.wait(threads);
      for (int64_t part = parts.begin; part < parts.end; ++part) {
        const bool backwards = count % 2 != 0;
        const int64_t p = backwards ? parts.begin + parts.end - 1 - part : part;
        gate_gradient(params, strips, size_.part(p), step, ahead);
        const int64_t next = backwards ? p - 1 : p + 1;  // past the last it is the same again, in the step ahead
        const Range after = size_.part(next < parts.begin || next >= parts.end ? p : next);
        contribute(strips, size_.part(p), after, sums_ + p * sums_stride_);
      }
      barrier.wait(threads);
      for (int64_t group = state.begin; group < state.end; ++group) sum_hidden_gradient(strips, group);
      step = ahead;
    }
    for (int64_t group = state.begin; group < state.end; ++group) {
      scatter(dh_of(group), shape_.batch, valid_columns(shape_.state, group),
              static_cast<T*>(params.grad_h0) + group * kGroup, shape_.state);
    }
    for (int64_t group = units.begin; group < units.end; ++group) {
      scatter(dc_of(group), shape_.batch, valid_columns(shape_.hidden, group),
              static_cast<T*>(params.grad_c0) + group * kGroup, shape_.hidden);
    }
  }

  A* dh_of(int64_t group) const { return dh_ + group * batch_padded_ * kGroup; }
  A* dc_of(int64_t group) const { return dc_ + group * batch_padded_ * kGroup; }
  A* dm_of(int64_t group) const { return dm_ + group * batch_padded_ * kGroup; }

  void prepare(const BackwardParams& params, Range parts, Range units, Range state) const {
    const Weights& weights = params.weights;
    const int64_t hidden = shape_.hidden;
    const T* mc = static_cast<const T*>(weights.mc);
    const T* hh = static_cast<const T*>(weights.hh);
    const T* hr = static_cast<const T*>(weights.hr);
    for (int64_t part = parts.begin; part < parts.end; ++part) {
      const Range groups = size_.part(part);
      const int64_t first = groups.begin * kGroup, padded = groups.size() * kGroup;
      const int64_t exist = smaller(groups.end * kGroup, hidden) - first;
      A* gates = hh_of(groups);
      for (int64_t gate = 0; gate < G; ++gate) {
        pack_panels(hh + (gate * hidden + first) * shape_.state, exist, shape_.state, shape_.state, G * padded,
                    gate * padded, gates);
        for (int64_t panel = 0; panel < size_.state_groups; ++panel) {  // units that do not exist
          A* rest = gates + (panel * G * padded + gate * padded + exist) * kGroup;
          for (int64_t i = 0; i < (padded - exist) * kGroup; ++i) rest[i] = A(0);
        }
      }
    }
    for (int64_t row = 0; row < hidden; ++row) {  // outermost: each row is read once, whole
      for (int64_t m = 0; m < M; ++m) {
        for (int64_t group = units.begin; group < units.end; ++group) {
          gather_row(mc + (row * M + m) * hidden + group * kGroup, valid_columns(hidden, group),
                     mc_ + ((group * M + m) * hidden + row) * kGroup);
        }
      }
    }
    for (int64_t group = units.begin; group < units.end; ++group) {
      const int64_t first = group * kGroup, valid = valid_columns(hidden, group);
      if (shape_.projection) {
        pack_panels(hr + first, shape_.state, hidden, valid, shape_.state, 0, hr_ + group * shape_.state * kGroup);
      }
    }
    for (int64_t group = units.begin; group < units.end; ++group) {
      const T* grad = static_cast<const T*>(params.grad_c_n);
      initial_rows(grad == nullptr ? nullptr : grad + group * kGroup, hidden, shape_.batch,
                   valid_columns(hidden, group), dc_of(group));
      initial_rows<T>(nullptr, 0, shape_.batch, 0, dm_of(group));
    }
    for (int64_t group = state.begin; group < state.end; ++group) {
      const T* grad = static_cast<const T*>(params.grad_h_n);
      initial_rows(grad == nullptr ? nullptr : grad + group * kGroup, shape_.state, shape_.batch,
                   valid_columns(shape_.state, group), dh_of(group));
    }
  }

  // A part's gates in W_hh: [panel of the state's columns][G][the part's units][kGroup].
  A* hh_of(Range part) const { return hh_ + part.begin * kGates * size_.state; }

  // Phase 1: the whole gradient of h_t, own columns. Without a projection this is the gradient of the hidden units.
  void hidden_gradient(const BackwardParams& params, const Strips<A>& strips, int64_t group,
                       const Schedule::Step& step) const {
    const int64_t valid = valid_columns(shape_.state, group), first = group * kGroup;
    const T* grad = static_cast<const T*>(params.grad_output);
    A* to = shape_.projection ? dh_of(group) : dm_of(group);
    const A* next = dh_of(group);
    for (int64_t b = 0; b < step.rows; ++b) {
      const T* from = grad == nullptr ? nullptr : grad + (step.row + b) * params.grad_output_stride + first;
      for (int64_t u = 0; u < kGroup; ++u) {
        const int64_t at = b * kGroup + u;
        to[at] = next[at] + (from == nullptr || u >= valid ? A(0) : widen(from[u]));
      }
    }
    if (shape_.projection) {
      scatter(to, step.rows, valid, static_cast<T*>(params.dh) + step.row * shape_.state + first, shape_.state);
      flat_to_spread(strips, to, group, size_.state, dh_spread_);
    }
  }

  // The gradient of the hidden units before a projection, for one group: dm = dh W_hr.
  void unproject(const Strips<A>& strips, int64_t group) const {
    const A* panel = hr_ + group * shape_.state * kGroup;
    ColumnsProduct<A>(shape_.state, dh_spread_, size_.state * lanes, panel, 1, panel + shape_.state * kGroup, scratch_,
                      kGroup * lanes)
        .run(strips);
    for (int64_t i = 0; i < strips.count(); ++i) {
      store_rows(strips[i], scratch_ + i * kGroup * lanes, dm_of(group));
    }
  }

  // Lanes of one group to flat rows, those of the strip and no others.
  static void store_rows(const Strip& strip, const A* sums, A* flat) {
    alignas(kAlignment) A rows[kMostRows * kGroup];
    with_depth<A, kMaxSpread<A>>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
      using B = Block<A, decltype(depth)::value>;
      V v[B::kCount];
      B::load_lanes(sums, v);
      B::exchange(v);
      B::store_flat(v, rows);
    });
    memcpy(flat + strip.row * kGroup, rows, sizeof(A) * strip.rows * kGroup);
  }

  // Phase 1, the end: the whole gradient of c_t, own columns.
  void cell_gradient(const BackwardParams& params, const Strips<A>& strips, int64_t group,
                     const Schedule::Step& step) const {
    const int64_t hidden = shape_.hidden, first = group * kGroup, valid = valid_columns(hidden, group);
    const KeptGates<const T, G> gates(static_cast<const T*>(params.gates), hidden, step.row, step.rows);
    const T* cells = static_cast<const T*>(params.cells) + step.row * hidden + first;
    for (int64_t i = 0; i < strips.count(); ++i) {
      const Strip strip = strips[i];
      alignas(kAlignment) A o[kMostRows * kGroup] = {}, c[kMostRows * kGroup] = {};
      gather(gates.at(group, kOutput, strip.row), valid, strip.rows, valid, o);
      gather(cells + strip.row * hidden, hidden, strip.rows, valid, c);
      if (shape_.projection) {
        alignas(kAlignment) A m[kMostRows * kGroup];
        for (int64_t at = 0; at < kMostRows * kGroup; at += lanes)
          store(m + at, Unit::hidden(load(o + at), load(c + at)));
        scatter(m, strip.rows, valid, static_cast<T*>(params.m) + (step.row + strip.row) * hidden + first, hidden);
      }
      A* dc = dc_of(group) + strip.row * kGroup;
      const A* dm = dm_of(group) + strip.row * kGroup;
      for (int64_t at = 0; at < strip.rows * kGroup; at += lanes) {
        store(o + at, Unit::cell_gradient(load(o + at), load(c + at), load(dm + at), load(dc + at)));
      }
      memcpy(dc, o, sizeof(A) * strip.rows * kGroup);
    }
    scatter(dc_of(group), step.rows, valid, static_cast<T*>(params.dc) + step.row * hidden + first, hidden);
    flat_to_spread(strips, dc_of(group), group, size_.hidden, dc_spread_);
  }

  // Phase 2 for one part of the units: Eq. 8, 10 and then 7-1 backwards.
  void gate_gradient(const BackwardParams& params, const Strips<A>& strips, Range part, const Schedule::Step& step,
                     const Schedule::Step& ahead) const {
    const int64_t width = part.size() * kMemories;
    ColumnsProduct<A>(shape_.hidden, dc_spread_, size_.hidden * lanes, mc_ + part.begin * kMemories * shape_.hidden,
                      part.size() * M, hh_of(part), scratch_, width * lanes)
        .run(strips);
    for (int64_t i = 0; i < strips.count(); ++i) {
      const Strip strip = strips[i];
      A* dz = gate_gradients(strips, part, i);
      read_part(params, part, strip, step, ahead);
      with_depth<A, kMaxSpread<A>>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
        using B = Block<A, decltype(depth)::value>;
        for (int64_t group = part.begin; group < part.end; ++group) {
          const int64_t at = group - part.begin;
          gates_of_strip(strip, part, group, scratch_ + i * width * lanes + at * M * B::kCount * lanes,
                         dz + at * kGroup * lanes, part.size() * kGroup * lanes, B{});
        }
      });
      write_part(params, part, strip, step);
    }
  }

  // How a part's rows of a strip lie in a matrix of `blocks` blocks of H columns.
  PartLayout layout_of(Range part, int64_t blocks, int64_t rows) const {
    const int64_t hidden = shape_.hidden;
    return {blocks,      size_.part_groups * kBlock,
            part.size(), kBlock,
            rows,        blocks * hidden,
            hidden,      smaller(part.end * kGroup, hidden) - part.begin * kGroup};
  }

  // A part's gates, cell states and gradients of tanh(s), for the rows of a strip; rows past its last keep what they
  // have.
  void read_part(const BackwardParams& params, Range part, const Strip& strip, const Schedule::Step& step,
                 const Schedule::Step& ahead) const {
    const int64_t hidden = shape_.hidden, first = part.begin * kGroup, row = step.row + strip.row;
    const T* cells = static_cast<const T*>(params.cells) + first;
    const KeptGates<const T, G> gates(static_cast<const T*>(params.gates), hidden, step.row, step.rows);
    for (int64_t group = part.begin; group < part.end; ++group) {
      const int64_t valid = valid_columns(hidden, group);
      for (int gate = 0; gate < G; ++gate) {
        gather(gates.at(group, gate, strip.row), valid, strip.rows, valid,
               gates_ + (gate * size_.part_groups + group - part.begin) * kBlock);
      }
    }
    gather_part(layout_of(part, 1, strip.rows), cells + row * hidden, c_);
    // A sequence that the step before (in time) does not hold starts here, from its initial state.
    const int64_t left = ahead.rows - strip.row, before = left < 0 ? 0 : smaller(left, strip.rows);
    gather_part(layout_of(part, 1, before), cells + (ahead.row + strip.row) * hidden, c_prev_);
    gather_part(layout_of(part, 1, strip.rows - before),
                static_cast<const T*>(params.c0) + (strip.row + before) * hidden + first, c_prev_ + before * kGroup);
    if (params.grad_memories != nullptr) {
      PartLayout layout = layout_of(part, M, strip.rows);
      layout.row_stride = params.grad_memories_row_stride, layout.block_stride = params.grad_memory_stride;
      gather_part(layout, static_cast<const T*>(params.grad_memories) + row * layout.row_stride + first, s_);
    } else {
      memset(s_, 0, sizeof(A) * M * size_.part_groups * kBlock);
    }
  }

  void write_part(const BackwardParams& params, Range part, const Strip& strip, const Schedule::Step& step) const {
    const int64_t hidden = shape_.hidden, first = part.begin * kGroup, row = step.row + strip.row;
    scatter_part(layout_of(part, M, strip.rows), s_, static_cast<T*>(params.s) + row * M * hidden + first);
    scatter_part(layout_of(part, G, strip.rows), gates_, static_cast<T*>(params.dz) + row * G * hidden + first);
  }

  // Where the gradients of a part's gates lie for a strip, spread: (G, the part's units, lanes).
  A* gate_gradients(const Strips<A>& strips, Range part, int64_t strip) const {
    return scratch_ + (strips.count() * kMemories + strip * kGates) * part.size() * lanes;
  }

  template <typename B>
  void gates_of_strip(const Strip& strip, Range part, int64_t group, const A* ds_lanes, A* dz_spread, int64_t dz_stride,
                      B) const {
    constexpr int kCount = B::kCount * lanes;
    const int64_t at = (group - part.begin) * kBlock;
    alignas(kAlignment) A ds[M * kCount];
    alignas(kAlignment) A dc[kCount];
    for (int m = 0; m < M; ++m) {
      V v[B::kCount];
      B::load_lanes(ds_lanes + m * kCount, v);
      B::exchange(v);
      B::store_flat(v, ds + m * kCount);
    }
    through_cell(gates_ + at, s_ + at, c_prev_ + at, c_ + at, dm_of(group) + strip.row * kGroup, ds, dc, kCount,
                 size_.part_groups * kBlock);
    memcpy(dc_of(group) + strip.row * kGroup, dc, sizeof(A) * strip.rows * kGroup);
    for (int gate = 0; gate < G; ++gate) {
      V v[B::kCount];
      B::load_flat(gates_ + gate * size_.part_groups * kBlock + at, v);
      B::exchange(v);
      B::store_spread(v, dz_spread + gate * dz_stride);
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

  // Phase 2, the end: what a part's gates contribute to the gradient of the state before, all columns. `after`: the
  // part that comes next.
  void contribute(const Strips<A>& strips, Range part, Range after, A* sums) const {
    const int64_t K = part.size() * kGates;
    ColumnsProduct<A>(K, gate_gradients(strips, part, 0), K * lanes, hh_of(part), size_.state_groups,
                      mc_ + after.begin * kMemories * shape_.hidden, sums, size_.state * lanes)
        .run(strips);
  }

  // The own columns of the gradient of the state before, its parts added up in order.
  void sum_hidden_gradient(const Strips<A>& strips, int64_t group) const {
    for (int64_t i = 0; i < strips.count(); ++i) {
      const Strip strip = strips[i];
      alignas(kAlignment) A rows[kMostRows * kGroup];
      with_depth<A, kMaxSpread<A>>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
        using B = Block<A, decltype(depth)::value>;
        const A* sums = sums_ + (i * size_.state + group * B::kCount) * lanes;
        V v[B::kCount];
        B::load_lanes(sums, v);
        for (int64_t part = 1; part < size_.parts; ++part) {
          sums += sums_stride_;
          unrolled<0, B::kCount>([&](auto j) SRN_INLINE_LAMBDA { v[j.value] += load(sums + j.value * lanes); });
        }
        B::exchange(v);
        B::store_flat(v, rows);
      });
      clear_columns(rows, strip.rows, valid_columns(shape_.state, group));
      memcpy(dh_of(group) + strip.row * kGroup, rows, sizeof(A) * strip.rows * kGroup);
    }
  }

  Shape shape_;
  Extents size_;
  int64_t batch_padded_;
  A* mc_;         // panels, packed: (groups, M, H, kGroup)
  A* hh_;         // panels, packed by part: (state groups, G, the part's units, kGroup)
  A* hr_;         // panels, packed: (groups, P, kGroup)
  A* dh_;         // (state groups, batch_padded_, kGroup): gradient of h, that from later steps or the whole
  A* dc_;         // (groups, batch_padded_, kGroup): the same of c
  A* dm_;         // (groups, batch_padded_, kGroup): the step's gradient of the hidden units
  A* dc_spread_;  // (strips, hidden, lanes): the step's gradient of c
  A* dh_spread_;  // (strips, state, lanes): the step's gradient of h, with a projection
  int64_t sums_stride_;
  A* sums_;  // (parts, strips, state, lanes): part sums of dh
  int64_t part_size_;
  A* gates_;  // (team, G, the part's groups, row, kGroup): a strip's gates, then their gradients
  A* s_;      // (team, M, ...): gradients of tanh(s), then s
  A* c_;      // (team, ...): cell states, and those before
  A* c_prev_;
  int64_t scratch_size_;
  A* scratch_;  // (team, ...): a thread's gradients of one part's memories, and of its gates
  size_t used_;
};

}  // namespace SRN_ISA
}  // namespace srn
