// Runs the body of the persistent GPU kernels on the host, each block as a few threads, with shapes and plans drawn at
// random, and compares every result with plain loops in double.
//
//   srn_persistent_test [SHAPES [FIRST]]   the shapes numbered FIRST to FIRST + SHAPES - 1; 216 and 0 by default
//
// This proves the partition, the layout of shared memory, the mailbox's protocol, lengths and states. It cannot prove
// the device's part: how a warp holds a tile, and the hardware's barriers. With -DSRN_SANITIZE=thread it also proves
// that two threads share nothing without a barrier or a word between them.
//
// Every buffer, including shared memory and mailbox, has exactly its stated size, and is NaN beforehand. Each call is
// made with one, two and three threads a block, and with more and fewer teams: all must agree bit for bit.
#include <array>
#include <cfloat>
#include <cstdlib>
#include <memory>
#include <thread>
#include <utility>

#include "tests/host_launch.h"
#include "tests/reference.h"

namespace srn {
namespace test {
namespace {

using namespace srn::SRN_ISA::persistent;
using srn::persistent::extra_tiles;
using srn::persistent::Sizes;

// How far a result may be from the exact one, besides the rounding of what is stored: in roundings of what is
// multiplied, relative to the largest number of its kind.
constexpr double kRoundings = 4;  // measured: 1.7

// Half a unit; TF32 has float16's.
double roundoff(DType dtype) { return dtype == DType::kBFloat16 ? 0x1p-9 : 0x1p-12; }
double stored_roundoff(DType dtype) { return dtype == DType::kFloat32 ? FLT_EPSILON / 2 : roundoff(dtype); }

// The parts of a plan that do not change a result's bits.
struct Way {
  Exchange exchange;
  int threads, teams;
};

struct ForwardResults {
  Tensor output, h_n, c_n, memories, gates, cells;
  std::vector<std::pair<const char*, const Tensor*>> all() const {
    return {{"output", &output},     {"h_n", &h_n},     {"c_n", &c_n},
            {"memories", &memories}, {"gates", &gates}, {"cells", &cells}};
  }
};

struct BackwardResults {
  Tensor dz, dc, s, grad_h0, grad_c0;
  std::vector<std::pair<const char*, const Tensor*>> all() const {
    return {{"dz", &dz}, {"dc", &dc}, {"s", &s}, {"grad_h0", &grad_h0}, {"grad_c0", &grad_c0}};
  }
};

class PersistentTest {
 public:
  void test(uint64_t number) {
    number_ = number, failed_ = false;
    Draw draw(number + 1000000007);
    cases_.clear();
    cases_.emplace_back(number, false);
    if (draw.one_in(2)) cases_.emplace_back(number, true);
    const Shape& shape = cases_[0].shape;
    sizes_ = {shape.dtype, shape.tasks, int(cases_.size()), int(shape.steps), int(shape.batch), int(shape.hidden)};
    ragged_ = shape.rows != shape.steps * shape.batch || draw.one_in(2);
    offsets_ = Memory((size_t(shape.steps) + 1) * sizeof(int32_t), cases_[0].guard);
    int32_t* offsets = reinterpret_cast<int32_t*>(offsets_.get());
    for (int64_t t = 0; t < shape.steps; ++t) offsets[t] = int32_t(cases_[0].offsets[size_t(t)]);
    offsets[shape.steps] = int32_t(shape.rows);

    const bool wide = draw.one_in(2);
    units_ = int(draw.between(ceil_div(sizes_.hidden, 6), sizes_.hidden));  // at most 6 members
    split_bits_ = int(draw.between(0, kMostSplitBits));
    if (shape.dtype == DType::kBFloat16) {
      with_tasks<BFloat16>(wide);
    } else if (shape.dtype == DType::kFloat16) {
      with_tasks<Float16>(wide);
    } else {
      with_tasks<TensorFloat32>(wide);
    }
    ++shapes_, failures_ += failed_;
  }

  int failures() const { return failures_; }

  void summary() const {
    printf("persistent kernels on the host: %d shapes, %d failures; largest error %.2f of %g roundings\n", shapes_,
           failures_, worst_, kRoundings);
    printf(
        "%d launches with several members, %d with tiles in shared memory, %d with several groups a team, %d in "
        "clusters\n",
        shared_, extra_, queued_, clusters_);
  }

