// The recurrence in double, one line per equation and one loop per index: what the kernels' results are compared with.
//
// Sums are long double, as one of hundreds of doubles has a larger error than the kernels' sums of short sums.
// Equation numbers are the paper's. Nothing is shared with the kernels but the numbers that go in.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/case.h"

namespace srn {
namespace test {

using Numbers = std::vector<double>;
using Tasks = std::vector<int>;
using Sum = long double;

inline double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// The tasks behind each memory: by number of tasks, then lexicographically.
inline std::vector<Tasks> subsets(int tasks) {
  std::vector<Tasks> all;
  for (int mask = 1; mask < 1 << tasks; ++mask) {
    Tasks subset;
    for (int task = 0; task < tasks; ++task) {
      if (mask >> task & 1) subset.push_back(task);
    }
    all.push_back(subset);
  }
  std::sort(all.begin(), all.end(),
            [](const Tasks& a, const Tasks& b) { return a.size() != b.size() ? a.size() < b.size() : a < b; });
  return all;
}

// Eq. 4, 5: a memory's gate from the master gates; `slope_in`: its derivative by that master gate instead.
inline double memory_gate(const Tasks& subset, const Numbers& master, int slope_in = -1) {
  double product = 1;
  for (int task = 0; task < int(master.size()); ++task) {
    const bool member = std::find(subset.begin(), subset.end(), task) != subset.end();
    if (member) {
      product *= task == slope_in ? 1 : master[size_t(task)];
    } else if (subset.size() == 1) {
      product *= task == slope_in ? -1 : 1 - master[size_t(task)];
    } else if (task == slope_in) {
      product = 0;  // a gate of several tasks does not depend on the others
    }
  }
  return product;
}

// A matrix in double; zeros where the call has null.
class Matrix {
 public:
  Matrix(const Tensor& tensor, int64_t rows, int64_t columns) : Matrix(tensor.numbers(rows, columns), columns) {}
  Matrix(Numbers numbers, int64_t columns) : numbers_(std::move(numbers)), columns_(columns) {}
  double operator()(int64_t row, int64_t column) const { return numbers_[size_t(row * columns_ + column)]; }
  Numbers row(int64_t row) const {
    return Numbers(numbers_.begin() + row * columns_, numbers_.begin() + (row + 1) * columns_);
  }

 private:
  Numbers numbers_;
  int64_t columns_;
};

class ForwardReference {
 public:
  Numbers output, h_n, c_n, memories, gates, cells;

  // `z`: the input's product (S, G*H), as the GPU kernels are given it; computed if null.
  explicit ForwardReference(const Case& call, const Tensor* z = nullptr)
      : N(call.shape.tasks),
        H(call.shape.hidden),
        P(call.shape.state),
        G(call.gates),
        M(call.memories),
        projection(call.shape.projection),
        clip(call.cell_clip),
        subset(subsets(N)),
        hh(call.hh, G * H, P),
        b_hh(call.b_hh, 1, G * H),
        mc(call.mc, H, M * H),
        b_mc(call.b_mc, 1, H),
        hr(call.hr, P, H),
        input_product(z == nullptr ? product(call) : z->numbers(call.shape.rows, G * H), G * H) {
    const Shape& shape = call.shape;
    const Matrix h0(call.h0, shape.batch, P), c0(call.c0, shape.batch, H);
    output.resize(size_t(shape.rows * P)), cells.resize(size_t(shape.rows * H));
    memories.resize(size_t(shape.rows * M * H)), gates.resize(size_t(shape.rows * G * H));
    for (int64_t b = 0; b < shape.batch; ++b) {
      Numbers h = h0.row(b), c = c0.row(b);
      for (int64_t i = 0; i < shape.steps; ++i) {
        const int64_t t = shape.reverse ? shape.steps - 1 - i : i;
        if (b < shape.batch_sizes[t]) step(call.offsets[size_t(t)] + b, h, c);
      }
      h_n.insert(h_n.end(), h.begin(), h.end());
      c_n.insert(c_n.end(), c.begin(), c.end());
    }
  }

  // x W_ih^T + b_ih of every row.
  static Numbers product(const Case& call) {
    const int64_t D = call.shape.input, columns = call.gates * call.shape.hidden;
    const Matrix ih(call.ih, columns, D), b_ih(call.b_ih, 1, columns), input(call.input, call.shape.rows, D);
    Numbers all;
    for (int64_t row = 0; row < call.shape.rows; ++row) {
      for (int64_t j = 0; j < columns; ++j) {
        Sum z = b_ih(0, j);
        for (int64_t d = 0; d < D; ++d) z += Sum(ih(j, d)) * input(row, d);
        all.push_back(double(z));
      }
    }
    return all;
  }

