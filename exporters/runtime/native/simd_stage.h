// Laying out what a window sees: a channel's surroundings of a tile, then a row per tap.
#pragma once
#include <string.h>

#include "path.h"
#include "simd.h"
#include "simd_shuffle.h"

namespace wfpipe {
namespace {

// One load and store of staging a channel.
struct Move {
  int32_t from, to;
};

// A channel's surroundings of a tile, and the moves that lay them out, which are the same for all
// channels. Made once for a tile; what lies outside of the image is filled in then.
class Staging {
 public:
  template <class Job>
  explicit Staging(const Job& job)
      : stage_(*job.stage), input_(job.input), channel_floats_(job.channel_floats),
        begin_(stage_.steps + stage_.first[job.tile]),
        end_(stage_.steps + stage_.first[job.tile + 1]) {
    for (int kind = 0; kind < kKinds; ++kind) {
      for (const StageStep* step = begin_; step != end_; ++step) {
        add(*step, kind, static_cast<int32_t>(step->tile * job.tile_floats));
      }
      ends_[kind] = count_;
    }
    fill(floats(0));
    fill(floats(1));
  }

  // The channel laid out for this turn. There are two places, so that a channel can be laid out
  // while the one before it is used: what has just been stored cannot be loaded at other bounds.
  WFPIPE_INLINE float* floats(int64_t turn) {
    return floats_ + (turn & 1) * (stage_.size + kApart);
  }
  WFPIPE_INLINE void lay_out(int64_t c, int64_t turn) { lay_out(c, floats(turn)); }
  WFPIPE_INLINE void lay_out(int64_t c, float* to) const {
    const float* const from = input_ + c * channel_floats_;
    const int32_t whole = ends_[0];
    int32_t i = 0;
    for (; i < whole; ++i) store(to + moves_[i].to, load(from + moves_[i].from));
    for (; i < ends_[1]; ++i) store(to + moves_[i].to, second<false>(from + moves_[i].from));
    for (; i < ends_[2]; ++i) store(to + moves_[i].to, second<true>(from + moves_[i].from));
    for (; i < ends_[3]; ++i) to[moves_[i].to] = from[moves_[i].from];
  }
  // What lies outside of the image.
  void fill(float* to) const {
    for (const StageStep* step = begin_; step != end_; ++step) {
      if (step->kind != StageStep::fill) continue;
      for (int32_t i = 0; i < step->count; ++i) to[step->to + i] = stage_.fill;
    }
  }

 private:
  enum { kWhole, kEvens, kOdds, kSingle, kKinds };

  template <bool Odd>
  static WFPIPE_INLINE Vector second(const float* from) {
    return every_second<Odd>(load(from), load(from + kLanes));
  }

  void add(const StageStep& step, int kind, int32_t tile) {
    if (step.kind == StageStep::fill) return;
    const bool whole = step.kind != StageStep::gather && step.count >= kLanes;
    if (kind != (whole ? static_cast<int>(step.kind) : static_cast<int>(kSingle))) return;
    const int32_t stride = step.kind == StageStep::copy ? 1 : 2;
    if (whole) {  // the last vector lies over some that are there
      for (int32_t i = 0; i < step.count; i += kLanes) {
        const int32_t at = i + kLanes > step.count ? step.count - kLanes : i;
        moves_[count_++] = {tile + step.from + at * stride, step.to + at};
      }
      return;
    }
    for (int32_t i = 0; i < step.count; ++i) {
      const bool copy = step.kind == StageStep::copy;
      const int32_t lane = copy ? step.from + i : stage_.lanes[step.from + i];
      moves_[count_++] = {tile + lane, step.to + i};
    }
  }

  static constexpr int32_t kApart = 32;  // floats between the two places

  const Stage& stage_;
  const float* input_;
  int64_t channel_floats_;
  const StageStep *begin_, *end_;
  int32_t ends_[kKinds] = {}, count_ = 0;
  alignas(64) float floats_[2 * kStage + kApart];
  Move moves_[kStage];  // each writes a float that no other does
};

static_assert(StageStep::copy == 0 && StageStep::evens == 1 && StageStep::odds == 2, "as kKinds");

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
void pack(const Chunk& chunk, const TileJob& job, Staging& staging, float* rows) {
  constexpr int T = R ? R * kLanes : 1;
  const uint16_t* tap = chunk.taps;
  const int32_t count = chunk.packed_count;
  if (job.stage->direct) {
    for (int32_t c = 0; c < count; ++c, rows += T) {
      staging.lay_out(chunk.packed[c].channel, rows);
      staging.fill(rows);
    }
    return;
  }
  // Read once: for all that the compiler knows, each row stored could change what job points to.
  const Stage stage = *job.stage;
  const Packed* const packed = chunk.packed;
  const int64_t start = job.mask_start;
  if (count) staging.lay_out(packed[0].channel, int64_t{0});
  for (int32_t c = 0; c < count; ++c) {
    if (c + 1 < count) staging.lay_out(packed[c + 1].channel, int64_t{c} + 1);
    const float* const from = staging.floats(c);
    const int32_t used = packed[c].taps;
    for (int32_t i = 0; i < used; ++i, ++tap, rows += T) {
      const Tap where = stage.taps[*tap];
      const int64_t at = start + where.mask * static_cast<int64_t>(stage.mask_size);
      copy_tap<R>(rows, from + where.from, where.mask < 0 ? nullptr : stage.masks + at);
    }
  }
}

using Pack = void (*)(const Chunk&, const TileJob&, Staging&, float*);
const Pack kPack[kMaxRegisters + 1] = {pack<0>, pack<1>, pack<2>, pack<3>, pack<4>,
                                       pack<5>, pack<6>, pack<7>, pack<8>};

}  // namespace
}  // namespace wfpipe
