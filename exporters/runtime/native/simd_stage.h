// Laying out what a window sees: a channel's surroundings of a tile, then a row per tap.
#pragma once
#include <string.h>

#include "path.h"
#include "simd.h"

namespace wfpipe {
namespace {

WFPIPE_INLINE void copy_floats(float* to, const float* from, int32_t count) {
  int32_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load(from + i));
  if (i == count) return;
  if (count >= kLanes) {
    store(to + count - kLanes, load(from + count - kLanes));
  } else {
    for (; i < count; ++i) to[i] = from[i];
  }
}

// Lay out one channel's surroundings of a tile.
template <class Job>
WFPIPE_INLINE void lay_out(const Job& job, int64_t c, float* to) {
  const Stage& stage = *job.stage;
  const float* channel = job.input + c * job.channel_floats;
  const StageStep* end = stage.steps + stage.first[job.tile + 1];
  for (const StageStep* step = stage.steps + stage.first[job.tile]; step != end; ++step) {
    const float* from = channel + step->tile * job.tile_floats;
    const uint16_t* lanes = stage.lanes + step->from;
    float* target = to + step->to;
    switch (step->kind) {
      case StageStep::copy: copy_floats(target, from + step->from, step->count); break;
      case StageStep::gather:
        for (int32_t i = 0; i < step->count; ++i) target[i] = from[lanes[i]];
        break;
      case StageStep::fill:
        for (int32_t i = 0; i < step->count; ++i) target[i] = stage.fill;
        break;
    }
  }
}

template <class Job>
WFPIPE_INLINE const uint32_t* mask_of(const Job& job, const Tap& tap) {
  const Stage& stage = *job.stage;
  if (tap.mask < 0) return nullptr;
  return stage.masks + static_cast<int64_t>(tap.mask) * stage.mask_size + job.mask_start;
}

// A tap's row: R vectors, or one float where R is 0.
template <int R>
WFPIPE_INLINE void copy_tap(float* to, const float* from, const uint32_t* mask) {
  if (R == 0) {
    to[0] = mask && !mask[0] ? 0 : from[0];
  } else if (mask) {
    for (int r = 0; r < R; ++r) {
      const Integers kept = bits(load(from + r * kLanes)) & load_mask(mask + r * kLanes);
      store(to + r * kLanes, floats(kept));
    }
  } else {
    for (int r = 0; r < R; ++r) store(to + r * kLanes, load(from + r * kLanes));
  }
}

// The rows of a chunk, one after the other.
template <int R>
void pack(const Chunk& chunk, const TileJob& job, float* rows) {
  constexpr int T = R ? R * kLanes : 1;
  alignas(64) float surroundings[kStage];
  const uint16_t* tap = chunk.taps;
  for (int32_t c = 0; c < chunk.packed_count; ++c) {
    const Packed& packed = chunk.packed[c];
    if (job.stage->direct) {
      lay_out(job, packed.channel, rows);
      rows += T;
      continue;
    }
    lay_out(job, packed.channel, surroundings);
    for (int32_t i = 0; i < packed.taps; ++i, ++tap, rows += T) {
      const Tap& where = job.stage->taps[*tap];
      copy_tap<R>(rows, surroundings + where.from, mask_of(job, where));
    }
  }
}

using Pack = void (*)(const Chunk&, const TileJob&, float*);
const Pack kPack[kMaxRegisters + 1] = {pack<0>, pack<1>, pack<2>, pack<3>, pack<4>,
                                       pack<5>, pack<6>, pack<7>, pack<8>};

}  // namespace
}  // namespace wfpipe