 private:
  template <typename Element>
  void with_tasks(bool wide) {
    if (sizes_.tasks == 2) {
      run<Element, 8, 2>();
    } else {
      wide ? run<Element, 16, 3>() : run<Element, 8, 3>();
    }
  }

  template <typename Element, int kRows, int N>
  void run() {
    run<Element, kRows, N>(Exchange::kMailbox);
    if constexpr (srn::persistent::has_kernel(Exchange::kCluster, kRows, N)) run<Element, kRows, N>(Exchange::kCluster);
  }

  template <typename Element, int kRows, int N>
  void run(Exchange exchange) {
    const int groups = ceil_div(sizes_.batch, kRows);
    const Way first = {exchange, 1, groups};
    const Way more[] = {{exchange, 2, groups}, {exchange, 3, 1}, {exchange, 1, std::max(1, groups / 2)}};
    const auto saved = forward<Element, kRows, N>(first, true);
    for (const Way& way : more) compare_bits(saved, forward<Element, kRows, N>(way, true), way);
    compare_bits(saved, forward<Element, kRows, N>(first, false), first);
    const auto gradients = backward<Element, kRows, N>(first, saved);
    for (const Way& way : more) compare_bits(gradients, backward<Element, kRows, N>(way, saved), way);

    for (size_t d = 0; d < cases_.size(); ++d) {
      const Case& call = cases_[d];
      const ForwardReference expected(call, &z_[d]);
      const Numbers* numbers[] = {&expected.output,   &expected.h_n,   &expected.c_n,
                                  &expected.memories, &expected.gates, &expected.cells};
      size_t i = 0;
      for (const auto& [name, tensor] : saved[d].all()) compare(name, *tensor, *numbers[i++]);

      const int64_t columns = call.gates * call.shape.hidden;
      const BackwardReference back(call, saved[d].gates.numbers(call.shape.rows, columns), saved[d].cells);
      const Numbers* more_numbers[] = {&back.dz, &back.dc, &back.s, &back.grad_h0, &back.grad_c0};
      i = 0;
      for (const auto& [name, tensor] : gradients[d].all()) compare(name, *tensor, *more_numbers[i++]);
    }
  }

  template <typename Element, int kRows, int N>
  std::vector<ForwardResults> forward(const Way& way, bool keep) {
    srn::persistent::ForwardCall call = {};
    std::vector<ForwardResults> results(cases_.size());
    z_.resize(cases_.size());
    for (size_t d = 0; d < cases_.size(); ++d) {
      const Case& one = cases_[d];
      const Shape& shape = one.shape;
      ForwardResults& out = results[d];
      z_[d] = Tensor(shape.dtype, one.guard, shape.rows, one.gates * shape.hidden);
      const Numbers product = ForwardReference::product(one);
      for (int64_t i = 0; i < int64_t(product.size()); ++i) {
        z_[d].set(i / z_[d].columns(), 0, i % z_[d].columns(), product[size_t(i)]);
      }
      Draw strides(~number_);
      out.output = one.rows_like(strides, shape.hidden);
      out.h_n = Tensor(shape.dtype, one.guard, shape.batch, shape.hidden);
      out.c_n = Tensor(shape.dtype, one.guard, shape.batch, shape.hidden);
      if (keep) {
        out.memories = one.memories_like(strides);
        out.gates = Tensor(shape.dtype, one.guard, shape.rows, one.gates * shape.hidden);
        out.cells = Tensor(shape.dtype, one.guard, shape.rows, shape.hidden);
      }
      call.direction[d] = {{one.pointers(), one.h0.data(), one.c0.data(), out.output.data(), out.output.row_stride(),
                            out.h_n.data(), out.c_n.data(), out.memories.data(), out.memories.row_stride(),
                            out.memories.block_stride(), out.gates.data(), out.cells.data(), one.cell_clip},
                           shape.reverse,
                           z_[d].data()};
    }
    launch<Element, kRows, N>(Pass::kForward, call, way, forward_on_host<Element, kRows, N>);
    return results;
  }

