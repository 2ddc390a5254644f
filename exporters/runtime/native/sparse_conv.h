// The sparse convolution, and every linear layer as one of a single position each.
#pragma once
#include <optional>
#include <vector>

#include "parallel.h"
#include "sparse_weights.h"
#include "stage_plan.h"

namespace wfpipe {

struct ConvSpec {
  Window window;
  int64_t in_channels = 0, out_channels = 0, group = 1;
  Activation activation;
};

class SparseConv {
 public:
  // weights: [out_channels, in_channels / group * taps]; bias: [out_channels] or empty.
  SparseConv(const ConvSpec& spec, const SparseMatrix& weights, std::vector<float> bias);

  // The tiles of the output for those of an input; a Fault where the input's cannot be.
  Tiling tiles(int64_t tiles, int64_t channels, int64_t floats) const;
  // x: images of tiles that fit; y: likewise; residual: like y, or null.
  void run(const float* x, const float* residual, float* y, int64_t images, const Tiling& out,
           const Parallel& parallel) const;
  int64_t out_channels() const { return spec_.out_channels; }

 private:
  ConvSpec spec_;
  Tiling in_, out_;  // where the window is sized
  std::vector<float> bias_;
  std::optional<StagePlan> stage_;
  std::optional<SparsePlan> plan_;
};

}  // namespace wfpipe
