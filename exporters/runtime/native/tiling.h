// How positions are cut into tiles.
#pragma once
#include <cstdint>

namespace wfpipe {

struct Tiling {
  int64_t positions, tiles;
  int32_t floats;  // T: of a row of a tile

  int64_t image(int64_t channels) const { return tiles * channels * floats; }  // floats of it
};

// The tiling of so many positions on the path in use: T is 1 to 8 vectors, 1 where there is one
// position. It is chosen so that the work is least: each weight is loaded once per tile beside a
// vector of each register, so a tile costs registers + 1.
Tiling tiling(int64_t positions);

}  // namespace wfpipe
