// What a backward call works with: its sizes, and where each buffer lies in the workspace. Its threads share it and
// change nothing in it.
#pragma once

#include "cpu/gradients.h"

namespace srn {
namespace SRN_ISA {

template <typename T, int N>
struct BackwardPlan {
  using A = Compute<T>;
  static constexpr int G = gate_blocks(N);
  static constexpr int M = memory_count(N);

  Shape shape;
  Extents size;
  Arena arena;
  int64_t chunk_rows;  // rows that the recurrence leaves before the products over them follow; 0 if they are torch's

  FlatBlocks<A> mc;           // panels: (groups, M, H, kUnitGroup)
  A* hh_parts;                // panels by part: hh
  FlatRows<A> hr;             // panels: (groups, P, kUnitGroup)
  FlatRows<A> dh;             // (state groups, B, kUnitGroup): gradient of h, from later steps or whole
  FlatRows<A> dc;             // (groups, B, kUnitGroup): the same for c
  FlatRows<A> dm;             // (groups, B, kUnitGroup): the step's gradient of the hidden units
  StripVectors<A> dc_spread;  // (strips, hidden, lanes): the step's gradient of c
  StripVectors<A> dh_spread;  // (strips, state, lanes): the step's gradient of h, with a projection
  PartSums<A> sums;           // (parts, strips, state, lanes): of dh
  GradientPlan<T, N> gradients = {};
  ThreadPieces<A> strip;    // (G + M + 2, a part's groups, lanes, kUnitGroup): what a strip's cells take and give
  ThreadPieces<A> scratch;  // (strips, (M + G) * a part's units, lanes): gradients of its memories and of its gates

  BackwardPlan(const Shape& shape, void* workspace)
      : shape(shape),
        size(shape),
        arena(workspace),
        chunk_rows(kSumsOverRows<T> ? smaller(shape.rows, larger(shape.batch, kBlockRows)) : 0) {
    const int64_t batch = padded_rows<A>(shape.batch), strips = most_strips<A>(shape.batch);
    mc = FlatBlocks<A>::take(arena, size.groups, M, shape.hidden);
    hh_parts = arena.take<A>(G * size.hidden * size.state);
    hr = FlatRows<A>::take(arena, shape.projection ? size.groups : 0, shape.state);
    dh = FlatRows<A>::take(arena, size.state_groups, batch);
    dc = FlatRows<A>::take(arena, size.groups, batch);
    dm = FlatRows<A>::take(arena, size.groups, batch);
    dc_spread = StripVectors<A>::take(arena, strips, size.hidden);
    dh_spread = StripVectors<A>::take(arena, shape.projection ? strips : 0, size.state);
    sums = PartSums<A>::take(arena, size.parts, strips, size.state);
    if (chunk_rows > 0) gradients = GradientPlan<T, N>::take(arena, shape, size, chunk_rows);
    strip = ThreadPieces<A>::take(arena, size.team, PartRows<A>::size(G + M + 2, size.part_groups));
    scratch =
        ThreadPieces<A>::take(arena, size.team, StripVectors<A>::size(strips, (M + G) * size.part_groups * kUnitGroup));
  }

  // A part's gates in W_hh: (state groups, G, the part's units, kUnitGroup).
  FlatBlocks<A> hh(Range part) const {
    return {hh_parts + part.begin * G * kUnitGroup * size.state, G, part.size() * kUnitGroup};
  }
};

}  // namespace SRN_ISA
}  // namespace srn
