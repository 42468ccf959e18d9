// What the files of the Python module share.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "srn.h"

namespace srn {

template <typename X>
X* address(uintptr_t value) {
  return reinterpret_cast<X*>(value);
}

inline DType dtype_of(const std::string& name) {
  if (name == "float32") return DType::kFloat32;
  if (name == "float64") return DType::kFloat64;
  if (name == "bfloat16") return DType::kBFloat16;
  if (name == "float16") return DType::kFloat16;
  throw pybind11::value_error("dtype should be float32, float64, bfloat16 or float16, got " + name);
}

// The persistent GPU kernels, into a module of their own; only in builds that have them.
void bind_cuda(pybind11::module_& m);

}  // namespace srn
