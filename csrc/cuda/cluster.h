// How the blocks of a team leave numbers for each other where the team is a cluster of the hardware (compute capability
// 9.0 and later): each member has its own shared memory, and the others write into it.
//
// A message is a few words for a place in another member's shared memory, and is counted on arrival at a *gate* beside
// it. The owner of a gate says how many bytes an exchange brings it, and waits for them. So words carry no flags,
// nothing is looked at in vain, and h arrives in the operand of the product as it is multiplied.
//
// No member ends before all have received what it sent. And one place for each exchange is enough: a member that sends exchange k + 1 of one kind has received from every member the other
// kind's exchange in between, and each of them had read exchange k before it sent that.
#pragma once

#include "cuda/block.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::Call;
using srn::persistent::kMessageUnits;

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

  // scatterer()(unit, row, one, next): sends the partial sums of two adjacent rows to the owner of their unit.
  struct Scatterer {
    const Block& block;
    const Plan& plan;
    float* const slot;
    uint64_t* const gate;

    SRN_BODY void operator()(int unit, int row, float one, float next) const {
      const int owner = plan.by_units.quotient(unit), local = unit - owner * plan.units;
      const uint32_t words[] = {bits_as<uint32_t>(one), bits_as<uint32_t>(next)};
      block.send(owner, slot + local * kRows + row, words, gate);
    }
  };
  SRN_BODY Scatterer scatterer() const {
    return {block_, plan_, at(shared_.slots) + place_.member * plan_.units * kRows, scattered_gate()};
  }

  // To be followed by a barrier, and then by `scattered`.
  SRN_BODY void await_scattered() { pass(scattered_gate(), scattered_phase_, scattered_bytes()); }

  // The sum for an item of this member: item = unit * kRows + row.
  SRN_BODY float scattered(int item) const {
    const float* const first = at(shared_.slots) + item;
    float sum = first[0];
    for (int source = 1; source < plan_.members; ++source) sum += first[source * plan_.units * kRows];
    return sum;
  }

  // Sends an item's number to all members; each item once an exchange, then `send_gathered` and `await_gathered` by all
  // threads.
  SRN_BODY void gather(int item, float value) const {
    at(shared_.outbox)[item % kRows * plan_.units + item / kRows] = Element::operand(value);
  }

  // A message is a few units of a row. Each member begins with itself, so that not all send to one at once.
  SRN_BODY void send_gathered() const {
    block_.sync();
    const int stride = plan_.gathered.stride() * (4 / int(sizeof(Operand)));
    each(block_, plan_.members * int(plan_.by_messages.divisor), [&](int i) {
      const int turn = plan_.by_messages.quotient(i), message = plan_.by_messages.remainder(i);
      const int row = message % kRows, local = message / kRows * kMessageUnits, unit = place_.first + local;
      if (unit >= hidden_) return;
      const int shifted = place_.member + turn, member = shifted < plan_.members ? shifted : shifted - plan_.members;
      uint32_t words[kMessageWords];
      memcpy(words, __builtin_assume_aligned(at(shared_.outbox) + row * plan_.units + local, sizeof(words)),
             sizeof(words));
      block_.send(member, at(shared_.gathered) + row * stride + unit, words, gathered_gate());
    });
  }

  // Waits for all members' numbers in the operand of the first product. To be followed by a barrier.
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
