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

WFPIPE_INLINE const uint32_t* mask_of(const Stage& stage, const Tap& tap, int64_t tile,
                                      int32_t floats) {
  if (tap.mask < 0) return nullptr;
  return stage.masks + static_cast<int64_t>(tap.mask) * stage.mask_size +
         tile * floats % stage.period;
}

// A tap's row: count floats, a whole number of vectors or one.
WFPIPE_INLINE void copy_tap(float* to, const float* from, const uint32_t* mask, int32_t count) {
  if (count == 1) {
    to[0] = mask && !mask[0] ? 0 : from[0];
  } else if (mask) {
    for (int32_t i = 0; i < count; i += kLanes) {
      store(to + i, floats(bits(load(from + i)) & load_mask(mask + i)));
    }
  } else {
    for (int32_t i = 0; i < count; i += kLanes) store(to + i, load(from + i));
  }
}

// The rows of a chunk, one after the other.
void pack(const Chunk& chunk, const TileJob& job, float* rows) {
  alignas(64) float surroundings[kStage];
  const Stage& stage = *job.stage;
  const uint16_t* tap = chunk.taps;
  for (int32_t c = 0; c < chunk.packed_count; ++c) {
    const Packed& packed = chunk.packed[c];
    lay_out(job, packed.channel, surroundings);
    for (int32_t i = 0; i < packed.taps; ++i, ++tap, rows += job.floats) {
      const Tap& where = stage.taps[*tap];
      copy_tap(rows, surroundings + where.from, mask_of(stage, where, job.tile, job.floats),
               job.floats);
    }
  }
}

}  // namespace
}  // namespace wfpipe
