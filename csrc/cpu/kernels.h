// The CPU kernels' table: one for each instruction set they are compiled for, chosen at run time.
#pragma once

#include "srn.h"

namespace srn {

struct CpuKernels {
  const char* isa;
  void (*forward)(const ForwardParams&);
  void (*backward)(const BackwardParams&);
  size_t (*forward_workspace)(const Shape&);               // bytes
  size_t (*backward_workspace)(const Shape&);              // bytes
  bool (*sums_over_rows)(const Shape&);                    // whether `backward` does the products over all rows
  double (*multiply_adds)(int64_t rounds, float* result);  // one thread's ceiling: cpu/ceiling.h
};

// The table in use: the best that this processor runs, or the one that the environment variable SRN_KERNELS_ISA names.
// Throws std::runtime_error for a name that was not built or that this processor cannot run.
const CpuKernels& cpu_kernels();

}  // namespace srn
