#include "tiling.h"

#include "path.h"

namespace wfpipe {

Tiling tiling(int64_t positions) {
  if (positions == 1) return {1, 1, 1};
  Tiling best = {positions, 0, 0};
  int64_t least = INT64_MAX;
  for (int32_t registers = kMaxRegisters; registers >= 1; --registers) {
    const int32_t floats = registers * path().lanes;
    const int64_t tiles = (positions - 1) / floats + 1;
    if (tiles * (registers + 1) < least) {
      least = tiles * (registers + 1);
      best = {positions, tiles, floats};
    }
  }
  return best;
}

}  // namespace wfpipe
