// The persistent GPU kernels for Python, over raw addresses; in builds that have them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cuda/kernels.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace {

using namespace srn::persistent;

Sizes sizes_of(const std::string& dtype, int tasks, int directions, int steps, int batch, int hidden) {
  if (tasks < kLeastTasks || tasks > kMostTasks) throw py::value_error("tasks out of range");
  if (directions < 1 || directions > kMaxDirections) throw py::value_error("directions out of range");
  if (steps < 1 || batch < 1 || hidden < 1) throw py::value_error("steps, batch and hidden should be at least 1");
  return {srn::dtype_of(dtype), tasks, directions, steps, batch, hidden};
}

DirectionWeights weights_of(uintptr_t hh, uintptr_t mc, uintptr_t b_hh, uintptr_t b_mc) {
  using srn::address;
  return {address<const void>(hh), address<const void>(mc), address<const void>(b_hh), address<const void>(b_mc)};
}

ForwardDirection forward_direction(const DirectionWeights& weights, bool reverse, uintptr_t z, uintptr_t h0,
                                   uintptr_t c0, uintptr_t output, int64_t output_stride, uintptr_t h_n, uintptr_t c_n,
                                   uintptr_t memories, int64_t memories_row_stride, int64_t memory_stride,
                                   uintptr_t gates, uintptr_t cells) {
  using srn::address;
  return {weights,
          reverse,
          address<const void>(z),
          address<const void>(h0),
          address<const void>(c0),
          address<void>(output),
          output_stride,
          address<void>(h_n),
          address<void>(c_n),
          address<void>(memories),
          memories_row_stride,
          memory_stride,
          address<void>(gates),
          address<void>(cells)};
}

BackwardDirection backward_direction(const DirectionWeights& weights, bool reverse, uintptr_t c0, uintptr_t gates,
                                     uintptr_t cells, uintptr_t grad_output, int64_t grad_output_stride,
                                     uintptr_t grad_h_n, uintptr_t grad_c_n, uintptr_t grad_memories,
                                     int64_t grad_memories_row_stride, int64_t grad_memory_stride, uintptr_t dz,
                                     uintptr_t dc, uintptr_t s, uintptr_t grad_h0, uintptr_t grad_c0) {
  using srn::address;
  return {weights,
          reverse,
          address<const void>(c0),
          address<const void>(gates),
          address<const void>(cells),
          address<const void>(grad_output),
          grad_output_stride,
          address<const void>(grad_h_n),
          address<const void>(grad_c_n),
          address<const void>(grad_memories),
          grad_memories_row_stride,
          grad_memory_stride,
          address<void>(dz),
          address<void>(dc),
          address<void>(s),
          address<void>(grad_h0),
          address<void>(grad_c0)};
}

template <typename Call, typename Direction>
Call call_of(const Sizes& sizes, uintptr_t offsets, uintptr_t mailbox, const std::vector<Direction>& directions) {
  if (int(directions.size()) != sizes.directions) throw py::value_error("as many directions as the sizes say");
  Call call = {};
  call.sizes = sizes;
  call.offsets = srn::address<const int32_t>(offsets);
  call.mailbox = srn::address<uint32_t>(mailbox);
  std::copy(directions.begin(), directions.end(), call.direction);
  return call;
}

// (plan, None), or (None, the reason why there is none).
py::tuple plan(const std::string& pass, const Sizes& sizes, int device) {
  if (pass != "forward" && pass != "backward") throw py::value_error("pass should be forward or backward, got " + pass);
  std::string reason;
  const Plan plan = plan_pass(pass == "forward" ? Pass::kForward : Pass::kBackward, sizes, device, reason);
  if (plan.rows == 0) return py::make_tuple(py::none(), reason);
  return py::make_tuple(plan, py::none());
}

void run_forward(const Plan& plan, const Sizes& sizes, uintptr_t offsets, uintptr_t mailbox,
                 const std::vector<ForwardDirection>& directions, int device, uintptr_t stream) {
  const ForwardCall call = call_of<ForwardCall>(sizes, offsets, mailbox, directions);
  const py::gil_scoped_release release;
  forward(plan, call, device, srn::address<void>(stream));
}

void run_backward(const Plan& plan, const Sizes& sizes, uintptr_t offsets, uintptr_t mailbox,
                  const std::vector<BackwardDirection>& directions, int device, uintptr_t stream) {
  const BackwardCall call = call_of<BackwardCall>(sizes, offsets, mailbox, directions);
  const py::gil_scoped_release release;
  backward(plan, call, device, srn::address<void>(stream));
}

}  // namespace

namespace srn {

void bind_cuda(py::module_& m) {
  m.attr("LEAST_TASKS") = kLeastTasks;
  m.attr("MOST_TASKS") = kMostTasks;

  py::class_<Sizes>(m, "Sizes", py::module_local())
      .def(py::init(&sizes_of), py::kw_only(), py::arg("dtype"), py::arg("tasks"), py::arg("directions"),
           py::arg("steps"), py::arg("batch"), py::arg("hidden"));
  py::class_<Plan>(m, "Plan", py::module_local(), "How a pass is dealt to the blocks of a GPU: csrc/cuda/plan.h.")
      .def_readonly("rows", &Plan::rows)
      .def_readonly("units", &Plan::units)
      .def_readonly("members", &Plan::members)
      .def_readonly("teams", &Plan::teams)
      .def_readonly("groups", &Plan::groups)
      .def_readonly("shared_bytes", &Plan::shared_bytes)
      .def("blocks", &Plan::blocks, py::arg("directions"))
      .def("mailbox_words", &Plan::mailbox_words, py::arg("directions"));
  m.def("plan", &plan, py::arg("pass_"), py::arg("sizes"), py::arg("device"));

  py::class_<DirectionWeights>(m, "DirectionWeights", py::module_local())
      .def(py::init(&weights_of), py::kw_only(), py::arg("hh"), py::arg("mc"), py::arg("b_hh"), py::arg("b_mc"));
  py::class_<ForwardDirection>(m, "ForwardDirection", py::module_local())
      .def(py::init(&forward_direction), py::arg("weights"), py::kw_only(), py::arg("reverse"), py::arg("z"),
           py::arg("h0"), py::arg("c0"), py::arg("output"), py::arg("output_stride"), py::arg("h_n"), py::arg("c_n"),
           py::arg("memories"), py::arg("memories_row_stride"), py::arg("memory_stride"), py::arg("gates"),
           py::arg("cells"));
  py::class_<BackwardDirection>(m, "BackwardDirection", py::module_local())
      .def(py::init(&backward_direction), py::arg("weights"), py::kw_only(), py::arg("reverse"), py::arg("c0"),
           py::arg("gates"), py::arg("cells"), py::arg("grad_output"), py::arg("grad_output_stride"),
           py::arg("grad_h_n"), py::arg("grad_c_n"), py::arg("grad_memories"), py::arg("grad_memories_row_stride"),
           py::arg("grad_memory_stride"), py::arg("dz"), py::arg("dc"), py::arg("s"), py::arg("grad_h0"),
           py::arg("grad_c0"));
  m.def("forward", &run_forward, py::arg("plan"), py::arg("sizes"), py::kw_only(), py::arg("offsets"),
        py::arg("mailbox"), py::arg("directions"), py::arg("device"), py::arg("stream"));
  m.def("backward", &run_backward, py::arg("plan"), py::arg("sizes"), py::kw_only(), py::arg("offsets"),
        py::arg("mailbox"), py::arg("directions"), py::arg("device"), py::arg("stream"));
}

}  // namespace srn
