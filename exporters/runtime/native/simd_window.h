// Windows over single channels: depthwise convolution, pooling.
#pragma once
#include "path.h"
#include "simd.h"
#include "simd_activation.h"
#include "simd_stage.h"

namespace wfpipe {
namespace {

struct Weighted {
  static constexpr float start = 0;
  static Vector add(Vector sum, Vector x, Integers mask, Vector weight) {
    return sum + weight * floats(bits(x) & mask);
  }
  static float add(float sum, float x, bool inside, float weight) {
    return inside ? sum + weight * x : sum;
  }
};

struct Largest {
  static constexpr float start = -__FLT_MAX__;
  static Vector add(Vector sum, Vector x, Integers mask, Vector) {
    return at_least(sum, either(mask, x, splat(start)));
  }
  static float add(float sum, float x, bool inside, float) {
    return !inside || sum > x ? sum : x;
  }
};

// One channel of a tile of R vectors, or of one float where R is 0.
template <class Fold, int R>
WFPIPE_INLINE void fold(const WindowJob& job, const float* surroundings, int64_t c) {
  constexpr int N = R ? R : 1;
  Vector sums[N];
  const bool weighted = job.weights;
  const Vector start = splat(job.bias ? job.bias[c] : Fold::start);
  for (int r = 0; r < N; ++r) sums[r] = start;
  for (int32_t t = 0; t < job.taps; ++t) {
    const Tap& tap = job.stage->taps[t];
    const float* from = surroundings + tap.from;
    const uint32_t* mask = mask_of(*job.stage, tap, job.tile, job.floats);
    const Vector weight = splat(weighted ? job.weights[c * job.taps + t] : 1);
    if (!R) {
      sums[0][0] = Fold::add(sums[0][0], from[0], !mask || mask[0], weight[0]);
    } else if (mask) {
      for (int r = 0; r < N; ++r) {
        sums[r] = Fold::add(sums[r], load(from + r * kLanes), load_mask(mask + r * kLanes), weight);
      }
    } else {
      for (int r = 0; r < N; ++r) {
        sums[r] = Fold::add(sums[r], load(from + r * kLanes), ~Integers{}, weight);
      }
    }
  }
  const int64_t at = c * job.floats;
  for (int r = 0; r < N; ++r) {
    if (job.share) sums[r] *= R ? load(job.share + r * kLanes) : splat(job.share[0]);
    if (job.residual) {
      sums[r] += R ? load(job.residual + at + r * kLanes) : splat(job.residual[at]);
    }
  }
  activate<N>(sums, job.activation);
  if (!R) {
    job.output[at] = sums[0][0];
    return;
  }
  for (int r = 0; r < R; ++r) store(job.output + at + r * kLanes, sums[r]);
}

template <class Fold, int R>
void fold_channels(const WindowJob& job) {
  alignas(64) float surroundings[kStage];
  for (int64_t c = job.first_channel; c < job.last_channel; ++c) {
    lay_out(job, c, surroundings);
    fold<Fold, R>(job, surroundings, c);
  }
}

template <class Fold>
void fold_any(const WindowJob& job) {
  using Channels = void (*)(const WindowJob&);
  static const Channels kChannels[kMaxRegisters + 1] = {
      fold_channels<Fold, 0>, fold_channels<Fold, 1>, fold_channels<Fold, 2>,
      fold_channels<Fold, 3>, fold_channels<Fold, 4>, fold_channels<Fold, 5>,
      fold_channels<Fold, 6>, fold_channels<Fold, 7>, fold_channels<Fold, 8>};
  kChannels[job.floats / kLanes](job);
}

void depthwise(const WindowJob& job) { fold_any<Weighted>(job); }
void pool_max(const WindowJob& job) { fold_any<Largest>(job); }
void pool_average(const WindowJob& job) { fold_any<Weighted>(job); }

}  // namespace
}  // namespace wfpipe
