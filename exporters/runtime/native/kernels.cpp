// Operators on tiles, from what their nodes say.
#include <cmath>
#include <limits>

#include "kernel.h"
#include "sparse_conv.h"
#include "window_ops.h"

namespace wfpipe {
namespace {

constexpr int64_t kMaxChannels = 1 << 24;
constexpr int64_t kMaxColumns = 1 << 24;  // of a weight

Window window_of(const Node& node) {
  return window({node.integers("kernel_shape"), node.integers("strides"), node.integers("pads"),
                 node.integers("dilations"), node.integers("input_size")});
}

Activation activation_of(const Node& node) {
  struct Name {
    const char* name;
    Act kind;
  };
  static const Name names[] = {
      {"none", Act::none},       {"relu", Act::clamp},    {"clip", Act::clamp},
      {"hardswish", Act::hardswish}, {"hardsigmoid", Act::hardsigmoid},
      {"sigmoid", Act::sigmoid}, {"silu", Act::silu},     {"leakyrelu", Act::leaky},
      {"gelu", Act::gelu}};
  const std::string word = node.word("activation", "none");
  const float most = std::numeric_limits<float>::max();
  for (const Name& each : names) {
    if (word != each.name) continue;
    if (word == "relu") return {each.kind, 0.0f, std::numeric_limits<float>::infinity()};
    const bool slope = each.kind == Act::leaky;
    const Activation result = {each.kind, node.number("low", slope ? 0.01f : -most),
                               node.number("high", most)};
    require(each.kind != Act::clamp || result.low <= result.high, "low must not be above high");
    return result;
  }
  throw Fault("activation is none that is known");
}

std::vector<float> bias_of(const Node& node, size_t input, int64_t channels) {
  const Tensor bias = node.constant(input);
  if (!bias.data) return {};
  require(bias.type == kFloat && bias.rank == 1 && bias.count == channels,
          "bias must be a float32 for each output channel");
  return {bias.floats(), bias.floats() + bias.count};
}

// The tensor that is added to the output, if the node has it; checks the bias is as it was.
const float* residual_of(const Context& context, size_t bias, bool has_bias, const int64_t* shape) {
  require(has_bias || !context.optional(bias, kFloat, "bias").data, "bias must be constant");
  const Tensor residual = context.optional(bias + 1, kFloat, "residual");
  if (!residual.data) return nullptr;
  bool same = residual.rank == 4;
  for (size_t i = 0; same && i < 4; ++i) same = residual.shape[i] == shape[i];
  require(same, "residual has another shape than the output");
  return residual.floats();
}

Tensor tiles_of(const Context& context) {
  const Tensor x = context.input(0, kFloat, "X");
  require(x.rank == 4, "X is not in tiles");
  return x;
}

int64_t channels_of(int64_t channels, const char* name) {
  require(channels >= 1 && channels <= kMaxChannels, std::string(name) + " is out of range");
  return channels;
}

class SparseConvKernel : public Kernel {
 public:
  SparseConvKernel(const ConvSpec& spec, const SparseMatrix& weights, std::vector<float> bias)
      : has_bias_(!bias.empty()), conv_(spec, weights, std::move(bias)) {}

  void run(const Context& context) const override {
    const Tensor x = tiles_of(context);
    const Tiling out = conv_.tiles(x.shape[1], x.shape[2], x.shape[3]);
    const int64_t shape[] = {x.shape[0], out.tiles, conv_.out_channels(), out.floats};
    const float* residual = residual_of(context, 4, has_bias_, shape);
    float* y = context.output(shape, 4);
    conv_.run(x.floats(), residual, y, x.shape[0], out, context);
  }

 private:
  bool has_bias_;
  SparseConv conv_;
};

class WindowKernel : public Kernel {
 public:
  WindowKernel(const FoldSpec& spec, std::vector<float> weights, std::vector<float> bias)
      : convolution_(!weights.empty()), has_bias_(!bias.empty()),
        fold_(spec, std::move(weights), std::move(bias)) {}

  void run(const Context& context) const override {
    const Tensor x = tiles_of(context);
    const Tiling &in = fold_.in(), &out = fold_.out();
    require(x.shape[1] == in.tiles && x.shape[3] == in.floats, "X has not the tiles of input_size");
    require(!convolution_ || x.shape[2] == fold_.channels(),
            "X has another number of channels than W");
    const int64_t shape[] = {x.shape[0], out.tiles, x.shape[2], out.floats};
    const float* residual = convolution_ ? residual_of(context, 2, has_bias_, shape) : nullptr;
    float* y = context.output(shape, 4);
    fold_.run(x.floats(), residual, y, x.shape[0], x.shape[2], context);
  }

