// What a forward call works with: its sizes, and where each buffer lies in the workspace. Its threads share it and
// change nothing in it.
#pragma once

#include "cpu/memory_product.h"

namespace srn {
namespace SRN_ISA {

template <typename T, int N>
struct ForwardPlan {
  using A = Compute<T>;
  using X = Operand<T>;
  static constexpr int G = gate_blocks(N);
  static constexpr int M = memory_count(N);
  static constexpr bool kWidened = sizeof(T) != sizeof(X);
  static constexpr bool kDeep = OperandOf<T>::kDeepest > 1;

  Shape shape;
  Extents size;
  Arena arena;
  int64_t chunk_rows;  // rows of input whose gates are computed at a time

  X* ih;  // copies of the weights, where they are stored in another type
  X* hh;
  X* hr;
  MemoryPlan<T, N> memories;  // of c = W_mc s
  FlatRows<A> bias;           // (groups, G, kUnitGroup): b_ih + b_hh
  A* bias_mc;                 // (hidden)
  RowLanes<X> x;              // a chunk's input
  FlatBlocks<A> z;            // (groups, G, chunk's rows, kUnitGroup): gates of a chunk, the input's part
  FlatRows<A> o;              // (groups, B, kUnitGroup): the step's output gates
  FlatRows<A> c;              // (groups, B, kUnitGroup): every sequence's cell state
  FlatRows<A> h;              // (state groups, B, kUnitGroup): every sequence's state
  RowLanes<X> h_lanes;        // the step's h
  RowLanes<X> m_lanes;        // the step's hidden units before a projection
  ThreadPieces<A> kept;       // (strips, M, a part's groups, lanes, kUnitGroup): tanh(s) of a part, for the caller
  ThreadPieces<A> scratch;    // what a product leaves for one group, or for a part's contribution to c in deep strips

  ForwardPlan(const Shape& shape, void* workspace)
      : shape(shape),
        size(shape),
        arena(workspace),
        chunk_rows(smaller(shape.rows, larger(shape.batch, kChunkRows))),
        ih(arena.take<X>(kWidened ? G * shape.hidden * shape.input : 0)),
        hh(arena.take<X>(kWidened ? G * shape.hidden * shape.state : 0)),
        hr(arena.take<X>(kWidened && shape.projection ? shape.state * shape.hidden : 0)),
        memories(shape, size, arena) {
    const int64_t chunk = padded_rows<A>(chunk_rows), batch = padded_rows<A>(shape.batch);
    bias = FlatRows<A>::take(arena, size.groups, G);
    bias_mc = arena.take<A>(size.hidden);
    x = RowLanes<X>::take(arena, chunk, round_up(shape.input, kUnitGroup));
    z = FlatBlocks<A>::take(arena, size.groups, G, chunk);
    o = FlatRows<A>::take(arena, size.groups, batch);
    c = FlatRows<A>::take(arena, size.groups, batch);
    h = FlatRows<A>::take(arena, size.state_groups, batch);
    h_lanes = RowLanes<X>::take(arena, batch, size.state);
    m_lanes = RowLanes<X>::take(arena, shape.projection ? batch : 0, size.hidden);

    const int64_t strips = most_strips<A>(shape.batch), chunk_strips = most_strips<A>(chunk_rows);
    kept = ThreadPieces<A>::take(arena, size.team, strips * PartRows<A>::size(M, size.part_groups));
    const int64_t gates = StripVectors<A>::size(larger(strips, chunk_strips), G * kUnitGroup);
    const int64_t deep = kDeep && memories.by_part ? StripVectors<A>::size(strips, size.hidden) : 0;
    scratch = ThreadPieces<A>::take(arena, size.team, round_up(larger(gates, deep), kAlignment));
  }

 private:
  static constexpr int64_t kChunkRows = 192;
};

}  // namespace SRN_ISA
}  // namespace srn
