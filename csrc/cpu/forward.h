// The forward recurrence on a CPU.
//
// A team of threads works on one call. Each thread owns a range of the groups of hidden units: their gates, their
// memories, and their columns of c and h. A step has two phases, a barrier after each:
//
//   1. part by part (a few groups), the gates of its units, their memories, and what these contribute to all of
//      c = W_mc s: reads all of h, writes part sums of c
//   2. the own columns of c, summed over its parts, and of h = o tanh(c)
//   3. with a projection, the own columns of W_hr m
//
// A step reads each weight once. Within phase 1 parts may come in any order, so every other step takes them backwards:
// the weights that the caches still hold come first. The input's part of the gates is computed a chunk of steps at a
// time, by the thread that will use it. A call of few steps (streaming) reads W_mc as it is stored, in phase 2: packing
// it by part would take longer than it saves.
#pragma once

#include "cpu/recurrence.h"

namespace srn {
namespace SRN_ISA {

template <typename T, int N>
class Forward {
  using A = Compute<T>;
  using V = Vector<A>;
  using X = Operand<T>;
  using Unit = Cell<V, N>;
  static constexpr int lanes = kLanes<A>;
  static constexpr int G = Unit::G;
  static constexpr int M = Unit::M;
  static constexpr int kGates = G * kGroup;     // gate columns of a group of units
  static constexpr int kMemories = M * kGroup;  // its memories
  static constexpr int kMostRows = lanes;       // of a strip
  static constexpr int kBlock = kGroup * kMostRows;
  static constexpr bool kWidened = sizeof(T) != sizeof(X);
  static constexpr int kDeepest = OperandOf<T>::kDeepest;

 public:
  static size_t workspace(const Shape& shape) { return Forward(shape, nullptr).used_; }

  static void run(const ForwardParams& params) {
    Forward plan(params.shape, params.workspace);
    Barrier barrier;
#pragma omp parallel num_threads(plan.size_.team) if (plan.size_.team > 1)
    Forward(plan).work(params, barrier, omp_get_thread_num(), omp_get_num_threads());
  }

 private:
  Forward(const Shape& shape, void* base) : shape_(shape), size_(shape) {
    constexpr int64_t kChunkRows = 128, kFewSteps = 4;
    by_part_ = shape.steps > kFewSteps || !std::is_same_v<X, A>;
    chunk_rows_ = smaller(shape.rows, shape.batch > kChunkRows ? shape.batch : kChunkRows);
    chunk_padded_ = padded_rows<A>(chunk_rows_);
    batch_padded_ = padded_rows<A>(shape.batch);
    input_ = round_up(shape.input, kGroup);
    const int64_t memories = M * shape.hidden, widened = kWidened ? 1 : 0;
    const int64_t strips = most_strips<A>(shape.batch), chunk_strips = most_strips<A>(chunk_rows_);
    Arena arena(base);
    ih_ = arena.take<X>(widened * G * shape.hidden * shape.input);
    hh_ = arena.take<X>(widened * G * shape.hidden * shape.state);
    mc_ = arena.take<X>(by_part_ ? size_.groups * size_.hidden * kMemories : widened * shape.hidden * memories);
    hr_ = arena.take<X>(shape.projection ? widened * shape.state * shape.hidden : 0);
    bias_ = arena.take<A>(size_.groups * kGates);
    bias_mc_ = arena.take<A>(size_.hidden);
    x_ = arena.take<X>(chunk_padded_ * input_);
    z_ = arena.take<A>(size_.groups * G * chunk_padded_ * kGroup);
    o_ = arena.take<A>(size_.groups * batch_padded_ * kGroup);
    c_ = arena.take<A>(size_.groups * batch_padded_ * kGroup);
    h_ = arena.take<A>(size_.state_groups * batch_padded_ * kGroup);
    h_lanes_ = arena.take<X>(batch_padded_ * size_.state);
    m_lanes_ = arena.take<X>(shape.projection ? batch_padded_ * size_.hidden : 0);
    s_columns_ = round_up(memories, kGroup);
    s_lanes_ = arena.take<X>(by_part_ ? size_.team * batch_padded_ * size_.part_groups * kMemories
                                      : batch_padded_ * s_columns_);
    sums_stride_ = strips * size_.hidden * lanes;
    sums_ = arena.take<A>(by_part_ ? size_.parts * sums_stride_ : sums_stride_);
    const int64_t gates = strips * kGates * lanes, inputs = chunk_strips * kGates * lanes;
    const int64_t state = shape.projection ? strips * kGroup * lanes : 0;
    kept_size_ = strips * size_.part_groups * M * kBlock;
    kept_ = arena.take<A>(size_.team * kept_size_);
    const int64_t deep = by_part_ && kDeepest > 1 ? sums_stride_ : 0;
    scratch_size_ = round_up(larger(larger(gates, inputs), deep), kAlignment) + state;
    scratch_ = arena.take<A>(size_.team * scratch_size_);
    used_ = arena.used();
  }

