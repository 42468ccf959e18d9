// srn_kernels._C: the kernels for Python, over raw addresses. Checks nothing but sizes; Python has checked the rest.
#include <pybind11/pybind11.h>

#include <string>

#include "cpu/kernels.h"
#include "python/bindings.h"
#include "srn.h"
#include "srn_build_info.h"

namespace py = pybind11;

namespace srn {
const char* sources();  // their digest: cmake/SrnSources.cmake writes it
}

namespace {

// A shape and the sizes of its passes' workspaces, found out once: calls share their shape.
struct PlannedShape {
  srn::Shape shape;
  size_t forward_workspace = 0, backward_workspace = 0;
};

PlannedShape shape_of(const py::kwargs& given) {
  using srn::Shape;
  static const srn::Fields fields = {
      SRN_FIELD(Shape, dtype),   SRN_FIELD(Shape, tasks),   SRN_FIELD(Shape, steps),
      SRN_FIELD(Shape, batch),   SRN_FIELD(Shape, rows),    SRN_FIELD(Shape, input),
      SRN_FIELD(Shape, hidden),  SRN_FIELD(Shape, state),   SRN_FIELD(Shape, projection),
      SRN_FIELD(Shape, reverse), SRN_FIELD(Shape, threads), SRN_FIELD(Shape, batch_sizes)};
  const auto shape = srn::from_keywords<Shape>(given, fields);
  if (shape.tasks < 1 || shape.tasks > srn::kMaxTasks) throw py::value_error("tasks out of range");
  if (shape.threads < 1) throw py::value_error("threads should be at least 1");
  if (shape.dtype == srn::DType::kFloat16) throw py::value_error("the CPU kernels have no float16");
  return {shape};
}

size_t forward_workspace(PlannedShape& planned) {
  if (planned.forward_workspace == 0) planned.forward_workspace = srn::cpu_kernels().forward_workspace(planned.shape);
  return planned.forward_workspace;
}

size_t backward_workspace(PlannedShape& planned) {
  if (planned.backward_workspace == 0)
    planned.backward_workspace = srn::cpu_kernels().backward_workspace(planned.shape);
  return planned.backward_workspace;
}

void forward(const PlannedShape& planned, const py::kwargs& given) {
  using srn::ForwardParams;
  static const srn::Fields fields =
      srn::forward_fields<ForwardParams>({SRN_FIELD(ForwardParams, input), SRN_FIELD(ForwardParams, workspace)});
  auto params = srn::from_keywords<ForwardParams>(given, fields);
  params.shape = planned.shape;
  const py::gil_scoped_release release;
  srn::cpu_kernels().forward(params);
}

void backward(const PlannedShape& planned, const py::kwargs& given) {
  using srn::BackwardParams;
  static const srn::Fields fields = srn::backward_fields<BackwardParams>(
      {SRN_FIELD(BackwardParams, dh), SRN_FIELD(BackwardParams, m), SRN_FIELD(BackwardParams, input),
       SRN_FIELD(BackwardParams, h0), SRN_FIELD(BackwardParams, output), SRN_FIELD(BackwardParams, output_stride),
       SRN_FIELD(BackwardParams, grad_input), SRN_FIELD(BackwardParams, grad_ih), SRN_FIELD(BackwardParams, grad_hh),
       SRN_FIELD(BackwardParams, grad_b), SRN_FIELD(BackwardParams, grad_mc), SRN_FIELD(BackwardParams, grad_b_mc),
       SRN_FIELD(BackwardParams, grad_hr), SRN_FIELD(BackwardParams, workspace)});
  auto params = srn::from_keywords<BackwardParams>(given, fields);
  params.shape = planned.shape;
  const py::gil_scoped_release release;
  srn::cpu_kernels().backward(params);
}

// Multiply-adds in registers on `threads` threads at once; floating-point operations done.
double multiply_adds(int64_t rounds, int threads) {
  if (rounds < 0) throw py::value_error("rounds should not be negative");
  if (threads < 1) throw py::value_error("threads should be at least 1");
  double done = 0;
#pragma omp parallel num_threads(threads) reduction(+ : done)
  {
    volatile float kept = 0;
    float result = 0;
    done += srn::cpu_kernels().multiply_adds(rounds, &result);
    kept = result;
    (void)kept;
  }
  return done;
}

py::dict build_info() {
  py::dict info;
  info["version"] = SRN_VERSION_STRING;
  info["compiler"] = SRN_COMPILER;
  info["build_type"] = SRN_BUILD_TYPE;
  info["cpu_isas"] = SRN_CPU_ISAS;
  info["cuda_compiler"] = SRN_CUDA_COMPILER;
  info["cuda_architectures"] = SRN_CUDA_ARCHITECTURES;
  info["sources"] = srn::sources();
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native kernels of srn_kernels. The contract of every buffer is in csrc/srn.h.";
  m.attr("MAX_TASKS") = srn::kMaxTasks;
  m.attr("ALIGNMENT") = srn::kAlignment;
  m.def("build_info", &build_info, "How this library was built.");
  m.def("cpu_isa", [] { return srn::cpu_kernels().isa; }, "The instruction set in use.");

  m.def("multiply_adds", &multiply_adds, py::call_guard<py::gil_scoped_release>(), py::arg("rounds"),
        py::arg("threads"),
        "Runs multiply-adds of float32 vectors in registers on `threads` threads at once, the processor's ceiling; "
        "returns "
        "the number of floating-point operations.");

  // Types are local to the module: the tests load other modules of this binding beside it.
  py::class_<PlannedShape>(m, "Shape", py::module_local(), "A Shape of srn.h, by its fields.")
      .def(py::init(&shape_of))
      .def_property_readonly("forward_workspace", &forward_workspace, "Bytes.")
      .def_property_readonly("backward_workspace", &backward_workspace, "Bytes.")
      .def_property_readonly(
          "sums_over_rows",
          [](const PlannedShape& planned) { return srn::cpu_kernels().sums_over_rows(planned.shape); },
          "Whether `backward` also computes the gradients of the input and of the weights.");
  m.def("forward", &forward, py::arg("shape"), "Takes the other fields of ForwardParams in srn.h, weights as a tuple.");
  m.def("backward", &backward, py::arg("shape"),
        "Takes the other fields of BackwardParams in srn.h, weights as a tuple.");

#if defined(SRN_HAVE_CUDA)
  py::module_ cuda = m.def_submodule("cuda", "The persistent GPU kernels. The contract is in csrc/cuda/persistent.h.");
  srn::bind_cuda(cuda);
#endif
}
