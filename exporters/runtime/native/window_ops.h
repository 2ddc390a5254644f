// Operators whose window sees one channel at a time.
#pragma once
#include <vector>

#include "parallel.h"
#include "stage_plan.h"

namespace wfpipe {

enum class Fold { depthwise, max, average };

struct FoldSpec {
  Fold kind = Fold::depthwise;
  Window window;
  int64_t channels = 0;     // of depthwise; pooling takes any
  bool count_pads = false;  // average: what lies outside counts as zeros
  Activation activation;
};

class WindowFold {
 public:
  // weights: [channels, taps], of depthwise alone; bias: [channels] or empty.
  WindowFold(const FoldSpec& spec, std::vector<float> weights, std::vector<float> bias);

  const Tiling& in() const { return in_; }
  const Tiling& out() const { return out_; }
  int64_t channels() const { return spec_.channels; }
  void run(const float* x, const float* residual, float* y, int64_t images, int64_t channels,
           const Parallel& parallel) const;

 private:
  void count_shares();

  FoldSpec spec_;
  Tiling in_, out_;
  StagePlan stage_;
  std::vector<float> weights_, bias_;
  std::vector<float> shares_;  // [tiles * T] of average: one over what the window counts
};

}  // namespace wfpipe