  void work(const ForwardParams& params, Barrier& barrier, int thread, int threads) {
    const Range parts = share(size_.parts, thread, threads);
    const Range units = size_.units(parts);
    const Range state = share(size_.state_groups, thread, threads);
    const Schedule schedule(shape_, false);
    Schedule::Step step = schedule.first();
    scratch_ += thread * scratch_size_;
    kept_ += thread * kept_size_;
    prepare(params, parts, units, shape_.projection ? state : units, step, thread, threads);
    if (by_part_) s_lanes_ += thread * batch_padded_ * size_.part_groups * kMemories;

    int64_t chunk_begin = 0, chunk_end = 0;  // rows whose input part is in z_
    for (int64_t count = 0; !schedule.done(step); ++count) {
      if (step.row < chunk_begin || step.row >= chunk_end) {
        chunk_begin = step.row;
        chunk_end = step.row + step.rows;
        extend_chunk(schedule, step, chunk_begin, chunk_end);
        const Strips<A> strips(chunk_end - chunk_begin, kDeepest);
        barrier.wait(threads);  // all have done with the chunk before
        input_lanes(params, strips, chunk_begin, thread, threads);
        barrier.wait(threads);
        input_gates(strips, units);
      }
      const Schedule::Step next = schedule.next(step);
      const Strips<A> strips(step.rows, kDeepest), next_strips(next.rows, kDeepest);
      barrier.wait(threads);
      for (int64_t part = parts.begin; part < parts.end; ++part) {
        const bool backwards = count % 2 != 0;
        const int64_t p = backwards ? parts.begin + parts.end - 1 - part : part;
        const Range groups = size_.part(p);
        if (params.memories != nullptr) prefetch_memories(params, groups, step);
        for (int64_t group = groups.begin; group < groups.end; ++group) {
          gates_and_memories(params, strips, groups, group, step, step.row - chunk_begin);
        }
        if (params.memories != nullptr) write_memories(params, strips, groups, step);
        if (by_part_) contribute(strips, groups, hh, sums_ + p * sums_stride_);
      }
      barrier.wait(threads);
      if (!by_part_) multiply_memories(strips, units);
      for (int64_t group = units.begin; group < units.end; ++group) {
        cell_and_hidden(params, strips, group, step);
        if (!shape_.projection) flat_to_lanes<T>(next_strips, state_of(group), group, size_.state, h_lanes_);
      }
      if (shape_.projection) {
        barrier.wait(threads);
        for (int64_t group = state.begin; group < state.end; ++group) {
          project(params, strips, group, step);
        }
        barrier.wait(threads);
        for (int64_t group = state.begin; group < state.end; ++group) {
          flat_to_lanes<T>(next_strips, state_of(group), group, size_.state, h_lanes_);
        }
      }
      step = next;
    }
    for (int64_t group = units.begin; group < units.end; ++group) {
      scatter(cell_of(group), shape_.batch, valid_columns(shape_.hidden, group),
              static_cast<T*>(params.c_n) + group * kGroup, shape_.hidden);
    }
    const Range own = shape_.projection ? state : units;
    for (int64_t group = own.begin; group < own.end; ++group) {
      scatter(state_of(group), shape_.batch, valid_columns(shape_.state, group),
              static_cast<T*>(params.h_n) + group * kGroup, shape_.state);
    }
  }

