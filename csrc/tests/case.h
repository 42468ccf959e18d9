// A call of the kernels, drawn at random: its shape, its weights and everything else that goes into it.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/draw.h"
#include "tests/tensor.h"

namespace srn {
namespace test {

struct Case {
  Shape shape;
  Guard guard;                   // of every buffer
  std::vector<int64_t> offsets;  // of each step's first row
  int64_t gates, memories;       // G, M
  Memory batch_sizes;
  Tensor ih, hh, b_ih, b_hh, mc, b_mc, hr;
  double cell_clip;  // so low that many cell states are at it; or NaN
  Tensor input, h0, c0;
  Tensor grad_output, grad_h_n, grad_c_n, grad_memories;

  // Dtypes, tasks, projection and direction take turns, so that any 48 numbers in a row hold each combination once.
  explicit Case(uint64_t number) : shape() {
    Draw draw(number);
    shape.dtype = DType(number % 3);
    shape.tasks = 1 + int(number / 3 % kMaxTasks);
    shape.projection = number / 12 % 2 != 0;
    shape.reverse = number / 24 % 2 != 0;
    shape.threads = 1;
    gates = 3 + 2 * shape.tasks;
    memories = (int64_t(1) << shape.tasks) - 1;
    guard = guard_of(draw);
    const bool large = draw.one_in(2);            // enough for several threads, mostly
    const int64_t step = draw.one_in(2) ? 2 : 1;  // products of bfloat16 take pairs of numbers
    shape.hidden = draw.between(large ? 16 / step + 1 : 1, 40 / step) * step;
    shape.state = shape.projection ? draw.between(1, 20 / step) * step : shape.hidden;
    shape.input = draw.between(1, (draw.one_in(4) ? 120 : 40) / step) * step;
    shape.batch = draw.one_in(20) ? 0 : draw.between(large ? 12 : 1, 40);
    shape.steps = shape.batch == 0 ? 0 : draw.between(0, 9);
    steps(draw);
    cell_clip = clip_of(number);
    contents(draw);
  }

  // One direction of a call of the persistent GPU kernels; the second of a layer has the shape of the first.
  Case(uint64_t number, bool reverse) : shape() {
    Draw draw(number);
    constexpr DType kDTypes[] = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};
    shape.dtype = kDTypes[number % 3];
    shape.tasks = 2 + int(number / 3 % 2);
    shape.reverse = reverse;
    shape.threads = 1;
    gates = 3 + 2 * shape.tasks;
    memories = (int64_t(1) << shape.tasks) - 1;
    guard = guard_of(draw);
    shape.hidden = shape.state = draw.one_in(8) ? draw.between(41, 150) : draw.between(1, 40);
    shape.input = draw.between(1, 8);
    shape.batch = draw.between(1, draw.one_in(2) ? 8 : 40);
    shape.steps = draw.between(1, 7);
    steps(draw);
    cell_clip = clip_of(number);
    Draw direction_draw(reverse ? ~number : number);
    contents(direction_draw);
  }

  Weights pointers() const {
    return {ih.data(), hh.data(), b_ih.data(), b_hh.data(), mc.data(), b_mc.data(), hr.data()};
  }

  // A result of (S, columns), or of (S, M, H), with gaps between its rows or none.
  Tensor rows_like(Draw& draw, int64_t columns) const {
    return Tensor(shape.dtype, guard, shape.rows, 1, columns, columns + gap(draw), columns);
  }
  Tensor memories_like(Draw& draw) const {
    const int64_t width = shape.hidden + gap(draw);
    const bool memory_first = draw.one_in(3);  // (M, S, H) in memory
    const int64_t row_stride = memory_first ? width : memories * width + gap(draw);
    const int64_t memory_stride = memory_first ? shape.rows * width + gap(draw) : width;
    return Tensor(shape.dtype, guard, shape.rows, memories, shape.hidden, row_stride, memory_stride);
  }

