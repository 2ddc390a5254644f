// Products of a tile: rows of T floats times the weights of an output channel that are not zero.
#pragma once
#include "path.h"
#include "simd.h"
#include "simd_activation.h"
#include "simd_stage.h"

namespace wfpipe {
namespace {

struct Ends {  // what happens at a channel's first and last chunk
  bool first, last;
};

// Add the products of a run of channels to their accumulators, which lie in the output.
template <int R>
const Entry* multiply(const float* rows, const Entry* entry, Run run, const int32_t* order,
                      const TileJob& job, Ends ends) {
  constexpr int T = R * kLanes;
  for (int32_t i = 0; i < run.rows; ++i) {
    const int64_t m = order[i];
    float* output = job.output + m * T;
    Vector sums[R];
    if (ends.first) {
      const Vector bias = splat(job.bias[m]);
      for (int r = 0; r < R; ++r) sums[r] = bias;
    } else {
      for (int r = 0; r < R; ++r) sums[r] = load(output + r * kLanes);
    }
    for (const Entry* end = entry + run.count; entry != end; ++entry) {
      const Vector weight = splat(entry->weight);
      const float* row = rows + entry->row * static_cast<size_t>(T);
      for (int r = 0; r < R; ++r) sums[r] += weight * load(row + r * kLanes);
    }
    if (ends.last) {
      if (job.residual) {
        const float* residual = job.residual + m * T;
        for (int r = 0; r < R; ++r) sums[r] += load(residual + r * kLanes);
      }
      activate<R>(sums, job.activation);
    }
    for (int r = 0; r < R; ++r) store(output + r * kLanes, sums[r]);
  }
  return entry;
}

// The same where there is one position: a dot product per channel.
const Entry* dot(const float* rows, const Entry* entry, Run run, const int32_t* order,
                 const TileJob& job, Ends ends) {
  for (int32_t i = 0; i < run.rows; ++i) {
    const int64_t m = order[i];
    float sums[4] = {ends.first ? job.bias[m] : job.output[m], 0, 0, 0};
    const Entry* end = entry + run.count;
    for (; end - entry >= 4; entry += 4) {
      for (int k = 0; k < 4; ++k) sums[k] += entry[k].weight * rows[entry[k].row];
    }
    for (; entry != end; ++entry) sums[0] += entry->weight * rows[entry->row];
    float sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    if (ends.last) {
      if (job.residual) sum += job.residual[m];
      Vector one[1] = {splat(sum)};
      activate<1>(one, job.activation);
      sum = one[0][0];
    }
    job.output[m] = sum;
  }
  return entry;
}

using Multiply = const Entry* (*)(const float*, const Entry*, Run, const int32_t*, const TileJob&,
                                  Ends);
const Multiply kMultiply[kMaxRegisters + 1] = {
    dot,         multiply<1>, multiply<2>, multiply<3>, multiply<4>,
    multiply<5>, multiply<6>, multiply<7>, multiply<8>};

// All output channels of a part, at one tile.
void convolve(const Part& part, const TileJob& job) {
  alignas(64) float scratch[kScratch];
  const Multiply run_of = kMultiply[job.floats / kLanes];
  for (int32_t c = 0; c < part.chunk_count; ++c) {
    const Chunk& chunk = part.chunks[c];
    const float* rows = job.input + job.tile * job.tile_floats +
                        chunk.first_channel * static_cast<int64_t>(job.floats);
    if (job.stage) {
      pack(chunk, job, scratch);
      rows = scratch;
    }
    const Ends ends = {c == 0, c + 1 == part.chunk_count};
    const Entry* entry = chunk.entries;
    const int32_t* order = chunk.order;
    for (int32_t r = 0; r < chunk.run_count; ++r) {
      entry = run_of(rows, entry, chunk.runs[r], order, job, ends);
      order += chunk.runs[r].rows;
    }
  }
}

}  // namespace
}  // namespace wfpipe
