// The contract of the persistent GPU kernels: a recurrence over all steps in one launch, weights on chip throughout.
//
// As in srn.h, whose notation holds: every buffer belongs to the caller, on the device, dense in its last dimension;
// the kernels allocate nothing and keep nothing. There is no projection (P = H), and the input's product is the
// caller's. Elements are `dtype`'s: bfloat16, float16, or float32 multiplied as TF32. Two directions of a layer share a
// launch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "srn.h"

namespace srn {
namespace persistent {

// One task is a plain cell with one memory: nobody runs it, and its kernels would add a third to what is compiled.
constexpr int kLeastTasks = 2, kMostTasks = 3;
constexpr int kMaxDirections = 2;

struct Sizes {
  DType dtype;     // bfloat16, float16 or float32
  int tasks;       // N, kLeastTasks to kMostTasks
  int directions;  // 1 or 2
  int steps;       // T
  int batch;       // B
  int hidden;      // H
};

// Of the weights the kernels read hh, mc and their biases.
struct ForwardDirection : ForwardBuffers {
  bool reverse;   // whether it starts at the last step
  const void* z;  // (S, G*H): x W_ih^T + b_ih of every row
};

struct BackwardDirection : BackwardBuffers {
  bool reverse;  // as in the forward pass
};

// What both passes take besides their directions.
struct Call {
  Sizes sizes;
  const int32_t* offsets;  // (T + 1): the first row of each step, and the number of rows; null if all have B rows
  uint32_t* mailbox;  // Plan::mailbox_words: where the blocks of a team leave numbers for each other; undefined before
  int64_t* stamps;    // (blocks, kMostParts), to which a build with SRN_STAMPS adds (stamps.h); or null
};

struct ForwardCall : Call {
  ForwardDirection direction[kMaxDirections];
};

struct BackwardCall : Call {
  BackwardDirection direction[kMaxDirections];
};

}  // namespace persistent
}  // namespace srn