 private:
  void step(int64_t row, Numbers& h, Numbers& c) {
    double* const gate = gates.data() + row * G * H;
    for (int64_t j = 0; j < G * H; ++j) {
      Sum z = input_product(row, j) + Sum(b_hh(0, j));
      for (int64_t p = 0; p < P; ++p) z += Sum(hh(j, p)) * h[size_t(p)];
      gate[j] = j / H == 2 ? std::tanh(double(z)) : logistic(double(z));  // Eq. 1, 3
    }
    Numbers s(size_t(M * H));
    for (int64_t u = 0; u < H; ++u) {
      Numbers on_candidate, on_history;
      for (int i = 0; i < N; ++i) on_candidate.push_back(gate[(3 + i) * H + u]);
      for (int i = 0; i < N; ++i) on_history.push_back(gate[(3 + N + i) * H + u]);
      const double candidate = gate[2 * H + u], history = gate[u] * c[size_t(u)];  // Eq. 2
      for (int64_t m = 0; m < M; ++m) {
        const Tasks& tasks = subset[size_t(m)];
        const double sum = memory_gate(tasks, on_history) * history + memory_gate(tasks, on_candidate) * candidate;
        s[size_t(m * H + u)] = sum;                                // Eq. 6, 7
        memories[size_t((row * M + m) * H + u)] = std::tanh(sum);  // Eq. 10
      }
    }
    Numbers hidden;
    for (int64_t u = 0; u < H; ++u) {
      Sum sum = b_mc(0, u);
      for (int64_t j = 0; j < M * H; ++j) sum += Sum(mc(u, j)) * s[size_t(j)];
      const double state = std::isnan(clip) ? double(sum) : std::max(-clip, std::min(clip, double(sum)));
      c[size_t(u)] = cells[size_t(row * H + u)] = state;  // Eq. 8
      hidden.push_back(gate[H + u] * std::tanh(state));   // Eq. 9
    }
    for (int64_t p = 0; p < P; ++p) {
      Sum sum = projection ? 0 : hidden[size_t(p)];
      for (int64_t u = 0; projection && u < H; ++u) sum += Sum(hr(p, u)) * hidden[size_t(u)];
      h[size_t(p)] = output[size_t(row * P + p)] = double(sum);
    }
  }

  int N;
  int64_t H, P, G, M;
  bool projection;
  double clip;
  std::vector<Tasks> subset;
  Matrix hh, b_hh, mc, b_mc, hr, input_product;
};

// Where a gate of one hidden unit is kept for the backward pass: see srn.h.
inline size_t kept_gate(const Case& call, size_t step, int64_t row, int64_t gate, int64_t unit) {
  constexpr int64_t kUnitGroup = 8;
  const int64_t hidden = call.shape.hidden, rows = call.shape.batch_sizes[step];
  const int64_t first = unit / kUnitGroup * kUnitGroup, units = std::min(kUnitGroup, hidden - first);
  return size_t(call.offsets[step] * call.gates * hidden + first * call.gates * rows + (gate * rows + row) * units +
                unit - first);
}

// From rows of gates (S, G*H) to the order in which they are kept, or back.
inline Numbers kept_gates(const Case& call, const Numbers& gates, bool back = false) {
  Numbers result(gates.size());
  for (size_t t = 0; t < call.offsets.size(); ++t) {
    for (int64_t row = 0; row < call.shape.batch_sizes[t]; ++row) {
      for (int64_t j = 0; j < call.gates * call.shape.hidden; ++j) {
        const size_t at = size_t((call.offsets[t] + row) * call.gates * call.shape.hidden + j);
        const size_t kept = kept_gate(call, t, row, j / call.shape.hidden, j % call.shape.hidden);
        result[back ? at : kept] = gates[back ? kept : at];
      }
    }
  }
  return result;
}

// From the gates (S, G*H), in rows, and the cells (S, H) that the kernels saved, as the kernels do.
class BackwardReference {
 public:
  Numbers dz, dc, s, dh, m, grad_h0, grad_c0;

