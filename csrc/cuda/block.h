// What the body of a persistent kernel is written over: a block, and its place in the grid.
//
// `Block` is the device's (device_block.cuh) or, in the tests, a few threads of the host (tests/host_block.h). It has
//
//   Element             what it computes with (element.h)
//   kRows               rows of a team
//   kExchange           how its team exchanges numbers
//   index()             its number in the grid
//   memory()            its shared memory
//   thread(), threads() which thread of the block this is, and of how many: a phase deals its items to them in turn
//   sync()              a barrier of the block's threads, after which all see what each wrote
//   each_warp(f)        f(warp) for this thread's warps: one on the device
//   PerWarp<X>          an X for each of them, in registers on the device
//   Tile                a tile of weights, kTileRows by Element::kDepth
//   Rows                what it is multiplied with, kRows by Element::kDepth
//   Sum                 the product, kTileRows by kRows, of floats
//   fill(tile, f)       tile = f(row, depth), Operands
//   keep(tile, p), kept(tile, p)     to shared memory and back
//   rows_start(p, stride), rows(rows, start, stride)   read Rows from shared memory, `stride` words from one to the
//                       next: where this thread reads its part of a tile; then, there or some tiles on, the part
//   clear(sum), multiply(sum, tile, rows), add(sum, other)
//   pairs(sum, f)       f(row, column, sum, sum of the next column), for every even column
//   write(word, n words), read(...)  of the mailbox: whole words, in any order, never cached
//   sync_cluster()      a barrier of all threads of the team's blocks, where the team is a cluster
//   open(gate), expect(gate, bytes)  of a gate in shared memory: makes it, by one thread; tells it how many bytes its
//                       next phase brings, once in each phase
//   send(member, p, words, gate)     to the place of p in a member's memory, counted at its gate: asynchronously
//   passed(gate, phase) whether all of a gate's phase has come; phases are 0 and 1 in turn
//   wait(looks)         between two looks at the mailbox or a gate, after this many looks in vain
//   begin_stamps(), stamp(part), end_stamps(to)   the clock, at the end of each part of a step (stamps.h)
#pragma once

#include "cuda/approximate.h"
#include "cuda/element.h"
#include "cuda/shared.h"
#include "cuda/stamps.h"

#define SRN_TEXT(x) #x
#if defined(__CUDACC__)
#define SRN_BODY __device__ __forceinline__
#define SRN_UNROLL(times) _Pragma(SRN_TEXT(unroll times))
#else
#define SRN_BODY inline
#define SRN_UNROLL(times) _Pragma(SRN_TEXT(GCC unroll times))
#endif

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::kResident;
using srn::persistent::kTileWords;
using srn::persistent::Span;
using srn::persistent::Tiles;

// A block's place: the team whose rows it works on, and the hidden units that it owns.
struct Place {
  int team, member;  // with two directions, their teams alternate
  int first, units;  // hidden units

  SRN_BODY Place(const Plan& plan, int hidden, int block) {
    team = block / plan.members;
    member = block % plan.members;
    first = member * plan.units;
    units = hidden - first < plan.units ? hidden - first : plan.units;
  }
};

// The items 0 to count - 1, dealt to the threads of the block.
template <typename Block, typename F>
SRN_BODY void each(const Block& block, int count, const F& f) {
  for (int i = block.thread(); i < count; i += block.threads()) f(i);
}

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