  A* cell_of(int64_t group) const { return c_ + group * batch_padded_ * kGroup; }
  A* state_of(int64_t group) const { return h_ + group * batch_padded_ * kGroup; }
  A* output_gate_of(int64_t group) const { return o_ + group * batch_padded_ * kGroup; }

  // Weights, biases and the initial state of the own groups; with weights stored in another type, a share of them all.
  void prepare(const ForwardParams& params, Range parts, Range units, Range state, const Schedule::Step& first,
               int thread, int threads) {
    const Weights& weights = params.weights;
    const int64_t hidden = shape_.hidden;
    ih = operands<T>(weights.ih, G * hidden * shape_.input, ih_, thread, threads);
    hh = operands<T>(weights.hh, G * hidden * shape_.state, hh_, thread, threads);
    hr = operands<T>(weights.hr, shape_.projection ? shape_.state * hidden : 0, hr_, thread, threads);
    if (!by_part_) mc = operands<T>(weights.mc, hidden * M * hidden, mc_, thread, threads);
    if (by_part_) pack_memories<T>(static_cast<const T*>(weights.mc), hidden, M, size_, parts, mc_);
    for (int64_t group = units.begin; group < units.end; ++group) {
      const int64_t valid = valid_columns(hidden, group);
      for (int64_t u = 0; u < kGroup; ++u) {
        const int64_t unit = group * kGroup + u;
        for (int gate = 0; gate < G; ++gate) {
          bias_[group * kGates + gate * kGroup + u] = u < valid ? gate_bias(weights, gate * hidden + unit) : A(0);
        }
        const T* bias = static_cast<const T*>(weights.b_mc);
        bias_mc_[unit] = bias != nullptr && u < valid ? widen(bias[unit]) : A(0);
      }
      initial_rows(static_cast<const T*>(params.c0) + group * kGroup, hidden, shape_.batch, valid, cell_of(group));
    }
    const Strips<A> strips(first.rows, kDeepest);
    for (int64_t group = state.begin; group < state.end; ++group) {
      initial_rows(static_cast<const T*>(params.h0) + group * kGroup, shape_.state, shape_.batch,
                   valid_columns(shape_.state, group), state_of(group));
      flat_to_lanes<T>(strips, state_of(group), group, size_.state, h_lanes_);
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

  // Lays out a chunk's input for the products, a share of its strips.
  void input_lanes(const ForwardParams& params, const Strips<A>& strips, int64_t begin, int thread, int threads) const {
    const T* x = static_cast<const T*>(params.input) + begin * shape_.input;
    const int64_t groups = input_ / kGroup;
    const Range own = share(strips.count() * groups, thread, threads);
    alignas(kAlignment) A flat[kMostRows * kGroup] = {};  // lanes without a row: any normal number
    for (int64_t i = own.begin; i < own.end; ++i) {
      const Strip strip = strips[i / groups];
      const int64_t group = i % groups;
      gather(x + strip.row * shape_.input + group * kGroup, shape_.input, strip.rows,
             valid_columns(shape_.input, group), flat);
      with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
        using B = Block<A, decltype(depth)::value>;
        V v[B::kCount];
        B::load_flat(flat, v);
        store_operands(v, x_ + strip.row * input_ + group * B::kNumbers, B{});
      });
    }
  }

  // z = W_ih x + b of the own units for the rows of a chunk.
  void input_gates(const Strips<A>& strips, Range units) const {
    for (int64_t group = units.begin; group < units.end; ++group) {
      const WeightBlocks<X> weights = gate_blocks_of(ih, shape_.input, group);
      RowsProduct<X>(shape_.input, x_, input_, weights, scratch_, kGates * lanes).run(strips);
      for (int64_t i = 0; i < strips.count(); ++i) {
        const Strip strip = strips[i];
        with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
          using B = Block<A, decltype(depth)::value>;
          for (int gate = 0; gate < G; ++gate) {
            V v[B::kCount];
            rows_from(scratch_ + (i * G + gate) * kGroup * lanes, v, B{});
            add_bias(bias_ + group * kGates + gate * kGroup, v, B{});
            B::store_flat(v, z_ + ((group * G + gate) * chunk_padded_ + strip.row) * kGroup);
          }
        });
      }
    }
  }

