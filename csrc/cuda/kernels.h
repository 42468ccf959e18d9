// The persistent GPU kernels for a caller that knows no CUDA. Everything here throws std::runtime_error if CUDA fails.
#pragma once

#include <string>

#include "cuda/persistent.h"
#include "cuda/plan.h"

namespace srn {
namespace persistent {

// How the pass of a problem is dealt to a device's blocks. If it cannot be, `rows` is 0 and `reason` a sentence.
Plan plan_pass(Pass pass, const Sizes& sizes, Exchange exchange, int device, std::string& reason);

// Enqueues a pass on the stream (a cudaStream_t of the device; null for the default one) and returns. `plan` is that of
// the same pass, sizes and device.
void forward(const Plan& plan, const ForwardCall& call, int device, void* stream);
void backward(const Plan& plan, const BackwardCall& call, int device, void* stream);

}  // namespace persistent
}  // namespace srn