  BackwardReference(const Case& call, const Numbers& saved_gates, const Tensor& saved_cells)
      : N(call.shape.tasks),
        H(call.shape.hidden),
        P(call.shape.state),
        G(call.gates),
        M(call.memories),
        projection(call.shape.projection),
        clip(call.cell_clip),
        subset(subsets(N)),
        hh(call.hh, G * H, P),
        mc(call.mc, H, M * H),
        hr(call.hr, P, H),
        gates(saved_gates, G * H),
        cells(saved_cells, call.shape.rows, H),
        grad_output(call.grad_output, call.shape.rows, P),
        grad_memories(call.grad_memories, call.shape.rows, M * H) {
    const Shape& shape = call.shape;
    const Matrix c0(call.c0, shape.batch, H);
    const Matrix grad_h_n(call.grad_h_n, shape.batch, P), grad_c_n(call.grad_c_n, shape.batch, H);
    dz.resize(size_t(shape.rows * G * H)), dc.resize(size_t(shape.rows * H));
    s.resize(size_t(shape.rows * M * H)), dh.resize(size_t(projection ? shape.rows * P : 0));
    m.resize(size_t(projection ? shape.rows * H : 0));
    for (int64_t b = 0; b < shape.batch; ++b) {
      Numbers d_h = grad_h_n.row(b), d_c = grad_c_n.row(b);  // of the state after the step at hand
      for (int64_t i = shape.steps - 1; i >= 0; --i) {
        const int64_t t = shape.reverse ? shape.steps - 1 - i : i, before = shape.reverse ? t + 1 : t - 1;
        if (b >= shape.batch_sizes[t]) continue;
        const bool first = before < 0 || before == shape.steps || b >= shape.batch_sizes[before];
        const Numbers c_prev = first ? c0.row(b) : cells.row(call.offsets[size_t(before)] + b);
        step(call.offsets[size_t(t)] + b, c_prev, d_h, d_c);
      }
      grad_h0.insert(grad_h0.end(), d_h.begin(), d_h.end());
      grad_c0.insert(grad_c0.end(), d_c.begin(), d_c.end());
    }
  }

 private:
  void step(int64_t row, const Numbers& c_prev, Numbers& d_h, Numbers& d_c) {
    for (int64_t p = 0; p < P; ++p) {
      d_h[size_t(p)] += grad_output(row, p);
      if (projection) dh[size_t(row * P + p)] = d_h[size_t(p)];
    }
    Numbers d_hidden;
    for (int64_t u = 0; u < H; ++u) {
      Sum sum = projection ? 0 : d_h[size_t(u)];
      for (int64_t p = 0; projection && p < P; ++p) sum += Sum(d_h[size_t(p)]) * hr(p, u);
      d_hidden.push_back(double(sum));
      const double t = std::tanh(cells(row, u));
      if (projection) m[size_t(row * H + u)] = gates(row, H + u) * t;       // Eq. 9
      d_c[size_t(u)] += d_hidden.back() * gates(row, H + u) * (1 - t * t);  // Eq. 9
      if (std::fabs(cells(row, u)) >= clip) d_c[size_t(u)] = 0;
      dc[size_t(row * H + u)] = d_c[size_t(u)];
    }
    Numbers d_c_prev;
    for (int64_t u = 0; u < H; ++u) d_c_prev.push_back(unit(row, u, c_prev[size_t(u)], d_hidden[size_t(u)], d_c));
    d_c = d_c_prev;
    for (int64_t p = 0; p < P; ++p) {
      Sum sum = 0;
      for (int64_t j = 0; j < G * H; ++j) sum += Sum(dz[size_t(row * G * H + j)]) * hh(j, p);
      d_h[size_t(p)] = double(sum);
    }
  }

