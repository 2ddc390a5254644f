// Windows over single channels: depthwise convolution, pooling.
#pragma once
#include "path.h"
#include "simd.h"
#include "simd_activation.h"
#include "simd_stage.h"

namespace wfpipe {
namespace {

struct Summed {
  static constexpr float start = 0;
  static Vector add(Vector sum, Vector x, Integers mask) {
    return sum + floats(bits(x) & mask);
  }
  static float add(float sum, float x, bool inside) { return inside ? sum + x : sum; }
};

struct Largest {
  static constexpr float start = -__FLT_MAX__;
  static Vector add(Vector sum, Vector x, Integers mask) {
    return at_least(sum, either(mask, x, splat(start)));
  }
  static float add(float sum, float x, bool inside) { return !inside || sum > x ? sum : x; }
};

// Store a channel's vectors, or the one float where R is 0, with what follows their sums.
template <int R, int N>
WFPIPE_INLINE void finish(const WindowJob& job, int64_t c, Vector (&sums)[N]) {
  const int64_t at = c * job.floats;
  for (int r = 0; r < N; ++r) {
    if (job.share) sums[r] *= R ? load(job.share + r * kLanes) : splat(job.share[0]);
    if (job.residual) {
      sums[r] += R ? load(job.residual + at + r * kLanes) : splat(job.residual[at]);
    }
  }
  activate<N>(sums, job.activation);
  if (R == 0) job.output[at] = sums[0][0];
  for (int r = 0; r < R; ++r) store(job.output + at + r * kLanes, sums[r]);
}

// Pool one channel of a tile of R vectors, or of one float where R is 0.
template <class Fold, int R>
WFPIPE_INLINE void pool(const WindowJob& job, const float* surroundings, int64_t c) {
  constexpr int N = R ? R : 1;
  Vector sums[N];
  for (int r = 0; r < N; ++r) sums[r] = splat(Fold::start);
  for (int32_t t = 0; t < job.rows * job.columns; ++t) {
    const Tap& tap = job.stage->taps[t];
    const float* from = surroundings + tap.from;
    const uint32_t* mask = mask_of(job, tap);
    if (R == 0) sums[0][0] = Fold::add(sums[0][0], from[0], !mask || mask[0]);
    for (int r = 0; r < R; ++r) {
      const Integers inside = mask ? load_mask(mask + r * kLanes) : ~Integers{};
      sums[r] = Fold::add(sums[r], load(from + r * kLanes), inside);
    }
  }
  finish<R>(job, c, sums);
}

// Filter one channel likewise: a column of the window after the other, masked as a whole.
template <int R>
WFPIPE_INLINE void filter(const WindowJob& job, const float* surroundings, int64_t c) {
  constexpr int N = R ? R : 1;
  const float* weights = job.weights + c * job.rows * job.columns;
  Vector sums[N];
  for (int r = 0; r < N; ++r) sums[r] = splat(job.bias ? job.bias[c] : 0);
  for (int x = 0; x < job.columns; ++x) {
    Vector column[N] = {};
    for (int y = 0; y < job.rows; ++y) {
      const float* from = surroundings + job.stage->taps[y * job.columns + x].from;
      const Vector weight = splat(weights[y * job.columns + x]);
      if (R == 0) column[0] += weight * splat(*from);
      for (int r = 0; r < R; ++r) column[r] += weight * load(from + r * kLanes);
    }
    const uint32_t* mask = mask_of(job, job.stage->taps[x]);
    if (R == 0 && mask && !mask[0]) continue;
    for (int r = 0; r < N; ++r) {
      if (R && mask) column[r] = floats(bits(column[r]) & load_mask(mask + r * kLanes));
      sums[r] += column[r];
    }
  }
  finish<R>(job, c, sums);
}

// All lanes, as a mask.
constexpr uint32_t kOnes = ~uint32_t{0};
#define WFPIPE_FOUR(x) x, x, x, x
#define WFPIPE_SIXTEEN(x) WFPIPE_FOUR(x), WFPIPE_FOUR(x), WFPIPE_FOUR(x), WFPIPE_FOUR(x)
#define WFPIPE_64(x) \
  WFPIPE_SIXTEEN(x), WFPIPE_SIXTEEN(x), WFPIPE_SIXTEEN(x), WFPIPE_SIXTEEN(x)
alignas(64) const uint32_t kEverywhere[kMaxTile] = {WFPIPE_64(kOnes), WFPIPE_64(kOnes)};

// The same for the window that nearly all have, 3 x 3 with its middle column inside, whose weights
// fit into registers.
template <int R>
WFPIPE_INLINE void filter_3x3(const WindowJob& job, const float* surroundings, int64_t c) {
  const float* const w = job.weights + c * 9;
  const Tap* const taps = job.stage->taps;
  const uint32_t *left_mask = mask_of(job, taps[0]), *right_mask = mask_of(job, taps[2]);
  if (!left_mask) left_mask = kEverywhere;
  if (!right_mask) right_mask = kEverywhere;
  const float* at[9];
  Vector weight[9];
#pragma GCC unroll 9
  for (int t = 0; t < 9; ++t) {
    at[t] = surroundings + taps[t].from;
    weight[t] = splat(w[t]);
  }
  const Vector bias = splat(job.bias ? job.bias[c] : 0);
  const bool at_once = !job.residual && job.activation.kind <= Act::clamp;
  const bool clamped = at_once && job.activation.kind == Act::clamp;
  const Vector low = splat(clamped ? job.activation.low : -__builtin_inff());
  const Vector high = splat(clamped ? job.activation.high : __builtin_inff());
  float* const output = job.output + c * job.floats;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const auto in = [&](int t) { return weight[t] * load(at[t] + r * kLanes); };
    const Vector left = in(0) + in(3) + in(6), right = in(2) + in(5) + in(8);
    const Vector sum = bias + in(1) + in(4) + in(7) +
                       floats(bits(left) & load_mask(left_mask + r * kLanes)) +
                       floats(bits(right) & load_mask(right_mask + r * kLanes));
    store(output + r * kLanes, at_least(low, at_most(high, sum)));
  }
  if (at_once) return;
  Vector sums[R];
  for (int r = 0; r < R; ++r) sums[r] = load(output + r * kLanes);
  finish<R>(job, c, sums);
}

// Call channel(c, its surroundings) for each channel of the job.
template <class Channel>
WFPIPE_INLINE void for_channels(const WindowJob& job, const Channel& channel) {
  Staging staging(job);
  staging.lay_out(job.first_channel, int64_t{job.first_channel});
  for (int64_t c = job.first_channel; c < job.last_channel; ++c) {
    if (c + 1 < job.last_channel) staging.lay_out(c + 1, c + 1);
    channel(c, staging.floats(c));
  }
}

template <class Fold, int R>
struct Pooled {
  static void all(const WindowJob& job) {
    for_channels(job, [&](int64_t c, const float* from) { pool<Fold, R>(job, from, c); });
  }
};

template <int R>
struct Filtered {
  static void all(const WindowJob& job) {
    const bool three = job.rows == 3 && job.columns == 3 && job.stage->taps[1].mask < 0;
    for_channels(job, [&](int64_t c, const float* from) {
      if constexpr (R > 0) {
        if (three) return filter_3x3<R>(job, from, c);
      }
      filter<R>(job, from, c);
    });
  }
};

template <int R>
using PooledLargest = Pooled<Largest, R>;
template <int R>
using PooledSum = Pooled<Summed, R>;

// Channels<R>::all for the R of the job.
template <template <int> class Channels>
void for_registers(const WindowJob& job) {
  using All = void (*)(const WindowJob&);
  static constexpr All kAll[kMaxRegisters + 1] = {
      Channels<0>::all, Channels<1>::all, Channels<2>::all, Channels<3>::all, Channels<4>::all,
      Channels<5>::all, Channels<6>::all, Channels<7>::all, Channels<8>::all};
  kAll[job.floats / kLanes](job);
}

}  // namespace
}  // namespace wfpipe
