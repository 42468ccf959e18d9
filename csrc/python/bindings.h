// Fills the structs of the kernels from Python: by keyword, an address as a number. Each field is named once.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "srn.h"

namespace srn {

template <typename X>
void read(pybind11::handle from, X*& to) {
  to = reinterpret_cast<X*>(from.cast<uintptr_t>());
}

template <typename X>
void read(pybind11::handle from, X& to) {
  to = from.cast<X>();
}

inline void read(pybind11::handle from, DType& to) {
  const auto name = from.cast<std::string>();
  if (name == "float32") {
    to = DType::kFloat32;
  } else if (name == "float64") {
    to = DType::kFloat64;
  } else if (name == "bfloat16") {
    to = DType::kBFloat16;
  } else if (name == "float16") {
    to = DType::kFloat16;
  } else {
    throw pybind11::value_error("dtype should be float32, float64, bfloat16 or float16, got " + name);
  }
}

// A tuple in the order of layout.DirectionWeights.
inline void read(pybind11::handle from, Weights& to) {
  const auto weights = from.cast<pybind11::tuple>();
  const void** fields[] = {&to.ih, &to.hh, &to.b_ih, &to.b_hh, &to.mc, &to.b_mc, &to.hr};
  size_t index = 0;
  if (weights.size() != sizeof(fields) / sizeof(*fields))
    throw pybind11::value_error("weights should be seven addresses");
  for (const void** field : fields) read(weights[index++], *field);
}

// A member of the struct at `to`, by name.
struct Field {
  std::string_view name;
  void (*read_into)(pybind11::handle from, void* to);
};

template <typename Struct, auto Member>
Field field(const char* name) {
  return {name, [](pybind11::handle from, void* to) { read(from, static_cast<Struct*>(to)->*Member); }};
}

#define SRN_FIELD(Struct, name) ::srn::field<Struct, &Struct::name>(#name)

using Fields = std::vector<Field>;

// Fills a struct from a dictionary; throws TypeError unless that has exactly these fields.
template <typename Struct>
Struct from_keywords(const pybind11::dict& given, const Fields& fields) {
  Struct made = {};
  for (const auto& [key, value] : given) {
    const auto name = pybind11::cast<std::string_view>(key);
    const auto found =
        std::find_if(fields.begin(), fields.end(), [&](const Field& field) { return field.name == name; });
    if (found == fields.end()) throw pybind11::type_error("there is no field " + std::string(name));
    found->read_into(value, &made);
  }
  for (const Field& field : fields) {
    if (given.size() < fields.size() && !given.contains(field.name.data())) {
      throw pybind11::type_error("missing field " + std::string(field.name));
    }
  }
  return made;
}

// The fields of ForwardBuffers and `more`, those that one device's struct adds.
template <typename Struct>
Fields forward_fields(Fields more) {
  const Fields shared = {SRN_FIELD(Struct, weights),
                         SRN_FIELD(Struct, h0),
                         SRN_FIELD(Struct, c0),
                         SRN_FIELD(Struct, output),
                         SRN_FIELD(Struct, output_stride),
                         SRN_FIELD(Struct, h_n),
                         SRN_FIELD(Struct, c_n),
                         SRN_FIELD(Struct, memories),
                         SRN_FIELD(Struct, memories_row_stride),
                         SRN_FIELD(Struct, memory_stride),
                         SRN_FIELD(Struct, gates),
                         SRN_FIELD(Struct, cells),
                         SRN_FIELD(Struct, cell_clip)};
  more.insert(more.end(), shared.begin(), shared.end());
  return more;
}

template <typename Struct>
Fields backward_fields(Fields more) {
  const Fields shared = {SRN_FIELD(Struct, weights),
                         SRN_FIELD(Struct, c0),
                         SRN_FIELD(Struct, gates),
                         SRN_FIELD(Struct, cells),
                         SRN_FIELD(Struct, grad_output),
                         SRN_FIELD(Struct, grad_output_stride),
                         SRN_FIELD(Struct, grad_h_n),
                         SRN_FIELD(Struct, grad_c_n),
                         SRN_FIELD(Struct, grad_memories),
                         SRN_FIELD(Struct, grad_memories_row_stride),
                         SRN_FIELD(Struct, grad_memory_stride),
                         SRN_FIELD(Struct, dz),
                         SRN_FIELD(Struct, dc),
                         SRN_FIELD(Struct, s),
                         SRN_FIELD(Struct, grad_h0),
                         SRN_FIELD(Struct, grad_c0),
                         SRN_FIELD(Struct, cell_clip)};
  more.insert(more.end(), shared.begin(), shared.end());
  return more;
}

// Binds the persistent GPU kernels in a module; only in builds that have them.
void bind_cuda(pybind11::module_& m);

}  // namespace srn