  // The weights of a group's gates: a block of rows of each gate.
  WeightBlocks<X> gate_blocks_of(const X* weight, int64_t width, int64_t group) const {
    const X* first = weight + group * kGroup * width;
    return {first, G, shape_.hidden * width, width, valid_columns(shape_.hidden, group), first + kGroup * width};
  }

  // A group's columns, in lanes, of which a product by rows left part sums.
  template <typename B>
  static SRN_INLINE void columns_from(const A* sums, V (&v)[B::kCount], B) {
    V columns[kGroup];
    unrolled<0, kGroup>([&](auto c) SRN_INLINE_LAMBDA { columns[c.value] = load(sums + c.value * lanes); });
    B::sum_parts(columns, v);
  }

  // The same as flat rows.
  template <typename B>
  static SRN_INLINE void rows_from(const A* sums, V (&v)[B::kCount], B) {
    columns_from(sums, v, B{});
    B::exchange(v);
  }

  // A group's bias, added to each flat row.
  template <typename B>
  static SRN_INLINE void add_bias(const A* bias, V (&v)[B::kCount], B) {
    unrolled<0, B::kCount>([&](auto i) SRN_INLINE_LAMBDA {
      constexpr int first = B::flat_at(i.value) * lanes % kGroup;
      v[i.value] += broadcast<A, B::kInner>(bias + first);
    });
  }

  // What a part will write, while its products keep the processor busy.
  void prefetch_memories(const ForwardParams& params, Range part, const Schedule::Step& step) const {
    const int64_t hidden = shape_.hidden, first = part.begin * kGroup;
    const int64_t columns = smaller(part.end * kGroup, hidden) - first;
    for (int64_t m = 0; m < M; ++m) {
      prefetch_rows(
          static_cast<T*>(params.memories) + step.row * params.memories_row_stride + m * params.memory_stride + first,
          params.memories_row_stride, step.rows, columns);
    }
  }

