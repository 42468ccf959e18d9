// How the blocks of a team leave numbers for each other where the team is a cluster of the hardware (compute capability
// 9.0 and later): each member has its own shared memory, and the others write into it.
//
// A message is a few words for a place in another member's shared memory, and is counted on arrival at a *gate* beside
// it. The owner of a gate says how many bytes an exchange brings it, and waits for them. So words carry no flags,
// nothing is looked at in vain, and h arrives in the operand of the product as it is multiplied.
//
// No member ends before all have received what it sent. And one place for each exchange is enough: a member that sends
// exchange k + 1 of one kind has received from every member the other kind's exchange in between, and each of them had
// read exchange k before it sent that.
#pragma once

#include "cuda/block.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::Call;
using srn::persistent::kMessageUnits;
using srn::persistent::kMostMembers;

template <typename Block>
class Cluster {
  using Element = typename Block::Element;
  using Operand = typename Element::Operand;
  static constexpr int kRows = Block::kRows;
  static constexpr int kMessageWords = kMessageUnits * int(sizeof(Operand)) / 4;

 public:
  SRN_BODY Cluster(const Block& block, const Plan& plan, const Call& call, const Place& place,
                   const TeamShared<Element, kRows>& shared)
      : block_(block), plan_(plan), place_(place), shared_(shared), hidden_(call.sizes.hidden) {}

  // To be called after all else that a member writes to its shared memory before the first exchange.
  SRN_BODY void begin() const {
    each(block_, kRows * plan_.units, [&](int i) { at(shared_.outbox)[i] = 0; });
    if (block_.thread() == 0) {
      block_.open(scattered_gate());
      block_.open(gathered_gate());
      block_.expect(scattered_gate(), scattered_bytes());
      block_.expect(gathered_gate(), gathered_bytes());
    }
    block_.sync_cluster();
  }

  // After the last exchange: no block ends while its messages may be on their way.
  SRN_BODY void end() const { block_.sync_cluster(); }

  // scatterer()(unit, row, four): sends the partial sums of four adjacent rows to the owner of their unit.
  struct Scatterer {
    const Block& block;
    const Plan& plan;
    float* const slot;
    uint64_t* const gate;

    SRN_BODY void operator()(int unit, int row, const float (&four)[4]) const {
      const int owner = plan.by_units.quotient(unit), local = unit - owner * plan.units;
      const uint32_t words[] = {bits_as<uint32_t>(four[0]), bits_as<uint32_t>(four[1]), bits_as<uint32_t>(four[2]),
                                bits_as<uint32_t>(four[3])};
      block.send(owner, slot + local * kRows + row, words, gate);
    }
  };
  SRN_BODY Scatterer scatterer() const {
    return {block_, plan_, at(shared_.slots) + place_.member * plan_.units * kRows, scattered_gate()};
  }

  // To be followed by `scattered`.
  SRN_BODY void await_scattered() { pass(scattered_gate(), scattered_phase_, scattered_bytes()); }

  // The sum for a row of a unit of this member: all loads are under way at once, and no chain of sums is long.
  SRN_BODY float scattered(int unit, int row) const {
    const float* const first = at(shared_.slots) + unit * kRows + row;
    const int each = in_register(plan_.units * kRows);
    float sums[kMostMembers];
    SRN_UNROLL(kMostMembers)
    for (int source = 0; source < kMostMembers; ++source) {
      sums[source] = source < plan_.members ? first[source * each] : 0.0f;
    }
    SRN_UNROLL(kMostMembers)
    for (int apart = kMostMembers / 2; apart > 0; apart /= 2) {
      SRN_UNROLL(kMostMembers)
      for (int i = 0; i < apart; ++i) sums[i] += sums[i + apart];
    }
    return sums[0];
  }

  // Sends a number of a row of a unit of this member to all members; each once an exchange, then `send_gathered` for
  // each group of items, and `await_gathered` by all threads.
  SRN_BODY void gather(int unit, int row, float value) const {
    at(shared_.outbox)[row * plan_.units + unit] = Element::operand(value);
  }

  // A message is a few units of a row: a group of items has one for each of its rows, and the warp that has computed
  // them sends them. Each member begins with itself, so that not all send to one at once.
  SRN_BODY void send_gathered(int group) const {
    static_assert(kLanes == kMessageUnits * kRows, "a group of items has the units of a message");
    block_.sync_warp();
    const int local = group * kMessageUnits, unit = place_.first + local;
    if (unit >= hidden_) return;
    block_.each_lane([&](int lane) {
      const int row = lane % kRows;
      uint32_t words[kMessageWords];
      memcpy(words, __builtin_assume_aligned(at(shared_.outbox) + row * plan_.units + local, sizeof(words)),
             sizeof(words));
      Operand* const to = at(shared_.gathered) + operand_place<Block>(row, unit);
      SRN_UNROLL(4)
      for (int turn = lane / kRows; turn < plan_.members; turn += kLanes / kRows) {
        const int member = place_.member + turn;
        block_.send(member < plan_.members ? member : member - plan_.members, to, words, gathered_gate());
      }
    });
  }

  // Waits for all members' numbers in the operand of the first product.
  SRN_BODY void await_gathered() { pass(gathered_gate(), gathered_phase_, gathered_bytes()); }

 private:
  template <typename X>
  SRN_BODY X* at(const Piece<X>& piece) const {
    return piece.in(block_.memory());
  }

  // Every thread waits; one of them says what the next exchange will bring. One bit tells a gate's phases apart:
  // barriers and the other kind's exchange lie between them, so no thread can be two behind.
  SRN_BODY void pass(uint64_t* gate, uint32_t& phase, int bytes) const {
    for (uint32_t looks = 0; !block_.passed(gate, phase);) block_.wait(++looks);
    if (block_.thread() == 0) block_.expect(gate, bytes);
    phase ^= 1;
  }

  SRN_BODY uint64_t* scattered_gate() const { return at(shared_.gates); }
  SRN_BODY uint64_t* gathered_gate() const { return at(shared_.gates) + 1; }
  SRN_BODY int scattered_bytes() const { return plan_.members * place_.units * kRows * int(sizeof(float)); }
  SRN_BODY int gathered_bytes() const {
    return ceil_div(hidden_, kMessageUnits) * kRows * kMessageUnits * int(sizeof(Operand));
  }

  const Block& block_;
  const Plan& plan_;
  const Place place_;
  const TeamShared<Element, kRows>& shared_;
  const int hidden_;
  uint32_t scattered_phase_ = 0, gathered_phase_ = 0;
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
