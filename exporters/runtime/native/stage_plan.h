// How the surroundings of each tile are laid out, worked out once when a kernel is made.
#pragma once
#include <vector>

#include "path.h"
#include "tiling.h"
#include "window.h"

namespace wfpipe {

// Lays each channel's input out in arrays whose rows are as wide as the output's, so that every
// tap of the window finds a tile's input at one distance: one array for the taps of the same
// parity, masked at the image's sides, or else one for each column of the window.
class StagePlan {
 public:
  // fill: what lies outside of the image.
  StagePlan(const Window& window, const Tiling& in, const Tiling& out, float fill);
  Stage view() const;  // valid as long as the plan

 private:
  struct Array {
    int64_t phase;        // of the rows
    size_t column;        // of origins_
    int64_t low, high;    // shifts of its taps
    int64_t place;        // in the stage
  };

  bool arrange(const Window& window, bool shared);
  bool shares(const Window& window) const;
  int32_t mask(const Window& window, int64_t shift, int64_t valid);
  void steps_of(const Window& window, int64_t tile);
  void straight(const Window& window, const Array& array, int64_t first);
  void by_rows(const Window& window, const Array& array, int64_t first);
  void fill(int64_t count, int64_t to);
  void take(int64_t position, int64_t stride, int64_t count, int64_t to);
  void gather(int64_t count, int64_t tile, int64_t lane, int64_t stride, int64_t to);
  void step(StageStep::Kind kind, int64_t count, int64_t tile, int64_t from, int64_t to);

  Tiling in_, out_;
  float fill_;
  std::vector<int64_t> origins_;  // column i of an array is x * stride + origins_[i]
  std::vector<Array> arrays_;
  std::vector<Tap> taps_;
  std::vector<uint32_t> masks_;
  int64_t mask_size_ = 0, period_ = 1, size_ = 0;
  std::vector<StageStep> steps_;
  std::vector<uint16_t> lanes_;
  std::vector<int32_t> first_;
};

}  // namespace wfpipe
