// Random cases of the kernels against plain loops in double, without ONNX Runtime: a program that
// runs on its own, so under an emulator too. Prints the path; ends with 1 where a case is wrong.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "sparse_conv.h"
#include "window_ops.h"

namespace wfpipe {
namespace {

class Loop : public Parallel {
 public:
  void each(size_t items, void (*work)(void*, size_t), void* user) const override {
    for (size_t i = 0; i < items; ++i) work(user, i);
  }
};

class Random {  // Marsaglia's xorshift
 public:
  uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    state_ ^= state_ << 5;
    return state_;
  }
  int64_t between(int64_t low, int64_t high) { return low + next() % (high - low + 1); }
  float number() { return static_cast<float>(next() >> 8) / (1 << 23) - 1; }

 private:
  uint32_t state_ = 2463534242u;
};

struct Case {
  WindowSpec spec;
  Window window;
  int64_t images, in, out, group;
  std::vector<float> weights;  // [out, in / group, taps], dense
  std::vector<float> bias, x, residual;
  bool rectified;
};

Case make_case(Random& random) {
  Case c;
  const size_t rank = static_cast<size_t>(random.between(1, 2));
  for (size_t i = 0; i < rank; ++i) {
    c.spec.kernel.push_back(random.between(1, 4));
    c.spec.strides.push_back(random.between(1, 3));
    c.spec.dilations.push_back(random.between(1, 2));
    c.spec.input.push_back(random.between(7, 24));
  }
  for (size_t i = 0; i < 2 * rank; ++i) c.spec.pads.push_back(random.between(0, 3));
  c.window = window(c.spec);
  c.images = random.between(1, 2);
  c.group = random.between(1, 3);
  c.in = c.group * random.between(1, 12);
  c.out = c.group * random.between(1, 40);
  c.rectified = random.between(0, 1);
  const int64_t density = random.between(0, 60);
  const auto fill = [&](std::vector<float>& to, int64_t count, int64_t percent) {
    for (int64_t i = 0; i < count; ++i) {
      to.push_back(random.between(1, 100) <= percent ? random.number() : 0.0f);
    }
  };
  fill(c.weights, c.out * c.in / c.group * c.window.taps(), density);
  fill(c.bias, c.out, 100);
  fill(c.x, c.images * c.in * c.window.inputs(), 100);
  fill(c.residual, c.images * c.out * c.window.outputs(), 100);
  return c;
}

std::vector<float> to_tiles(const std::vector<float>& x, int64_t rows, const Tiling& to,
                            int64_t images) {
  const int64_t channels = rows / images;
  std::vector<float> y(static_cast<size_t>(rows * to.tiles * to.floats));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t p = 0; p < to.positions; ++p) {
      const int64_t tile = r / channels * to.tiles + p / to.floats;
      y[static_cast<size_t>((tile * channels + r % channels) * to.floats + p % to.floats)] =
          x[static_cast<size_t>(r * to.positions + p)];
    }
  }
  return y;
}

// What the window sees of channel `c` of all images at an output position, each with a weight.
double window_sum(const Case& c, const float* weights, int64_t channel, int64_t position) {
  const Axis &y = c.window.y, &x = c.window.x;
  double sum = 0;
  for (int64_t t = 0; t < c.window.taps(); ++t) {
    const int64_t row = position / x.output * y.stride + t / x.kernel * y.dilation - y.begin;
    const int64_t column = position % x.output * x.stride + t % x.kernel * x.dilation - x.begin;
    if (row < 0 || row >= y.input || column < 0 || column >= x.input) continue;
    sum += static_cast<double>(weights[t]) *
           c.x[static_cast<size_t>(channel * c.window.inputs() + row * x.input + column)];
  }
  return sum;
}

double finished(const Case& c, double sum, int64_t at) {
  sum += c.residual[static_cast<size_t>(at)];
  return c.rectified && sum < 0 ? 0 : sum;
}

// The largest difference of tiles from what they should hold, relative to the largest sum.
template <class Wanted>
double difference(const std::vector<float>& tiles, const Tiling& of, int64_t images,
                  int64_t channels, const Wanted& wanted) {
  double worst = 0, largest = 1e-30;
  for (int64_t r = 0; r < images * channels; ++r) {
    for (int64_t p = 0; p < of.positions; ++p) {
      const int64_t tile = r / channels * of.tiles + p / of.floats;
      const double got = tiles[static_cast<size_t>(
          (tile * channels + r % channels) * of.floats + p % of.floats)];
      const double should = wanted(r / channels, r % channels, p);
      worst = std::fmax(worst, std::isfinite(got) ? std::fabs(got - should) : INFINITY);
      largest = std::fmax(largest, std::fabs(should));
    }
  }
  return worst / largest;
}

