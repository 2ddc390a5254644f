// Moving and adding floats.
#pragma once
#include "simd.h"

namespace wfpipe {
namespace {

void transpose(const float* from, int64_t from_pitch, float* to, int64_t to_pitch, int64_t rows,
               int64_t columns) {
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r) to[c * to_pitch + r] = from[r * from_pitch + c];
  }
}

float sum(const float* from, int64_t count) {
  Vector sums = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) sums += load(from + i);
  float total = 0;
  for (int k = 0; k < kLanes; ++k) total += sums[k];
  for (; i < count; ++i) total += from[i];
  return total;
}

}  // namespace
}  // namespace wfpipe
