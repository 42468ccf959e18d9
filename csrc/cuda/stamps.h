// Where the time of a step goes: in a build with SRN_STAMPS a block adds up, for each part of its steps, the clock's
// ticks since the previous part ended, barrier included. In any other build `stamp` does nothing.
#pragma once

namespace srn {
namespace persistent {

enum ForwardPart { kAwaitH, kMultiplyH, kSelect, kMultiplyS, kKeep, kAwaitC, kFinish, kForwardParts };
constexpr const char* kForwardPartNames[kForwardParts] = {
    "await h", "first product", "gates, memories", "second product, scatter", "ask for z, keep", "await c", "state",
};

enum BackwardPart {
  kBegin,
  kRecompute,
  kAwaitDc,
  kMultiplyDc,
  kDifferentiate,
  kMultiplyDz,
  kKeepDz,
  kAwaitDh,
  kBackwardParts
};
constexpr const char* kBackwardPartNames[kBackwardParts] = {
    "state, gradient of c",    "memories",           "await dc", "first product", "gradients of memories, gates",
    "second product, scatter", "ask for more, keep", "await dh",
};

constexpr int kMostParts = kBackwardParts;  // of either pass: numbers that a block leaves
static_assert(kForwardParts <= kMostParts, "the backward pass has the most");

}  // namespace persistent
}  // namespace srn
