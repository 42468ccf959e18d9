// The layout of a block's shared memory, for each pass.
#pragma once

#include "cuda/element.h"
#include "cuda/plan.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::ceil_div;
using srn::persistent::extra_tiles;
using srn::persistent::kColumnRows;
using srn::persistent::kScatterBatch;
using srn::persistent::kStagingBytes;
using srn::persistent::kTileBytes;
using srn::persistent::kTileRows;
using srn::persistent::kWarps;
using srn::persistent::padded_depths;
using srn::persistent::Plan;
using srn::persistent::Tiles;

// A piece of shared memory: its offset, which a kernel reads from its parameters rather than keep in a register.
template <typename X>
struct Piece {
  int32_t offset;  // bytes

  // Of its number i, by one sum: nvcc joins stores into wide ones only where few sums make their address.
  SRN_PLAN X* in(unsigned char* memory, int i = 0) const {
    return reinterpret_cast<X*>(memory + (offset + i * int(sizeof(X))));
  }
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

  Piece<Operand> gathered, owned;  // [depth / kDepth][row][depth % kDepth], of either product
  Piece<float> partials;           // [split][row / 8][row of weights][row % 8], of the first product
  Piece<float> sums;               // [split][unit][row], of the scattered partial sums; of a mailbox
  Piece<float> slots;              // [source][unit][row], the partial sums; this and the next two of a cluster
  Piece<Operand> outbox;           // [row][unit], what is to be gathered
  Piece<uint64_t> gates;           // of the scattered and the gathered numbers
  Piece<unsigned char> extra[2];   // tiles that registers do not hold, of either product

  void lay_out(const Plan& plan, SharedArena& arena) {
    const int unit_rows = plan.units * kRows;
    arena.take(gathered, int64_t(padded_depths(plan.gathered)) * kRows * Element::kDepth);
    arena.take(owned, int64_t(padded_depths(plan.owned)) * kRows * Element::kDepth);
    arena.take(partials, int64_t(plan.gathered.splits()) * plan.gathered.rows() * kRows);
    const bool cluster = plan.exchange == srn::persistent::Exchange::kCluster;
    arena.take(sums, cluster ? 0 : int64_t(ceil_div(plan.members, kScatterBatch)) * unit_rows);
    arena.take(slots, cluster ? int64_t(plan.members) * unit_rows : 0);
    arena.take(outbox, cluster ? unit_rows : 0);
    arena.take(gates, cluster ? 2 : 0);
    int product = 0;
    for (const Tiles* tiles : {&plan.gathered, &plan.owned}) {
      arena.take(extra[product++], int64_t(extra_tiles(*tiles)) * kWarps * kTileBytes);
    }
  }
};

// What a block keeps of its items (team.h), each written and read by one thread: [item], or [gate or memory][item].
template <typename Element, int kRows, int N>
struct ForwardShared {
  TeamShared<Element, kRows> team;
  Piece<typename Element::Stored> gates;  // to be stored
  Piece<float> s;                         // to be stored, if the caller wants memories
  Piece<float> c, h, output_gate;
  Piece<float> bias, bias_mc;  // [gate][unit], [unit]
  int64_t bytes;

  explicit ForwardShared(const Plan& plan) {
    const int64_t items = int64_t(plan.units) * kRows;
    SharedArena arena;
    team.lay_out(plan, arena);
    arena.take(gates, items * gate_blocks(N));
    arena.take(s, items * memory_count(N));
    for (Piece<float>* piece : {&c, &h, &output_gate}) arena.take(*piece, items);
    arena.take(bias, int64_t(plan.units) * gate_blocks(N));
    arena.take(bias_mc, plan.units);
    bytes = std::max(arena.bytes(), int64_t(kStagingBytes));
  }
};

template <typename Element, int kRows, int N>
struct BackwardShared {
  TeamShared<Element, kRows> team;
  Piece<typename Element::Stored> dz;    // to be stored
  Piece<float> ds;                       // what the gradients of tanh(s) add to ds, if the caller has any
  Piece<float> dh, dh_whole, dc_before;  // gradient of the state after the step so far, of h_t, of c_{t-1}
  int64_t bytes;

  explicit BackwardShared(const Plan& plan) {
    const int64_t items = int64_t(plan.units) * kRows;
    SharedArena arena;
    team.lay_out(plan, arena);
    arena.take(dz, items * gate_blocks(N));
    arena.take(ds, items * memory_count(N));
    for (Piece<float>* piece : {&dh, &dh_whole, &dc_before}) arena.take(*piece, items);
    bytes = std::max(arena.bytes(), int64_t(kStagingBytes));
  }
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
