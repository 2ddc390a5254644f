// Moving and adding floats.
#pragma once
#include "simd.h"
#include "simd_shuffle.h"

namespace wfpipe {
namespace {

// A square of as many rows as a vector has lanes: riffled log2(lanes) times, it is transposed.
WFPIPE_INLINE void transpose_square(const float* from, int64_t from_pitch, float* to,
                                    int64_t to_pitch) {
  Vector rows[kLanes], riffled[kLanes];
  for (int i = 0; i < kLanes; ++i) rows[i] = load(from + i * from_pitch);
  for (int step = 1; step < kLanes; step *= 2) {
    for (int i = 0; i < kLanes / 2; ++i) {
      riffle(rows[i], rows[i + kLanes / 2], riffled[2 * i], riffled[2 * i + 1]);
    }
    for (int i = 0; i < kLanes; ++i) rows[i] = riffled[i];
  }
  for (int i = 0; i < kLanes; ++i) store(to + i * to_pitch, rows[i]);
}

void transpose(const float* from, int64_t from_pitch, float* to, int64_t to_pitch, int64_t rows,
               int64_t columns) {
  const int64_t whole_rows = rows / kLanes * kLanes, whole_columns = columns / kLanes * kLanes;
  for (int64_t c = 0; c < whole_columns; c += kLanes) {
    for (int64_t r = 0; r < whole_rows; r += kLanes) {
      transpose_square(from + r * from_pitch + c, from_pitch, to + c * to_pitch + r, to_pitch);
    }
  }
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = c < whole_columns ? whole_rows : 0; r < rows; ++r) {
      to[c * to_pitch + r] = from[r * from_pitch + c];
    }
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
