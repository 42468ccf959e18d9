// The contract of the persistent GPU kernels: a recurrence over all steps in one launch, weights on chip throughout.
//
// As in srn.h, whose notation holds: every buffer belongs to the caller, on the device, dense in its last dimension; the
// kernels allocate nothing and keep nothing. There is no projection (P = H), and the input's product is the caller's.
// Elements are `dtype`'s: bfloat16, float16, or float32 multiplied as TF32. Two directions of a layer share a launch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "srn.h"

namespace srn {
namespace persistent {

// One task is a plain cell with one memory: the kernels would be a third more to compile, for what nobody runs.
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

struct DirectionWeights {
  const void* hh;    // (G*H, H)
  const void* mc;    // (H, M*H)
  const void* b_hh;  // (G*H), or null
  const void* b_mc;  // (H), or null
};

struct ForwardDirection {
  DirectionWeights weights;
  bool reverse;    // whether it starts at the last step
  const void* z;   // (S, G*H): x W_ih^T + b_ih of every row
  const void* h0;  // (B, H)
  const void* c0;  // (B, H)

  void* output;  // (S, H), rows output_stride apart
  int64_t output_stride;
  void* h_n;       // (B, H)
  void* c_n;       // (B, H)
  void* memories;  // (S, M, H), or null: tanh(s_S)
  int64_t memories_row_stride;
  int64_t memory_stride;
  void* gates;  // (S, G*H), or null: activated gates, for the backward pass
  void* cells;  // (S, H), or null with gates
};

struct BackwardDirection {
  DirectionWeights weights;
  bool reverse;       // as in the forward pass
  const void* c0;     // (B, H)
  const void* gates;  // (S, G*H)
  const void* cells;  // (S, H)

  const void* grad_output;  // (S, H), rows grad_output_stride apart, or null for zeros
  int64_t grad_output_stride;
  const void* grad_h_n;       // (B, H), or null
  const void* grad_c_n;       // (B, H), or null
  const void* grad_memories;  // (S, M, H), or null
  int64_t grad_memories_row_stride;
  int64_t grad_memory_stride;

  void* dz;       // (S, G*H): gradient of the gates before activation
  void* dc;       // (S, H): gradient of c_t
  void* s;        // (S, M*H): the memories before tanh, recomputed
  void* grad_h0;  // (B, H)
  void* grad_c0;  // (B, H)
};

// What both passes are given beside their directions.
struct Call {
  Sizes sizes;
  const int32_t* offsets;  // (T + 1): the first row of each step, and their number; or null: all steps have B rows
  uint32_t* mailbox;  // Plan::mailbox_words: where the blocks of a team leave numbers for each other; undefined before
};

struct ForwardCall : Call {
  ForwardDirection direction[kMaxDirections];
};

struct BackwardCall : Call {
  BackwardDirection direction[kMaxDirections];
};

}  // namespace persistent
}  // namespace srn
