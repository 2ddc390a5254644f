#include "window_ops.h"

#include <algorithm>
#include <limits>

namespace wfpipe {
namespace {

constexpr int64_t kItems = 16;        // work items wanted, so that threads share evenly
constexpr int64_t kMinChannels = 16;  // of an item

// Taps of a window at x that lie in the image.
int64_t inside(const Axis& axis, int64_t x) {
  int64_t count = 0;
  for (int64_t k = 0; k < axis.kernel; ++k) {
    const int64_t at = x * axis.stride + k * axis.dilation - axis.begin;
    count += at >= 0 && at < axis.input;
  }
  return count;
}

}  // namespace

WindowFold::WindowFold(const FoldSpec& spec, std::vector<float> weights, std::vector<float> bias)
    : spec_(spec),
      in_(tiling(spec.window.inputs())),
      out_(tiling(spec.window.outputs())),
      stage_(spec.window, in_, out_,
             spec.kind == Fold::max ? std::numeric_limits<float>::lowest() : 0.0f),
      weights_(std::move(weights)),
      bias_(std::move(bias)) {
  if (spec.kind == Fold::average) count_shares();
}

void WindowFold::count_shares() {
  const Window& window = spec_.window;
  shares_.assign(static_cast<size_t>(out_.tiles * out_.floats), 0.0f);
  std::vector<int64_t> across;
  for (int64_t x = 0; x < window.x.output; ++x) across.push_back(inside(window.x, x));
  for (int64_t y = 0; y < window.y.output; ++y) {
    const int64_t down = inside(window.y, y);
    for (int64_t x = 0; x < window.x.output; ++x) {
      const int64_t seen = spec_.count_pads ? window.taps() : down * across[x];
      shares_[static_cast<size_t>(y * window.x.output + x)] =
          seen ? 1.0f / static_cast<float>(seen) : 0.0f;
    }
  }
}

void WindowFold::run(const float* x, const float* residual, float* y, int64_t images,
                     int64_t channels, const Parallel& parallel) const {
  const auto fold = spec_.kind == Fold::max       ? path().pool_max
                    : spec_.kind == Fold::average ? path().pool_average
                                                  : path().depthwise;
  const int64_t wanted = (kItems + out_.tiles - 1) / out_.tiles;
  const int64_t parts = std::max<int64_t>(1, std::min(wanted, channels / kMinChannels));
  const int64_t image_floats = in_.image(channels);
  require(image_floats <= INT32_MAX, "an image is larger than 2^31 floats");
  const int64_t tile_floats = channels * out_.floats;
  const Stage stage = stage_.view();
  parallel.over(static_cast<size_t>(images * out_.tiles * parts), [&](size_t item) {
    const int64_t i = static_cast<int64_t>(item);
    const int64_t tile = i / parts, part = i % parts;  // tile: of all images
    WindowJob job = {};
    job.input = x + tile / out_.tiles * image_floats;
    job.output = y + tile * tile_floats;
    job.residual = residual ? residual + tile * tile_floats : nullptr;
    job.bias = bias_.empty() ? nullptr : bias_.data();
    job.weights = weights_.empty() ? nullptr : weights_.data();
    job.tile = tile % out_.tiles;
    job.share = shares_.empty() ? nullptr : shares_.data() + job.tile * out_.floats;
    job.stage = &stage;
    job.channel_floats = in_.floats;
    job.tile_floats = channels * in_.floats;
    job.floats = out_.floats;
    job.mask_start = static_cast<int32_t>(job.tile * job.floats % stage.period);
    job.rows = static_cast<int32_t>(spec_.window.y.kernel);
    job.columns = static_cast<int32_t>(spec_.window.x.kernel);
    job.first_channel = static_cast<int32_t>(channels * part / parts);
    job.last_channel = static_cast<int32_t>(channels * (part + 1) / parts);
    job.activation = spec_.activation;
    fold(job);
  });
}

}  // namespace wfpipe