  template <typename Element, int kRows, int N>
  std::vector<BackwardResults> backward(const Way& way, const std::vector<ForwardResults>& saved) {
    srn::persistent::BackwardCall call = {};
    std::vector<BackwardResults> results(cases_.size());
    for (size_t d = 0; d < cases_.size(); ++d) {
      const Case& one = cases_[d];
      const Shape& shape = one.shape;
      BackwardResults& out = results[d];
      out.dz = Tensor(shape.dtype, one.guard, shape.rows, one.gates * shape.hidden);
      out.dc = Tensor(shape.dtype, one.guard, shape.rows, shape.hidden);
      out.s = Tensor(shape.dtype, one.guard, shape.rows, one.memories * shape.hidden);
      out.grad_h0 = Tensor(shape.dtype, one.guard, shape.batch, shape.hidden);
      out.grad_c0 = Tensor(shape.dtype, one.guard, shape.batch, shape.hidden);
      call.direction[d] = {
          {one.pointers(), one.c0.data(), saved[d].gates.data(), saved[d].cells.data(), one.grad_output.data(),
           one.grad_output.row_stride(), one.grad_h_n.data(), one.grad_c_n.data(), one.grad_memories.data(),
           one.grad_memories.row_stride(), one.grad_memories.block_stride(), out.dz.data(), out.dc.data(), out.s.data(),
           out.grad_h0.data(), out.grad_c0.data(), one.cell_clip},
          shape.reverse};
    }
    launch<Element, kRows, N>(Pass::kBackward, call, way, backward_on_host<Element, kRows, N>);
    return results;
  }

  // Completes the call; f(plan, call) runs it.
  template <typename Element, int kRows, int N, typename Call, typename F>
  void launch(Pass pass, Call& call, const Way& way, const F& f) {
    const bool cluster = way.exchange == Exchange::kCluster;
    const int step = cluster ? srn::persistent::kMessageUnits : 1;
    Plan plan = plan_of<Element, kRows, N>(pass, sizes_, way.exchange, ceil_div(units_, step) * step, split_bits_);
    clusters_ += cluster;
    plan.teams = std::min(way.teams, plan.row_groups);
    shared_ += plan.members > 1, extra_ += extra_tiles(plan.gathered) + extra_tiles(plan.owned) > 0,
        queued_ += plan.teams < plan.row_groups;
    const Memory mailbox(size_t(plan.mailbox_words(sizes_.directions)) * sizeof(uint32_t), cases_[0].guard, 16);
    call.sizes = sizes_;
    call.offsets = ragged_ ? reinterpret_cast<const int32_t*>(offsets_.get()) : nullptr;
    call.mailbox = reinterpret_cast<uint32_t*>(mailbox.get());
    f(plan, call, way.threads, cases_[0].guard);
  }

  void compare(const char* name, const Tensor& result, const Numbers& expected) {
    const int64_t count = result.rows() * result.blocks() * result.columns();
    if (count != int64_t(expected.size())) return fail(std::string(name) + " has the wrong size");
    if (result.written() != count) fail(std::string(name) + " is written in part, or between its rows");
    double largest = 1;
    for (double number : expected) largest = std::max(largest, std::fabs(number));
    const DType dtype = sizes_.dtype;
    const Numbers numbers = result.numbers(result.rows(), count / result.rows());
    for (size_t i = 0; i < numbers.size(); ++i) {
      const double error = std::fabs(numbers[i] - expected[i]) - stored_roundoff(dtype) * std::fabs(expected[i]);
      const double roundings = error / (roundoff(dtype) * largest);
      if (!(roundings <= kRoundings)) {
        char text[160];
        snprintf(text, sizeof(text), "%s, element %d: %.9g, should be %.9g", name, int(i), numbers[i], expected[i]);
        return fail(text);
      }
      worst_ = std::max(worst_, roundings);
    }
  }

  template <typename Results>
  void compare_bits(const std::vector<Results>& first, const std::vector<Results>& again, const Way& way) {
    for (size_t d = 0; d < first.size(); ++d) {
      const auto one = first[d].all(), other = again[d].all();
      for (size_t i = 0; i < one.size(); ++i) {
        if (other[i].second->null() || other[i].second->same_bits(*one[i].second)) continue;
        fail(std::string(one[i].first) + " is not what it was before, now with " + std::to_string(way.threads) +
             " threads a block and " + std::to_string(way.teams) + " teams");
      }
    }
  }

