// What the backward recurrence leaves for the products over all rows (gradients.h), in the order in which both go
// through it: flat rows of all steps.
#pragma once

#include "cpu/recurrence.h"

namespace srn {
namespace SRN_ISA {

// Whether those products are done here. Elsewhere torch's are faster: bfloat16's in pairs, and those of processors that
// the portable kernels are for. The recurrence then leaves rows as torch has them.
template <typename T>
constexpr bool kSumsOverRows = sizeof(T) == sizeof(Compute<T>) && kVectorBytes > 16;

// Rows that the products take at a time. Each block goes through all of the weights' gradients, in memory.
constexpr int64_t kBlockRows = 512;

template <typename T, int N>
struct RowGradients {
  using A = Compute<T>;

  FlatBlocks<A> dz;  // (groups, G, rows, kUnitGroup); units that do not exist are zeros
  FlatRows<A> dc;    // (groups, rows, kUnitGroup)
  FlatBlocks<A> s;   // (groups, M, rows, kUnitGroup)
  FlatRows<A> dh;    // (state groups, rows, kUnitGroup), with a projection
  FlatRows<A> m;     // (groups, rows, kUnitGroup), with a projection

  static RowGradients take(Arena& arena, const Extents& size, bool projection, int64_t most_rows) {
    // Whole tiles of rows; and an odd number of cache lines, or all unit groups of a step would meet in few sets of a
    // cache.
    const int64_t rows = round_up(most_rows, kUnitGroup) + 2;
    return {FlatBlocks<A>::take(arena, size.groups, gate_blocks(N), rows), FlatRows<A>::take(arena, size.groups, rows),
            FlatBlocks<A>::take(arena, size.groups, memory_count(N), rows),
            FlatRows<A>::take(arena, projection ? size.state_groups : 0, rows),
            FlatRows<A>::take(arena, projection ? size.groups : 0, rows)};
  }
};

}  // namespace SRN_ISA
}  // namespace srn