  // Phase 1 for one group of units: Eq. 1-7 and 10.
  void gates_and_memories(const ForwardParams& params, const Strips<A>& strips, Range part, int64_t group,
                          const Schedule::Step& step, int64_t chunk_row) const {
    const WeightBlocks<X> weights = gate_blocks_of(hh, shape_.state, group);
    RowsProduct<X>(shape_.state, h_lanes_, size_.state, weights, scratch_, kGates * lanes).run(strips);
    const KeptGates<T, G> gates(static_cast<T*>(params.gates), shape_.hidden, step.row, step.rows);
    for (int64_t i = 0; i < strips.count(); ++i) {
      const Strip strip = strips[i];
      A* kept = kept_ + (i * part.size() * M + group - part.begin) * kBlock;
      with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
        gates_of_strip(strip, part, group, chunk_row + strip.row, scratch_ + i * kGates * lanes,
                       params.gates == nullptr ? nullptr : &gates, params.memories == nullptr ? nullptr : kept,
                       Block<A, decltype(depth)::value>{});
      });
    }
  }

  // kept_gates: where the gates go for the backward pass; kept_memories: where tanh(s) goes for the caller, blocks of
  // the part's groups. Null where not wanted.
  template <typename B>
  void gates_of_strip(const Strip& strip, Range part, int64_t group, int64_t chunk_row, const A* sums,
                      const KeptGates<T, G>* kept_gates, A* kept_memories, B) const {
    constexpr int kCount = B::kCount * lanes;  // numbers of a gate
    const int64_t valid = valid_columns(shape_.hidden, group);
    alignas(kAlignment) A gates[G * kCount];
    alignas(kAlignment) A s[M * kCount];
    for (int gate = 0; gate < G; ++gate) {
      V v[B::kCount];
      rows_from(sums + gate * kGroup * lanes, v, B{});
      const A* z = z_ + ((group * G + gate) * chunk_padded_ + chunk_row) * kGroup;
      unrolled<0, B::kCount>([&](auto i) SRN_INLINE_LAMBDA {
        constexpr int at = B::flat_at(i.value) * lanes;
        store(gates + gate * kCount + at, v[i.value] + load(z + at));
      });
    }
    if (valid < kGroup) clear_columns(gates, G * kCount / kGroup, valid);  // units that do not exist: then s = 0
    select(gates, cell_of(group) + strip.row * kGroup, s, kCount);
    memcpy(output_gate_of(group) + strip.row * kGroup, gates + kOutput * kCount, sizeof(A) * kCount);
    if (by_part_) {
      for (int m = 0; m < M; ++m) {
        V v[B::kCount];
        B::load_flat(s + m * kCount, v);
        const int64_t at = ((group - part.begin) * M + m) * B::kNumbers;
        store_operands(v, s_lanes_ + strip.row * part.size() * kMemories + at, B{});
      }
    } else if constexpr (std::is_same_v<X, A>) {
      spread_memories(strip, group, valid, s, kCount);
    }
    if (kept_gates != nullptr) {
      for (int gate = 0; gate < G; ++gate) {
        scatter(gates + gate * kCount, strip.rows, valid, kept_gates->at(group, gate, strip.row), valid);
      }
    }
    if (kept_memories != nullptr) {
      for (int m = 0; m < M; ++m) {
        for (int i = 0; i < kCount; i += lanes) {
          store(kept_memories + m * part.size() * kBlock + i, tanh(load(s + m * kCount + i)));
        }
      }
    }
  }

  // A part's memories of a step, for the caller.
  void write_memories(const ForwardParams& params, const Strips<A>& strips, Range part,
                      const Schedule::Step& step) const {
    const int64_t hidden = shape_.hidden, first = part.begin * kGroup;
    for (int64_t i = 0; i < strips.count(); ++i) {
      const PartLayout layout = {M,
                                 part.size() * kBlock,
                                 part.size(),
                                 kBlock,
                                 strips[i].rows,
                                 params.memories_row_stride,
                                 params.memory_stride,
                                 smaller(part.end * kGroup, hidden) - first};
      scatter_part(layout, kept_ + i * part.size() * M * kBlock,
                   static_cast<T*>(params.memories) + (step.row + strips[i].row) * layout.row_stride + first);
    }
  }

  // Gates before activation to gates, in place, and the memories: `count` numbers of each, in vectors.
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

  // Memories into lanes in the order that W_mc is stored in, number by number: a group is no multiple of a vector
  // there.
  void spread_memories(const Strip& strip, int64_t group, int64_t valid, const A* s, int block) const {
    A* to = s_lanes_ + strip.row * s_columns_;
    // Which lane of a strip holds a row: ask the exchange itself, with row numbers for values.
    alignas(kAlignment) A order[kMostRows * kGroup];
    const int64_t width = lanes / strip.depth;
    for (int64_t r = 0; r < width; ++r) {
      for (int64_t u = 0; u < kGroup; ++u) order[r * kGroup + u] = A(r);
    }
    with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
      using B = Block<A, decltype(depth)::value>;
      V v[B::kCount];
      B::load_flat(order, v);
      B::exchange(v);
      B::store_lanes(v, order);
    });
    const int64_t memories = M * shape_.hidden;
    if (group == size_.groups - 1) {  // the last weights of a row are multiplied with whole vectors
      for (int64_t k = memories; k < s_columns_; ++k) {
        for (int64_t b = 0; b < width; ++b) to[k / strip.depth * lanes + b * strip.depth + k % strip.depth] = A(0);
      }
    }
    for (int64_t m = 0; m < M; ++m) {
      for (int64_t u = 0; u < valid; ++u) {
        const int64_t k = m * shape_.hidden + group * kGroup + u;
        A* column = to + k / strip.depth * lanes + k % strip.depth;
        for (int64_t b = 0; b < width; ++b) {
          const int64_t row = int64_t(order[b * strip.depth]);
          column[b * strip.depth] = s[m * block + row * kGroup + u];
        }
      }
    }
  }

  // Phase 1, the end: what a part's memories contribute to c, all columns.
  void contribute(const Strips<A>& strips, Range part, const X* after, A* sums) const {
    const int64_t width = part.size() * kMemories, stride = size_.hidden * lanes;
    const X* first = mc_ + part.begin * size_.hidden * kMemories;
    const WeightBlocks<X> weights = {first, size_.groups, kGroup * width, width, kGroup, after};
    if constexpr (kDeepest == 1) {
      RowsProduct<X>(width, s_lanes_, width, weights, sums, stride).run(strips);
    } else {
      RowsProduct<X>(width, s_lanes_, width, weights, sums, stride).run_wide(strips);
      RowsProduct<X>(width, s_lanes_, width, weights, scratch_, stride).run_deep(strips);
      for (int64_t i = strips.wide(); i < strips.count(); ++i) {
        fold(strips[i], scratch_ + i * stride, sums + i * stride);
      }
    }
  }

  // Adds up the part sums of a strip, so that the parts of c take no more of the cache than they must.
  void fold(const Strip& strip, const A* part_sums, A* sums) const {
    with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
      using B = Block<A, decltype(depth)::value>;
      for (int64_t group = 0; group < size_.groups; ++group) {
        V v[B::kCount];
        columns_from(part_sums + group * kGroup * lanes, v, B{});
        unrolled<0, B::kCount>(
            [&](auto j) SRN_INLINE_LAMBDA { store(sums + (group * B::kCount + j.value) * lanes, v[j.value]); });
      }
    });
  }

  // Phase 2 with W_mc as it is stored: the own columns of c.
  void multiply_memories(const Strips<A>& strips, Range units) const {
    const int64_t memories = M * shape_.hidden;
    for (int64_t group = units.begin; group < units.end; ++group) {
      const X* weights = mc + group * kGroup * memories;
      const int64_t valid = valid_columns(shape_.hidden, group);
      RowsProduct<X>(memories, s_lanes_, s_columns_, {weights, 1, 0, memories, valid, weights + kGroup * memories},
                     sums_ + group * kGroup * lanes, size_.hidden * lanes)
          .run(strips);
    }
  }

  // Phase 2 for one group: Eq. 8, 9.
  void cell_and_hidden(const ForwardParams& params, const Strips<A>& strips, int64_t group,
                       const Schedule::Step& step) const {
    const int64_t valid = valid_columns(shape_.hidden, group), first = group * kGroup;
    T* cells = static_cast<T*>(params.cells);
    T* output = static_cast<T*>(params.output);
    for (int64_t i = 0; i < strips.count(); ++i) {
      const Strip strip = strips[i];
      alignas(kAlignment) A c[kMostRows * kGroup], h[kMostRows * kGroup];
      with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
        using B = Block<A, decltype(depth)::value>;
        V v[B::kCount];
        if (by_part_) {
          sum_of_parts(sums_ + i * size_.hidden * lanes + group * B::kCount * lanes, v, B{});
        } else {
          columns_from(sums_ + (i * size_.hidden + first) * lanes, v, B{});
        }
        B::exchange(v);
        add_bias(bias_mc_ + first, v, B{});
        const A* o = output_gate_of(group) + strip.row * kGroup;
        unrolled<0, B::kCount>([&](auto j) SRN_INLINE_LAMBDA {
          constexpr int at = B::flat_at(j.value) * lanes;
          store(c + at, v[j.value]);
          store(h + at, Unit::hidden(load(o + at), v[j.value]));
        });
        if (valid < kGroup) {
          clear_columns(c, strip.rows, valid);
          clear_columns(h, strip.rows, valid);
        }
      });
      memcpy(cell_of(group) + strip.row * kGroup, c, sizeof(A) * strip.rows * kGroup);
      const int64_t row = step.row + strip.row;
      if (cells != nullptr) scatter(c, strip.rows, valid, cells + row * shape_.hidden + first, shape_.hidden);
      if (shape_.projection) {
        with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
          using B = Block<A, decltype(depth)::value>;
          V v[B::kCount];
          B::load_flat(h, v);
          store_operands(v, m_lanes_ + strip.row * size_.hidden + group * B::kNumbers, B{});
        });
      } else {
        memcpy(state_of(group) + strip.row * kGroup, h, sizeof(A) * strip.rows * kGroup);
        scatter(h, strip.rows, valid, output + row * params.output_stride + first, params.output_stride);
      }
    }
  }

  // A group's columns of c, its parts added up in order.
  template <typename B>
  SRN_INLINE void sum_of_parts(const A* sums, V (&v)[B::kCount], B) const {
    unrolled<0, B::kCount>([&](auto j) SRN_INLINE_LAMBDA { v[j.value] = load(sums + j.value * lanes); });
    for (int64_t part = 1; part < size_.parts; ++part) {
      sums += sums_stride_;
      unrolled<0, B::kCount>([&](auto j) SRN_INLINE_LAMBDA { v[j.value] += load(sums + j.value * lanes); });
    }
  }

  // Phase 3 for one group of the state's columns.
  void project(const ForwardParams& params, const Strips<A>& strips, int64_t group, const Schedule::Step& step) const {
    const int64_t valid = valid_columns(shape_.state, group), first = group * kGroup;
    const X* weights = hr + first * shape_.hidden;
    RowsProduct<X>(shape_.hidden, m_lanes_, size_.hidden,
                   {weights, 1, 0, shape_.hidden, valid, weights + kGroup * shape_.hidden}, scratch_, kGroup * lanes)
        .run(strips);
    T* output = static_cast<T*>(params.output) + step.row * params.output_stride + first;
    for (int64_t i = 0; i < strips.count(); ++i) {
      const Strip strip = strips[i];
      alignas(kAlignment) A h[kMostRows * kGroup];
      with_depth<A, kDeepest>(strip.depth, [&](auto depth) SRN_INLINE_LAMBDA {
        using B = Block<A, decltype(depth)::value>;
        V v[B::kCount];
        rows_from(scratch_ + i * kGroup * lanes, v, B{});
        B::store_flat(v, h);
      });
      if (valid < kGroup) clear_columns(h, strip.rows, valid);
      memcpy(state_of(group) + strip.row * kGroup, h, sizeof(A) * strip.rows * kGroup);
      scatter(h, strip.rows, valid, output + strip.row * params.output_stride, params.output_stride);
    }
  }

  Shape shape_;
  Extents size_;
  bool by_part_;                       // whether W_mc is packed by part, and c summed in parts
  int64_t chunk_rows_, chunk_padded_;  // rows of input whose gates are computed at a time; with room for a last strip
  int64_t batch_padded_;
  int64_t input_;         // D rounded up to whole groups
  int64_t s_columns_;     // M*H rounded up to whole groups
  const X* ih = nullptr;  // the weights as they are computed with
  const X* hh = nullptr;
  const X* mc = nullptr;
  const X* hr = nullptr;
  X* ih_;  // copies of the weights, where they are stored in another type
  X* hh_;
  X* mc_;  // by part: (hidden, the part's groups, M, kGroup)
  X* hr_;
  A* bias_;     // (groups, G, kGroup): b_ih + b_hh
  A* bias_mc_;  // (hidden)
  X* x_;        // lanes of input_ columns: a chunk's input
  A* z_;        // (groups, G, chunk_padded_, kGroup): gates of a chunk, the input's part
  A* o_;        // (groups, batch_padded_, kGroup): the step's output gates
  A* c_;        // (groups, batch_padded_, kGroup): every sequence's cell state
  A* h_;        // (state groups, batch_padded_, kGroup): every sequence's state
  X* h_lanes_;  // lanes of `state` columns: the step's h
  X* m_lanes_;  // lanes of `hidden` columns: the step's hidden units before a projection
  X* s_lanes_;  // lanes of a thread's own: one part's memories; or of all memories, by task subset
  int64_t sums_stride_;
  A* sums_;  // (parts, strips, hidden, lanes): parts of c in lanes, deep strips' at the start of their room; by columns
             // and as part sums where W_mc is read as stored
  int64_t kept_size_;
  A* kept_;  // (team, strips, M, the part's groups, row, kGroup): tanh(s) of a part, for the caller
  int64_t scratch_size_;
  A* scratch_;  // (team, ...): a thread's part sums of one group, or of a part's contribution to c in deep strips
  size_t used_;
};

}  // namespace SRN_ISA
}  // namespace srn