  std::string text() const {
    static const char* const names[] = {"float32", "float64", "bfloat16", "float16"};
    std::string sizes;
    for (int64_t t = 0; t < shape.steps; ++t) sizes += (t == 0 ? "" : " ") + std::to_string(shape.batch_sizes[t]);
    char line[256];
    snprintf(line, sizeof(line), "%s N=%d T=%d B=%d S=%d D=%d H=%d P=%d%s%s biases=%s%s%s clip=%g batch_sizes=[",
             names[int(shape.dtype)], shape.tasks, int(shape.steps), int(shape.batch), int(shape.rows),
             int(shape.input), int(shape.hidden), int(shape.state), shape.projection ? " projection" : "",
             shape.reverse ? " reverse" : "", b_ih.null() ? "-" : "i", b_hh.null() ? "-" : "h", b_mc.null() ? "-" : "m",
             cell_clip);
    return line + sizes + "]";
  }

 private:
  static double clip_of(uint64_t number) {
    Draw draw(number + 3000000019);
    return draw.one_in(2) ? NAN : draw.one_in(2) ? 0.25 : 0.125;  // numbers of every dtype
  }
  static Guard guard_of(Draw& draw) { return draw.one_in(2) ? Guard::kHeap : Guard::kPage; }

  void contents(Draw& draw) {
    weights(draw);
    input = numbers(draw, shape.rows, shape.input, 1);
    h0 = numbers(draw, shape.batch, shape.state, 1);
    c0 = numbers(draw, shape.batch, shape.hidden, 1);
    gradients(draw);
  }

  static int64_t gap(Draw& draw) { return draw.one_in(2) ? 0 : draw.between(1, 9); }

  void steps(Draw& draw) {
    const bool ragged = draw.one_in(2);
    batch_sizes = Memory(size_t(shape.steps) * sizeof(int64_t), guard);
    int64_t* sizes = reinterpret_cast<int64_t*>(batch_sizes.get());
    shape.batch_sizes = sizes;
    int64_t size = shape.batch;
    for (int64_t t = 0; t < shape.steps; ++t) {
      if (t > 0 && ragged && draw.one_in(2)) size = draw.between(1, size);
      sizes[t] = size;
      offsets.push_back(shape.rows);
      shape.rows += size;
    }
  }

  void weights(Draw& draw) {
    const int64_t hidden = shape.hidden, columns = gates * hidden;
    const double bound = 1 / std::sqrt(double(hidden));
    ih = numbers(draw, columns, shape.input, 0.4);
    hh = numbers(draw, columns, shape.state, bound);
    mc = numbers(draw, hidden, memories * hidden, bound);
    if (shape.projection) hr = numbers(draw, shape.state, hidden, bound);
    if (!draw.one_in(4)) b_ih = numbers(draw, 1, columns, 0.5);
    if (!draw.one_in(4)) b_hh = numbers(draw, 1, columns, 0.5);
    if (!draw.one_in(4)) b_mc = numbers(draw, 1, hidden, 0.5);
  }

  void gradients(Draw& draw) {
    if (!draw.one_in(4)) {
      grad_output = rows_like(draw, shape.state);
      fill(draw, 1, grad_output);
    }
    if (!draw.one_in(4)) grad_h_n = numbers(draw, shape.batch, shape.state, 1);
    if (!draw.one_in(4)) grad_c_n = numbers(draw, shape.batch, shape.hidden, 1);
    if (!draw.one_in(4)) {
      grad_memories = memories_like(draw);
      fill(draw, 1, grad_memories);
    }
  }

  Tensor numbers(Draw& draw, int64_t rows, int64_t columns, double bound) const {
    Tensor tensor(shape.dtype, guard, rows, columns);
    fill(draw, bound, tensor);
    return tensor;
  }

  static void fill(Draw& draw, double bound, Tensor& tensor) {
    for (int64_t r = 0; r < tensor.rows(); ++r) {
      for (int64_t b = 0; b < tensor.blocks(); ++b) {
        for (int64_t c = 0; c < tensor.columns(); ++c) tensor.set(r, b, c, draw.uniform(bound));
      }
    }
  }
};

}  // namespace test
}  // namespace srn