  // Tells the first failure of a shape; later ones say little more.
  void fail(const std::string& what) {
    constexpr int kMostTold = 20;
    if (!failed_ && failures_ < kMostTold) {
      printf("shape %llu, %s, %d directions, %d units a member, %d parts: %s\n",
             static_cast<unsigned long long>(number_), cases_[0].text().c_str(), sizes_.directions, units_,
             1 << split_bits_, what.c_str());
    }
    failed_ = true;
  }

  std::vector<Case> cases_;
  std::vector<Tensor> z_;
  Memory offsets_;
  Sizes sizes_ = {};
  bool ragged_ = false, failed_ = false;
  int units_ = 0, split_bits_ = 0;
  uint64_t number_ = 0;
  int shapes_ = 0, failures_ = 0, shared_ = 0, extra_ = 0, queued_ = 0, clusters_ = 0;
  double worst_ = 0;
};

// Conversions of element.h against the definitions of the formats. Returns how many are wrong.
int test_elements() {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 1 << 16; ++bits) {
    const uint16_t half_bits = uint16_t(bits);
    const float value = Float16::load(half_bits);
    const double exact = half(half_bits);
    wrong += std::isnan(exact) ? !std::isnan(value) : double(value) != exact || Float16::store(value) != half_bits;
    const float brain = BFloat16::load(half_bits);
    wrong +=
        std::isnan(brain) ? !std::isnan(BFloat16::load(BFloat16::store(brain))) : BFloat16::store(brain) != half_bits;
  }
  wrong += !std::isnan(Float16::load(Float16::store(NAN)));
  Draw draw(1);
  for (int i = 0; i < 1 << 20; ++i) {
    const float value = float(std::ldexp(draw.uniform(1), int(draw.between(-30, 20))));
    if (std::fabs(value) < 65520) wrong += Float16::store(value) != half_of(value);
    uint16_t brain;
    store(DType::kBFloat16, reinterpret_cast<unsigned char*>(&brain), value);
    wrong += BFloat16::store(value) != brain;
    // TF32: 11 bits with the leading one, ties away from zero.
    const int exponent = std::ilogb(value);
    const double tensor = std::ldexp(std::round(std::ldexp(double(value), 10 - exponent)), exponent - 10);
    wrong += value != 0 && double(TensorFloat32::multiplied(TensorFloat32::operand(value))) != tensor;
  }
  printf("elements: %d conversions wrong\n", wrong);
  return wrong;
}

// approximate.h with exact 2^x and 1 / x, and at the ends of its range. Returns how many values are wrong.
int test_approximate() {
  constexpr double kBound = 0x1p-17;
  int wrong = 0;
  double worst = 0;
  const auto check = [&](double value, double exact) {
    const double error = value == exact ? 0 : std::fabs(value - exact) / std::fabs(exact);
    worst = std::max(worst, error), wrong += !(error <= kBound);
  };
  Draw draw(2);
  for (int i = 0; i < 1 << 20; ++i) {
    const float x = float(std::ldexp(draw.uniform(1), int(draw.between(-30, 6))));
    check(Approximate::tanh(x), std::tanh(double(x)));
    check(Approximate::sigmoid(x), 1 / (1 + std::exp(-double(x))));
  }
  for (const float sign : {-1.0f, 1.0f}) {
    for (const float x : {1e4f, FLT_MAX, INFINITY}) {
      wrong += Approximate::tanh(sign * x) != sign || Approximate::sigmoid(sign * x) != (sign > 0 ? 1 : 0);
    }
    wrong += std::signbit(Approximate::tanh(sign * 0.0f)) != std::signbit(sign) || Approximate::tanh(0) != 0;
    wrong += Approximate::sigmoid(sign * 0.0f) != 0.5f;
  }
  wrong += !std::isnan(Approximate::tanh(NAN)) || !std::isnan(Approximate::sigmoid(NAN));
  printf("functions: %d values wrong; largest error 2^%.1f of 2^%.0f\n", wrong, std::log2(worst), std::log2(kBound));
  return wrong;
}

int run(uint64_t count, uint64_t first) {
  if (test_elements() + test_approximate() != 0) return EXIT_FAILURE;
  PersistentTest test;
  for (uint64_t number = first; number < first + count; ++number) test.test(number);
  test.summary();
  return test.failures() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace test
}  // namespace srn

int main(int argc, char** argv) {
  return srn::test::run(argc > 1 ? strtoull(argv[1], nullptr, 10) : 216, argc > 2 ? strtoull(argv[2], nullptr, 10) : 0);
}