SparseMatrix matrix_of(const Case& c) {
  SparseMatrix m;
  m.row_count = c.out, m.column_count = c.in / c.group * c.window.taps();
  m.first.push_back(0);
  for (int64_t i = 0; i < c.out * m.column_count; ++i) {
    if (c.weights[static_cast<size_t>(i)] != 0) {
      m.columns.push_back(static_cast<int32_t>(i % m.column_count));
      m.values.push_back(c.weights[static_cast<size_t>(i)]);
    }
    if ((i + 1) % m.column_count == 0) m.first.push_back(static_cast<int64_t>(m.values.size()));
  }
  return m;
}

Activation activation_of(const Case& c) {
  if (!c.rectified) return {};
  return {Act::clamp, 0, INFINITY};
}

double sparse_difference(const Case& c) {
  ConvSpec spec;
  spec.window = c.window, spec.in_channels = c.in, spec.out_channels = c.out;
  spec.group = c.group, spec.activation = activation_of(c);
  const SparseConv conv(spec, matrix_of(c), c.bias);
  const Tiling in = tiling(c.window.inputs());
  const Tiling out = conv.tiles(in.tiles, c.in, in.floats);
  const std::vector<float> x = to_tiles(c.x, c.images * c.in, in, c.images);
  const std::vector<float> residual = to_tiles(c.residual, c.images * c.out, out, c.images);
  std::vector<float> y(residual.size());
  conv.run(x.data(), residual.data(), y.data(), c.images, out, Loop());
  const int64_t each = c.in / c.group, taps = c.window.taps();
  return difference(y, out, c.images, c.out, [&](int64_t n, int64_t m, int64_t p) {
    double sum = c.bias[static_cast<size_t>(m)];
    for (int64_t k = 0; k < each; ++k) {
      const int64_t channel = n * c.in + m / (c.out / c.group) * each + k;
      sum += window_sum(c, c.weights.data() + (m * each + k) * taps, channel, p);
    }
    return finished(c, sum, (n * c.out + m) * c.window.outputs() + p);
  });
}

double depthwise_difference(Case& c, Random& random) {
  FoldSpec spec;
  spec.window = c.window, spec.channels = c.in, spec.activation = activation_of(c);
  std::vector<float> weights, bias;
  for (int64_t i = 0; i < c.in * c.window.taps(); ++i) weights.push_back(random.number());
  for (int64_t i = 0; i < c.in; ++i) bias.push_back(random.number());
  c.residual.assign(static_cast<size_t>(c.images * c.in * c.window.outputs()), 0.25f);
  const WindowFold fold(spec, weights, bias);
  const std::vector<float> x = to_tiles(c.x, c.images * c.in, fold.in(), c.images);
  const std::vector<float> residual =
      to_tiles(c.residual, c.images * c.in, fold.out(), c.images);
  std::vector<float> y(residual.size());
  fold.run(x.data(), residual.data(), y.data(), c.images, c.in, Loop());
  return difference(y, fold.out(), c.images, c.in, [&](int64_t n, int64_t m, int64_t p) {
    const double sum = bias[static_cast<size_t>(m)] +
                       window_sum(c, weights.data() + m * c.window.taps(), n * c.in + m, p);
    return finished(c, sum, (n * c.in + m) * c.window.outputs() + p);
  });
}

int test(int count) {
  Random random;
  double worst = 0;
  for (int i = 0; i < count; ++i) {
    Case c = make_case(random);
    const double sparse = sparse_difference(c), depthwise = depthwise_difference(c, random);
    worst = std::fmax(worst, std::fmax(sparse, depthwise));
    if (!(sparse < 1e-5 && depthwise < 1e-5)) {
      std::printf("case %d: sparse %g, depthwise %g\n", i, sparse, depthwise);
      return 1;
    }
  }
  std::printf("%s: %d cases, largest difference %.2g\n", path().name, count, worst);
  return 0;
}

}  // namespace
}  // namespace wfpipe

int main(int argc, char** argv) { return wfpipe::test(argc > 1 ? std::atoi(argv[1]) : 300); }