 private:
  bool convolution_, has_bias_;
  WindowFold fold_;
};

class GlobalAverage : public Kernel {
 public:
  explicit GlobalAverage(const Node& node) {
    int64_t positions = 1;
    const std::vector<int64_t> size = node.integers("input_size");
    require(size.size() == 1 || size.size() == 2, "input_size must have one or two entries");
    for (int64_t extent : size) {
      require(extent >= 1 && extent <= (1 << 24), "input_size is out of range");
      positions *= extent;
    }
    require(positions <= kMaxPositions, "the image is larger than 2^26 positions");
    in_ = tiling(positions);
  }

  void run(const Context& context) const override {
    const Tensor x = tiles_of(context);
    require(x.shape[1] == in_.tiles && x.shape[3] == in_.floats,
            "X has not the tiles of input_size");
    const int64_t channels = x.shape[2];
    const int64_t shape[] = {x.shape[0], channels, 1, 1};
    float* y = context.output(shape, 4);
    const float* from = x.floats();
    constexpr int64_t kAtOnce = 64;
    const int64_t parts = (channels + kAtOnce - 1) / kAtOnce;
    context.over(static_cast<size_t>(x.shape[0] * parts), [&](size_t item) {
      const int64_t image = static_cast<int64_t>(item) / parts;
      const int64_t begin = static_cast<int64_t>(item) % parts * kAtOnce;
      for (int64_t c = begin; c < channels && c < begin + kAtOnce; ++c) {
        y[image * channels + c] = mean(from + (image * in_.tiles * channels + c) * in_.floats,
                                       channels * in_.floats);
      }
    });
  }

 private:
  float mean(const float* first, int64_t pitch) const {
    double sum = 0;
    for (int64_t tile = 0; tile < in_.tiles; ++tile, first += pitch) {
      const int64_t left = in_.positions - tile * in_.floats;
      sum += path().sum(first, left < in_.floats ? left : in_.floats);
    }
    return static_cast<float>(sum / static_cast<double>(in_.positions));
  }

  Tiling in_;
};

}  // namespace

std::unique_ptr<Kernel> make_sparse_conv(const Node& node) {
  ConvSpec spec;
  spec.window = window_of(node);
  spec.activation = activation_of(node);
  spec.in_channels = channels_of(node.integer("in_channels", 0), "in_channels");
  spec.group = node.integer("group", 1);
  const Tensor values = node.constant(1), gaps = node.constant(2), rows = node.constant(3);
  require(values.data && gaps.data && rows.data, "values, gaps and rows must be constant");
  require(values.type == kFloat || values.type == kFloat16, "values must be float32 or float16");
  require(gaps.type == kUint8 && rows.type == kInt32, "gaps must be uint8 and rows int32");
  require(values.rank == 1 && gaps.rank == 1 && rows.rank == 1 && gaps.count == values.count &&
              rows.count >= 2,
          "values and gaps must be lists of one length, rows a list of two or more");
  spec.out_channels = channels_of(rows.count - 1, "the number of rows");
  require(spec.group >= 1 && spec.in_channels % spec.group == 0 &&
              spec.out_channels % spec.group == 0,
          "group must divide the input and output channels");
  const int64_t columns = spec.in_channels / spec.group * spec.window.taps();
  require(columns <= kMaxColumns, "the weight has more than 2^24 columns");
  const SparseMatrix weights =
      decode({values.data, values.type == kFloat16, static_cast<const uint8_t*>(gaps.data),
              values.count, static_cast<const int32_t*>(rows.data), spec.out_channels, columns});
  return std::make_unique<SparseConvKernel>(spec, weights, bias_of(node, 4, spec.out_channels));
}

std::unique_ptr<Kernel> make_depthwise(const Node& node) {
  FoldSpec spec;
  spec.window = window_of(node);
  require(spec.window.sized, "input_size is missing");
  spec.activation = activation_of(node);
  const Tensor w = node.constant(1);
  require(w.data && w.type == kFloat, "W must be constant and float32");
  require(w.rank >= 3 && w.rank <= 4 && w.shape[1] == 1, "W must be [channels, 1, kernel]");
  spec.channels = channels_of(w.shape[0], "the number of channels");
  require(spec.channels == node.integer("in_channels", spec.channels) &&
              spec.channels == node.integer("group", spec.channels),
          "in_channels and group must be the channels of W");
  require(w.count == spec.channels * spec.window.taps(), "W has another size than kernel_shape");
  return std::make_unique<WindowKernel>(
      spec, std::vector<float>(w.floats(), w.floats() + w.count), bias_of(node, 2, spec.channels));
}

std::unique_ptr<Kernel> make_pool(const Node& node) {
  FoldSpec spec;
  spec.window = window_of(node);
  require(spec.window.sized, "input_size is missing");
  const std::string kind = node.word("kind", "");
  require(kind == "max" || kind == "average", "kind must be max or average");
  spec.kind = kind == "max" ? Fold::max : Fold::average;
  spec.count_pads = node.integer("count_include_pad", 0) != 0;
  return std::make_unique<WindowKernel>(spec, std::vector<float>(), std::vector<float>());
}

std::unique_ptr<Kernel> make_global_average(const Node& node) {
  return std::make_unique<GlobalAverage>(node);
}

}  // namespace wfpipe
