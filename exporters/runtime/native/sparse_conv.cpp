#include "sparse_conv.h"

#include <algorithm>

namespace wfpipe {
namespace {

constexpr int64_t kChunkFloats = 8 * 1024;  // of input rows that stay in the first cache
constexpr int64_t kItems = 16;               // work items wanted, so that threads share evenly
constexpr int64_t kCached = 4 << 20;         // of an output that may still be there when it is read
constexpr int64_t kSums = 32 * 1024;          // floats of a part's sums, for the second cache
constexpr int64_t kPackedItems = 4;          // of input that is packed for each
constexpr int64_t kWorth = 32;               // products that are worth packing a row again
constexpr int64_t kMinRows = 32;             // output channels of a part
static_assert(kChunkFloats <= kScratch, "a chunk is packed on the stack");

// How many parts the output channels are cut into: as many as make enough work items. Where each
// part packs its input again, only as many as keep a second thread busy.
int64_t parts_of(const ConvSpec& spec, const SparseMatrix& weights, const Tiling& out) {
  const int64_t rows = spec.out_channels / spec.group;
  const int64_t tiles = std::max<int64_t>(1, out.tiles) * spec.group;
  if (spec.window.pointwise()) {
    const int64_t parts = std::min((kItems + tiles - 1) / tiles, rows / kMinRows);
    return std::max<int64_t>(parts, 1 + rows * out.floats / kSums);
  }
  const int64_t products = static_cast<int64_t>(weights.values.size());
  return tiles < kPackedItems && products > kWorth * weights.column_count ? 2 : 1;
}

}  // namespace

SparseConv::SparseConv(const ConvSpec& spec, const SparseMatrix& weights, std::vector<float> bias)
    : spec_(spec), in_{}, out_{}, bias_(std::move(bias)) {
  const Window& window = spec.window;
  int64_t floats = kMaxRegisters * path().lanes;
  if (window.sized) {
    in_ = tiling(window.inputs()), out_ = tiling(window.outputs());
    floats = out_.floats;
    require(in_.image(spec.in_channels) <= INT32_MAX, "an image is larger than 2^31 floats");
    if (!window.pointwise()) stage_.emplace(window, in_, out_, 0.0f);
  }
  if (bias_.empty()) bias_.assign(static_cast<size_t>(spec.out_channels), 0.0f);
  const PlanSpec plan = {spec.group, window.taps(), !window.pointwise(), kChunkFloats / floats,
                         parts_of(spec, weights, out_)};
  plan_.emplace(weights, plan);
}

Tiling SparseConv::tiles(int64_t tiles, int64_t channels, int64_t floats) const {
  require(channels == spec_.in_channels, "X has another number of channels than in_channels");
  if (spec_.window.sized) {
    require(tiles == in_.tiles && floats == in_.floats, "X has not the tiles of input_size");
    return out_;
  }
  const int64_t lanes = path().lanes;
  const bool one = tiles == 1 && floats == 1;
  require(one || (floats > 0 && floats % lanes == 0 && floats <= kMaxRegisters * lanes),
          "X is not in tiles");
  return {tiles * floats, tiles, static_cast<int32_t>(floats)};
}

void SparseConv::run(const float* x, const float* residual, float* y, int64_t images,
                     const Tiling& out, const Parallel& parallel) const {
  const std::vector<Part>& parts = plan_->parts();
  const int64_t count = static_cast<int64_t>(parts.size());
  const Stage stage = stage_ ? stage_->view() : Stage{};
  const Tiling& in = spec_.window.sized ? in_ : out;
  const int64_t image_floats = in.image(spec_.in_channels);
  const int64_t tile_floats = spec_.out_channels * out.floats;
  const uintptr_t misplaced = reinterpret_cast<uintptr_t>(y) % (sizeof(float) * kMaxLanes);
  const bool stream = images * out.tiles * tile_floats > kCached && !misplaced;
  parallel.over(static_cast<size_t>(images * out.tiles * count), [&](size_t item) {
    const int64_t i = static_cast<int64_t>(item);
    const int64_t tile = i / count;  // of all images
    TileJob job = {};
    job.input = x + tile / out.tiles * image_floats;
    job.output = y + tile * tile_floats;
    job.residual = residual ? residual + tile * tile_floats : nullptr;
    job.bias = bias_.data();
    job.stage = stage_ ? &stage : nullptr;
    job.channel_floats = in.floats;
    job.tile = tile % out.tiles;
    job.floats = out.floats;
    job.stream = stream;
    if (stage_) job.mask_start = static_cast<int32_t>(job.tile * job.floats % stage.period);
    job.tile_floats = spec_.in_channels * in.floats;
    job.activation = spec_.activation;
    path().convolve(parts[static_cast<size_t>(i % count)], job);
  });
}

}  // namespace wfpipe
