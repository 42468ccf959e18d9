// The layout of a block's shared memory, for each pass.
#pragma once

#include "cuda/element.h"
#include "cuda/plan.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::ceil_div;
using srn::persistent::kScatterBatch;
using srn::persistent::kStagingBytes;
using srn::persistent::kTileBytes;
using srn::persistent::kTileRows;
using srn::persistent::kWarps;
using srn::persistent::mark_count;
using srn::persistent::Plan;

// A piece of shared memory: its offset, which a kernel reads from its parameters rather than keep in a register.
template <typename X>
struct Piece {
  int32_t offset;  // bytes

  SRN_PLAN X* in(unsigned char* memory) const { return reinterpret_cast<X*>(memory + offset); }
};

// Deals shared memory out, piece by piece.
class SharedArena {
 public:
  template <typename X>
  void take(Piece<X>& piece, int64_t count) {
    piece.offset = int32_t(bytes_);
    bytes_ += (count * int64_t(sizeof(X)) + 15) / 16 * 16;
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

template <typename Element, int kRows>
struct TeamShared {
  using Operand = typename Element::Operand;

  Piece<Operand> gathered, owned;        // [row][Tiles::stride], of either product
  Piece<float> partials;                 // [partial sum][row][partial_stride], of the first product
  Piece<float> sums;                     // [split][unit][row], of the scattered partial sums; of a mailbox
  Piece<float> slots;                    // [source][unit][row], the partial sums; this and the next two of a cluster
  Piece<Operand> outbox;                 // [row][unit], what is to be gathered
  Piece<uint64_t> gates;                 // of the scattered and the gathered numbers
  Piece<int> first_warp, partial_count;  // of each tile row of the first product
  Piece<uint8_t> marks[2];               // of the tiles of either product
  Piece<unsigned char> extra[2];         // tiles that registers do not hold, of either product

  void lay_out(const Plan& plan, SharedArena& arena) {
    constexpr int kPerWord = 4 / int(sizeof(Operand));
    arena.take(gathered, kRows * plan.gathered.stride() * kPerWord);
    arena.take(owned, kRows * plan.owned.stride() * kPerWord);
    arena.take(partials, int64_t(plan.partials) * kRows * partial_stride(plan));
    const bool cluster = plan.exchange == srn::persistent::Exchange::kCluster;
    arena.take(sums, cluster ? 0 : int64_t(ceil_div(plan.members, kScatterBatch)) * plan.units * kRows);
    arena.take(slots, cluster ? int64_t(plan.members) * plan.units * kRows : 0);
    arena.take(outbox, cluster ? kRows * plan.units : 0);
    arena.take(gates, cluster ? 2 : 0);
    arena.take(first_warp, plan.gathered.tile_rows);
    arena.take(partial_count, plan.gathered.tile_rows);
    for (int product = 0; product < 2; ++product) {
      arena.take(marks[product], kWarps * mark_count(plan.extra[product], kRows));
      arena.take(extra[product], int64_t(plan.extra[product]) * kWarps * kTileBytes);
    }
  }
};

// Units are the member's. Gates and memories are [row][gate or memory][unit], everything else of a unit [unit][row].
template <typename Element, int kRows, int N>
struct ForwardShared {
  TeamShared<Element, kRows> team;
  Piece<float> z, gates, s;
  Piece<float> c, h;
  Piece<float> bias, bias_mc;
  int64_t bytes;

  explicit ForwardShared(const Plan& plan) {
    const int64_t unit_rows = int64_t(plan.units) * kRows;
    SharedArena arena;
    team.lay_out(plan, arena);
    arena.take(z, unit_rows * gate_blocks(N));
    arena.take(gates, unit_rows * gate_blocks(N));
    arena.take(s, unit_rows * memory_count(N));
    arena.take(c, unit_rows);
    arena.take(h, unit_rows);
    arena.take(bias, int64_t(plan.units) * gate_blocks(N));
    arena.take(bias_mc, plan.units);
    bytes = std::max(arena.bytes(), int64_t(kStagingBytes));
  }
};

template <typename Element, int kRows, int N>
struct BackwardShared {
  TeamShared<Element, kRows> team;
  Piece<float> gates, dz;
  Piece<float> ds;                        // what the gradients of tanh(s) add to ds
  Piece<float> c, c_before, grad_output;  // of the step
  Piece<float> dh, dh_whole, dc_before;   // gradient of the state after the step so far, of h_t, of c_{t-1}
  int64_t bytes;

  explicit BackwardShared(const Plan& plan) {
    const int64_t unit_rows = int64_t(plan.units) * kRows;
    SharedArena arena;
    team.lay_out(plan, arena);
    arena.take(gates, unit_rows * gate_blocks(N));
    arena.take(dz, unit_rows * gate_blocks(N));
    arena.take(ds, unit_rows * memory_count(N));
    for (Piece<float>* piece : {&c, &c_before, &grad_output, &dh, &dh_whole, &dc_before}) arena.take(*piece, unit_rows);
    bytes = std::max(arena.bytes(), int64_t(kStagingBytes));
  }
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
