// The persistent GPU kernels for Python, over raw addresses; in builds that have them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <type_traits>
#include <vector>

#include "cuda/kernels.h"
#include "cuda/stamps.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace {

using namespace srn::persistent;

Sizes sizes_of(const py::kwargs& given) {
  static const srn::Fields fields = {SRN_FIELD(Sizes, dtype), SRN_FIELD(Sizes, tasks), SRN_FIELD(Sizes, directions),
                                     SRN_FIELD(Sizes, steps), SRN_FIELD(Sizes, batch), SRN_FIELD(Sizes, hidden)};
  const auto sizes = srn::from_keywords<Sizes>(given, fields);
  if (sizes.tasks < kLeastTasks || sizes.tasks > kMostTasks) throw py::value_error("tasks out of range");
  if (sizes.directions < 1 || sizes.directions > kMaxDirections) throw py::value_error("directions out of range");
  if (sizes.steps < 1 || sizes.batch < 1 || sizes.hidden < 1) {
    throw py::value_error("steps, batch and hidden should be at least 1");
  }
  return sizes;
}

// Where every call leaves its stamps, or null.
int64_t* stamps = nullptr;

template <typename Call>
Call call_of(const Sizes& sizes, uintptr_t offsets, uintptr_t mailbox, const std::vector<py::dict>& directions,
             const srn::Fields& fields) {
  if (int(directions.size()) != sizes.directions) throw py::value_error("as many directions as the sizes say");
  Call call = {};
  call.sizes = sizes;
  call.offsets = reinterpret_cast<const int32_t*>(offsets);
  call.mailbox = reinterpret_cast<uint32_t*>(mailbox);
  call.stamps = stamps;
  for (int d = 0; d < sizes.directions; ++d) {
    call.direction[d] = srn::from_keywords<std::decay_t<decltype(*call.direction)>>(directions[size_t(d)], fields);
  }
  return call;
}

// (plan, None), or (None, why there is no plan).
py::tuple plan(const std::string& pass, const Sizes& sizes, const std::string& exchange, int device) {
  if (pass != "forward" && pass != "backward") throw py::value_error("pass should be forward or backward, got " + pass);
  if (exchange != "mailbox" && exchange != "cluster") {
    throw py::value_error("exchange should be mailbox or cluster, got " + exchange);
  }
  std::string reason;
  const Plan plan = plan_pass(pass == "forward" ? Pass::kForward : Pass::kBackward, sizes,
                              exchange == "mailbox" ? Exchange::kMailbox : Exchange::kCluster, device, reason);
  if (plan.rows == 0) return py::make_tuple(py::none(), reason);
  return py::make_tuple(plan, py::none());
}

void run_forward(const Plan& plan, const Sizes& sizes, uintptr_t offsets, uintptr_t mailbox,
                 const std::vector<py::dict>& directions, int device, uintptr_t stream) {
  static const srn::Fields fields =
      srn::forward_fields<ForwardDirection>({SRN_FIELD(ForwardDirection, reverse), SRN_FIELD(ForwardDirection, z)});
  const auto call = call_of<ForwardCall>(sizes, offsets, mailbox, directions, fields);
  const py::gil_scoped_release release;
  forward(plan, call, device, reinterpret_cast<void*>(stream));
}

void run_backward(const Plan& plan, const Sizes& sizes, uintptr_t offsets, uintptr_t mailbox,
                  const std::vector<py::dict>& directions, int device, uintptr_t stream) {
  static const srn::Fields fields = srn::backward_fields<BackwardDirection>({SRN_FIELD(BackwardDirection, reverse)});
  const auto call = call_of<BackwardCall>(sizes, offsets, mailbox, directions, fields);
  const py::gil_scoped_release release;
  backward(plan, call, device, reinterpret_cast<void*>(stream));
}

}  // namespace

namespace srn {

void bind_cuda(py::module_& m) {
  m.attr("LEAST_TASKS") = kLeastTasks;
  m.attr("MOST_TASKS") = kMostTasks;

  py::class_<Sizes>(m, "Sizes", py::module_local(), "Sizes of persistent.h, by its fields.").def(py::init(&sizes_of));
  py::class_<Plan>(m, "Plan", py::module_local(), "How a pass is dealt to the blocks of a GPU: csrc/cuda/plan.h.")
      .def_readonly("rows", &Plan::rows)
      .def_readonly("units", &Plan::units)
      .def_readonly("members", &Plan::members)
      .def_readonly("teams", &Plan::teams)
      .def_readonly("row_groups", &Plan::row_groups)
      .def_readonly("shared_bytes", &Plan::shared_bytes)
      .def("blocks", &Plan::blocks, py::arg("directions"))
      .def("mailbox_words", &Plan::mailbox_words, py::arg("directions"));
  m.def("plan", &plan, py::arg("pass_"), py::arg("sizes"), py::arg("exchange"), py::arg("device"));

  // Each direction is a dictionary: the fields of ForwardDirection or BackwardDirection in persistent.h.
  m.def("forward", &run_forward, py::arg("plan"), py::arg("sizes"), py::kw_only(), py::arg("offsets"),
        py::arg("mailbox"), py::arg("directions"), py::arg("device"), py::arg("stream"));
  m.def("backward", &run_backward, py::arg("plan"), py::arg("sizes"), py::kw_only(), py::arg("offsets"),
        py::arg("mailbox"), py::arg("directions"), py::arg("device"), py::arg("stream"));

#if defined(SRN_STAMPS)
  const auto names = [](const char* const* first, int count) { return std::vector<std::string>(first, first + count); };
  m.attr("MOST_PARTS") = kMostParts;
  m.attr("FORWARD_PARTS") = names(kForwardPartNames, kForwardParts);
  m.attr("BACKWARD_PARTS") = names(kBackwardPartNames, kBackwardParts);
  m.def(
      "stamp_to", [](uintptr_t address) { stamps = reinterpret_cast<int64_t*>(address); }, py::arg("address"),
      "Has every call add its blocks' ticks, (blocks, MOST_PARTS) int64, to the numbers at an address of the device.");
#endif
}

}  // namespace srn
