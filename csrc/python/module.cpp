// srn_kernels._C: the kernels for Python, over raw addresses. Checks nothing but sizes; Python has checked the rest.
#include <pybind11/pybind11.h>

#include <string>

#include "cpu/kernels.h"
#include "python/bindings.h"
#include "srn.h"
#include "srn_build_info.h"

namespace py = pybind11;

namespace {

using srn::address;

srn::Shape shape_of(const std::string& dtype, int tasks, int64_t steps, int64_t batch, int64_t rows, int64_t input,
                    int64_t hidden, int64_t state, bool projection, bool reverse, int threads, uintptr_t batch_sizes) {
  if (tasks < 1 || tasks > srn::kMaxTasks) throw py::value_error("tasks out of range");
  if (threads < 1) throw py::value_error("threads should be at least 1");
  const srn::DType element = srn::dtype_of(dtype);
  if (element == srn::DType::kFloat16) throw py::value_error("the CPU kernels have no float16");
  return {element, tasks, steps,      batch,   rows,    input,
          hidden,  state, projection, reverse, threads, address<const int64_t>(batch_sizes)};
}

srn::Weights weights_of(uintptr_t ih, uintptr_t hh, uintptr_t b_ih, uintptr_t b_hh, uintptr_t mc, uintptr_t b_mc,
                        uintptr_t hr) {
  return {address<const void>(ih), address<const void>(hh),   address<const void>(b_ih), address<const void>(b_hh),
          address<const void>(mc), address<const void>(b_mc), address<const void>(hr)};
}

void forward(const srn::Shape& shape, const srn::Weights& weights, uintptr_t input, uintptr_t h0, uintptr_t c0,
             uintptr_t output, int64_t output_stride, uintptr_t h_n, uintptr_t c_n, uintptr_t memories,
             int64_t memories_row_stride, int64_t memory_stride, uintptr_t gates, uintptr_t cells,
             uintptr_t workspace) {
  const srn::ForwardParams params = {shape,
                                     weights,
                                     address<const void>(input),
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
                                     address<void>(cells),
                                     address<void>(workspace)};
  srn::cpu_kernels().forward(params);
}

void backward(const srn::Shape& shape, const srn::Weights& weights, uintptr_t c0, uintptr_t gates, uintptr_t cells,
              uintptr_t grad_output, int64_t grad_output_stride, uintptr_t grad_h_n, uintptr_t grad_c_n,
              uintptr_t grad_memories, int64_t grad_memories_row_stride, int64_t grad_memory_stride, uintptr_t dz,
              uintptr_t dc, uintptr_t s, uintptr_t dh, uintptr_t m, uintptr_t grad_h0, uintptr_t grad_c0,
              uintptr_t workspace) {
  const srn::BackwardParams params = {shape,
                                      weights,
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
                                      address<void>(dh),
                                      address<void>(m),
                                      address<void>(grad_h0),
                                      address<void>(grad_c0),
                                      address<void>(workspace)};
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
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native kernels of srn_kernels. The contract of every buffer is in csrc/srn.h.";
  m.attr("MAX_TASKS") = srn::kMaxTasks;
  m.attr("ALIGNMENT") = srn::kAlignment;
  m.def("build_info", &build_info, "How this library was built.");
  m.def("cpu_isa", [] { return srn::cpu_kernels().isa; }, "The instruction set in use.");

  m.def(
      "multiply_adds", &multiply_adds, py::call_guard<py::gil_scoped_release>(), py::arg("rounds"), py::arg("threads"),
      "Runs multiply-adds of float32 vectors in registers on so many threads at once, the processor's ceiling; returns "
      "the number of floating-point operations.");

  // Types are local to the module: the tests load others of this binding beside it.
  py::class_<srn::Shape>(m, "Shape", py::module_local())
      .def(py::init(&shape_of), py::kw_only(), py::arg("dtype"), py::arg("tasks"), py::arg("steps"), py::arg("batch"),
           py::arg("rows"), py::arg("input"), py::arg("hidden"), py::arg("state"), py::arg("projection"),
           py::arg("reverse"), py::arg("threads"), py::arg("batch_sizes"))
      .def_property_readonly("forward_workspace",
                             [](const srn::Shape& shape) { return srn::cpu_kernels().forward_workspace(shape); })
      .def_property_readonly("backward_workspace",
                             [](const srn::Shape& shape) { return srn::cpu_kernels().backward_workspace(shape); });
  py::class_<srn::Weights>(m, "Weights", py::module_local())  // in the order of layout.DirectionWeights
      .def(py::init(&weights_of), py::arg("ih"), py::arg("hh"), py::arg("b_ih"), py::arg("b_hh"), py::arg("mc"),
           py::arg("b_mc"), py::arg("hr"));

  m.def("forward", &forward, py::call_guard<py::gil_scoped_release>(), py::arg("shape"), py::arg("weights"),
        py::kw_only(), py::arg("input"), py::arg("h0"), py::arg("c0"), py::arg("output"), py::arg("output_stride"),
        py::arg("h_n"), py::arg("c_n"), py::arg("memories"), py::arg("memories_row_stride"), py::arg("memory_stride"),
        py::arg("gates"), py::arg("cells"), py::arg("workspace"));
  m.def("backward", &backward, py::call_guard<py::gil_scoped_release>(), py::arg("shape"), py::arg("weights"),
        py::kw_only(), py::arg("c0"), py::arg("gates"), py::arg("cells"), py::arg("grad_output"),
        py::arg("grad_output_stride"), py::arg("grad_h_n"), py::arg("grad_c_n"), py::arg("grad_memories"),
        py::arg("grad_memories_row_stride"), py::arg("grad_memory_stride"), py::arg("dz"), py::arg("dc"), py::arg("s"),
        py::arg("dh"), py::arg("m"), py::arg("grad_h0"), py::arg("grad_c0"), py::arg("workspace"));

#if defined(SRN_HAVE_CUDA)
  py::module_ cuda = m.def_submodule("cuda", "The persistent GPU kernels. The contract is in csrc/cuda/persistent.h.");
  srn::bind_cuda(cuda);
#endif
}
