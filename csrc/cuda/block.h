// What the body of a persistent kernel is written over: a block, and its place in the grid.
//
// `Block` is the device's (device_block.cuh) or, in the tests, a few threads of the host (tests/host_block.h). It has
//
//   Element             what it computes with (element.h)
//   kRows               rows of a team
//   kExchange           how its team exchanges numbers
//   index()             its number in the grid
//   memory()            its shared memory
//   thread(), threads() which thread of the block this is, and of how many: a loop deals what it does to them in turn
//   first_group(), groups()   which items a thread takes, kLanes at a time: its first such group, and how many there are
//                       to the next
//   sync()              a barrier of the block's threads, after which all see what each wrote
//   each_warp(f)        f(warp) for this thread's warps: one on the device
//   PerWarp<X>          an X for each of them, in registers on the device
//   each_lane(f)        f(lane) for each of kLanes items that a warp takes at a time: one for each of its threads
//   PerLane<X>          an X for each of these, in registers on the device
//   sync_warp()         a barrier of the threads that take such items together
//   Tile                a tile of weights, kTileRows by Element::kDepth
//   Rows                what it is multiplied with, kRows by Element::kDepth
//   Sum                 the product, kTileRows by kRows, of floats
//   tile_rows(rows, f), tile_columns(columns, f)   a TileRows of the numbers f(i) for each row of a tile, a TileColumns
//                       for each of its depths: those that this thread needs
//   fill(tile, rows, columns, f)     tile = f(number of the row, number of the depth), Operands
//   keep(tile, p), kept(tile, p)     to shared memory and back
//   rows_start(p), rows(rows, start)   read Rows from shared memory, [row][depth]: where this thread reads its part of a
//                       tile's; then, there or some tiles on, the part
//   clear(sum), multiply(sum, tile, rows)
//   pairs(sum, f)       f(row, column, sum, sum of the next column), for every even column
//   quads(sum, f)       f(row, column, four sums), for every fourth column
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

#if defined(__CUDACC__)
#define SRN_TEXT(x) #x
#define SRN_BODY __device__ __forceinline__
#define SRN_UNROLL(times) _Pragma(SRN_TEXT(unroll times))
#else
#define SRN_BODY inline
#define SRN_UNROLL(times)
#endif

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::Chunk;
using srn::persistent::kResident;
using srn::persistent::Tiles;

constexpr int kLanes = 32;

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

// Where a number of a team's row lies in the operand of a product, tile by tile as the tensor cores read it.
template <typename Block>
SRN_BODY int operand_place(int row, int depth) {
  constexpr uint32_t kDepth = Block::Element::kDepth;
  const uint32_t k = uint32_t(depth);
  return int((k / kDepth * Block::kRows + uint32_t(row)) * kDepth + k % kDepth);
}

// A number of 32 bits that is kept in a register: nvcc would read a kernel's parameter, or convert it, again for each
// use, and wait for each.
template <typename X>
SRN_BODY X in_register(X number) {
  uint32_t bits = bits_as<uint32_t>(number);
  asm("" : "+r"(bits));
  return bits_as<X>(bits);
}

// The items 0 to count - 1, dealt to the threads of the block.
template <typename Block, typename F>
SRN_BODY void each(const Block& block, int count, const F& f) {
  for (int i = block.thread(); i < count; i += block.threads()) f(i);
}

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
