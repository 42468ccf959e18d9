// The contract of the native kernels: what each takes, with every buffer's shape, layout, owner and lifetime.
//
// Nothing here knows torch or Python. Every buffer belongs to the caller, is dense in its last dimension, and lives at
// least until the call returns; kernels allocate nothing and keep nothing. Rows of a matrix are `*_stride` elements
// apart where a stride is named, and adjacent otherwise.
//
// Notation: T steps, B sequences, S packed rows, D input size, H hidden size, P state size (a projection's size, or H
// without one), N tasks, G = 3 + 2N gate blocks, M = 2^N - 1 memories. Gates lie in the order f, o, c^, rho^_1..rho^_N
// (on the candidate), rho~_1..rho~_N (on the filtered history); memories by subset size, then lexicographically.
#pragma once

#include <cstddef>
#include <cstdint>

namespace srn {

// Element type of every buffer of a call except the workspace. bfloat16 is computed in float32; only the GPU has
// float16 (cuda/persistent.h).
enum class DType { kFloat32, kFloat64, kBFloat16, kFloat16 };

// The most tasks that the native kernels serve.
constexpr int kMaxTasks = 4;

struct Shape {
  DType dtype;
  int tasks;                   // N, 1 to kMaxTasks
  int64_t steps;               // T
  int64_t batch;               // B
  int64_t rows;                // S, the sum of batch_sizes
  int64_t input;               // D
  int64_t hidden;              // H
  int64_t state;               // P
  bool projection;             // whether h passes through w_hr; without, P = H
  bool reverse;                // whether the recurrence starts at the last step
  int threads;                 // the most threads that may work on the call
  const int64_t* batch_sizes;  // (T): rows of each step, never increasing, from B down to at least 1
};

struct Weights {
  const void* ih;    // (G*H, D)
  const void* hh;    // (G*H, P)
  const void* b_ih;  // (G*H), or null
  const void* b_hh;  // (G*H), or null
  const void* mc;    // (H, M*H)
  const void* b_mc;  // (H), or null
  const void* hr;    // (P, H), or null without a projection
};

// What a forward pass over one direction reads and writes, on either device.
struct ForwardBuffers {
  Weights weights;
  const void* h0;  // (B, P)
  const void* c0;  // (B, H)

  void* output;  // (S, P), rows output_stride apart: h_t of every row
  int64_t output_stride;
  void* h_n;       // (B, P), each sequence's last state
  void* c_n;       // (B, H)
  void* memories;  // (S, M, H), or null: tanh(s_S), memories of a row memory_stride apart
  int64_t memories_row_stride;
  int64_t memory_stride;
  void* gates;  // (S, G*H) numbers, or null: activated gates, for the same device's backward pass
  void* cells;  // (S, H), or null with gates: c_t, for the backward pass

  double cell_clip;  // c_t is held to +-cell_clip, which is a number of `dtype`; NaN for no bound
};

// The same for the backward recurrence. Input and weight gradients follow from its results by a few matrix products
// over all rows.
struct BackwardBuffers {
  Weights weights;
  const void* c0;     // (B, H)
  const void* gates;  // (S, G*H) numbers, as the forward pass left them
  const void* cells;  // (S, H), from the forward pass

  const void* grad_output;  // (S, P), rows grad_output_stride apart, or null for zeros
  int64_t grad_output_stride;
  const void* grad_h_n;       // (B, P), or null for zeros
  const void* grad_c_n;       // (B, H), or null for zeros
  const void* grad_memories;  // (S, M, H), or null for zeros, strided as in the forward pass
  int64_t grad_memories_row_stride;
  int64_t grad_memory_stride;

  void* dz;       // (S, G*H): gradient of the gates before activation
  void* dc;       // (S, H): gradient of c_t
  void* s;        // (S, M*H): the memories before tanh, recomputed
  void* grad_h0;  // (B, P)
  void* grad_c0;  // (B, H)

  double cell_clip;  // as in the forward pass: no gradient goes through a cell state at its bound
};

// A call of the CPU kernels. A step's gates take the place of its rows, but in the order in which both passes need
// them: [unit group][G][row][unit]; a unit group is 8 units.
struct ForwardParams : ForwardBuffers {
  Shape shape;
  const void* input;  // (S, D)
  void* workspace;    // forward_workspace(shape) bytes, aligned to kAlignment; contents do not matter
};

// Where sums_over_rows(shape), the products over all rows are done as well, and dz, dc, s, dh and m are not left; they
// may be null. Elsewhere they are left to the caller, and what is below `m` is not touched.
struct BackwardParams : BackwardBuffers {
  Shape shape;
  void* dh;  // (S, P): gradient of h_t; null without a projection
  void* m;   // (S, H): the hidden units o tanh(c_t) before the projection, recomputed; null without one

  const void* input;   // (S, D)
  const void* h0;      // (B, P)
  const void* output;  // (S, P), rows output_stride apart
  int64_t output_stride;
  void* grad_input;  // (S, D), or null
  void* grad_ih;     // (G*H, D), or null with all that follow
  void* grad_hh;     // (G*H, P)
  void* grad_b;      // (G*H), of either bias; or null
  void* grad_mc;     // (H, M*H)
  void* grad_b_mc;   // (H), or null
  void* grad_hr;     // (P, H); null without a projection

  void* workspace;  // backward_workspace(shape) bytes, aligned to kAlignment; contents do not matter
};

constexpr size_t kAlignment = 64;

}  // namespace srn