  // One hidden unit, from the gradients of its output and of all cells to those of its gates; returns that of c_prev.
  double unit(int64_t row, int64_t u, double c_prev, double d_hidden, const Numbers& d_c) {
    const auto gate = [&](int64_t block) { return gates(row, block * H + u); };
    Numbers on_candidate, on_history, d_on_candidate(size_t(N), 0), d_on_history(size_t(N), 0);
    for (int i = 0; i < N; ++i) on_candidate.push_back(gate(3 + i));
    for (int i = 0; i < N; ++i) on_history.push_back(gate(3 + N + i));
    const double candidate = gate(2), history = gate(0) * c_prev;
    double d_candidate = 0, d_history = 0;
    for (int64_t m = 0; m < M; ++m) {
      const Tasks& tasks = subset[size_t(m)];
      const double a = memory_gate(tasks, on_candidate), b = memory_gate(tasks, on_history);
      const double memory = b * history + a * candidate, t = std::tanh(memory);
      s[size_t((row * M + m) * H + u)] = memory;
      Sum sum = grad_memories(row, m * H + u) * (1 - t * t);                          // Eq. 10
      for (int64_t v = 0; v < H; ++v) sum += Sum(d_c[size_t(v)]) * mc(v, m * H + u);  // Eq. 8
      const double d = double(sum);
      d_candidate += a * d, d_history += b * d;  // Eq. 6, 7
      for (int i = 0; i < N; ++i) {              // Eq. 4, 5
        d_on_candidate[size_t(i)] += memory_gate(tasks, on_candidate, i) * candidate * d;
        d_on_history[size_t(i)] += memory_gate(tasks, on_history, i) * history * d;
      }
    }
    double* const z = dz.data() + row * G * H + u;
    const auto through_logistic = [&](int64_t block, double d) { z[block * H] = d * gate(block) * (1 - gate(block)); };
    through_logistic(0, d_history * c_prev);
    through_logistic(1, d_hidden * std::tanh(cells(row, u)));
    z[2 * H] = d_candidate * (1 - candidate * candidate);
    for (int i = 0; i < N; ++i) through_logistic(3 + i, d_on_candidate[size_t(i)]);
    for (int i = 0; i < N; ++i) through_logistic(3 + N + i, d_on_history[size_t(i)]);
    return d_history * gate(0);
  }

  int N;
  int64_t H, P, G, M;
  bool projection;
  double clip;
  std::vector<Tasks> subset;
  Matrix hh, mc, hr, gates, cells, grad_output, grad_memories;
};

// The products over all rows, from what the recurrence leaves and the output (S, P) that the kernels computed.
class GradientReference {
 public:
  Numbers input, ih, hh, b, mc, b_mc, hr;

  GradientReference(const Case& call, const BackwardReference& rows, const Tensor& saved_output) {
    const Shape& shape = call.shape;
    const int64_t S = shape.rows, H = shape.hidden, P = shape.state, gates = call.gates * H,
                  memories = call.memories * H;
    const Matrix x(call.input, S, shape.input), h0(call.h0, shape.batch, P), output(saved_output, S, P);
    const Matrix weight(call.ih, gates, shape.input);
    Numbers before;  // the state that each row's step began with
    for (int64_t t = 0; t < shape.steps; ++t) {
      const int64_t other = shape.reverse ? t + 1 : t - 1;
      for (int64_t r = 0; r < shape.batch_sizes[t]; ++r) {
        const bool first = other < 0 || other == shape.steps || r >= shape.batch_sizes[other];
        const Numbers h = first ? h0.row(r) : output.row(call.offsets[size_t(other)] + r);
        before.insert(before.end(), h.begin(), h.end());
      }
    }
    input = product(S, shape.input, gates,
                    [&](int64_t r, int64_t d, int64_t j) { return rows.dz[size_t(r * gates + j)] * weight(j, d); });
    ih = product(gates, shape.input, S,
                 [&](int64_t j, int64_t d, int64_t r) { return rows.dz[size_t(r * gates + j)] * x(r, d); });
    hh = product(gates, P, S, [&](int64_t j, int64_t p, int64_t r) {
      return rows.dz[size_t(r * gates + j)] * before[size_t(r * P + p)];
    });
    mc = product(H, memories, S, [&](int64_t u, int64_t j, int64_t r) {
      return rows.dc[size_t(r * H + u)] * rows.s[size_t(r * memories + j)];
    });
    if (shape.projection) {
      hr = product(P, H, S, [&](int64_t p, int64_t u, int64_t r) {
        return rows.dh[size_t(r * P + p)] * rows.m[size_t(r * H + u)];
      });
    }
    b = product(1, gates, S, [&](int64_t, int64_t j, int64_t r) { return rows.dz[size_t(r * gates + j)]; });
    b_mc = product(1, H, S, [&](int64_t, int64_t u, int64_t r) { return rows.dc[size_t(r * H + u)]; });
  }

 private:
  template <typename F>
  static Numbers product(int64_t rows, int64_t columns, int64_t terms, const F& term) {
    Numbers result;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        Sum sum = 0;
        for (int64_t k = 0; k < terms; ++k) sum += Sum(term(i, j, k));
        result.push_back(double(sum));
      }
    }
    return result;
  }
};

}  // namespace test
}  // namespace srn
