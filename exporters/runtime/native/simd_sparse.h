// Products of a tile: rows of T floats times the weights of an output channel that are not zero.
#pragma once
#include "path.h"
#include "simd.h"
#include "simd_activation.h"
#include "simd_stage.h"

namespace wfpipe {
namespace {

constexpr int32_t kAhead = 8;    // output channels whose sums are fetched early
constexpr int kUnrolled = 4;      // weights between two looks at the end of their row
constexpr int32_t kLine = 16;    // floats of a cache line

// What a run of a chunk needs beside its weights.
struct Place {
  bool first, last;   // of a channel's chunks
  bool stream;        // store past the caches
  const float* soon;  // input that the next chunk reads, or null
  int32_t lines;      // of it to fetch for each channel
};

template <int R>
WFPIPE_INLINE void add(Vector* sums, const float* rows, const Entry& entry) {
  const Vector weight = splat(entry.weight);
  const float* row = rows + entry.row * static_cast<size_t>(R * kLanes);
  for (int r = 0; r < R; ++r) sums[r] += weight * load(row + r * kLanes);
}

// Add the products of a run of channels to their accumulators, which lie in the output.
template <int R>
const Entry* multiply(const float* rows, const Entry* entry, Run run, const int32_t* order,
                      const TileJob& job, Place& place) {
  constexpr int T = R * kLanes;
  for (int32_t i = 0; i < run.rows; ++i) {
    const int64_t m = order[i];
    float* output = job.output + m * T;
    const float* next = job.output + static_cast<int64_t>(order[i + kAhead]) * T;
    for (int f = 0; f < T && !place.stream; f += kLine) __builtin_prefetch(next + f, 1);
    if (place.last && job.residual) {
      const float* other = job.residual + (next - job.output);
      for (int f = 0; f < T; f += kLine) __builtin_prefetch(other + f, 0);
    }
    for (int32_t f = 0; f < place.lines; ++f, place.soon += kLine) {
      __builtin_prefetch(place.soon, 0, 2);
    }
    Vector sums[R];
    if (place.first) {
      const Vector bias = splat(job.bias[m]);
      for (int r = 0; r < R; ++r) sums[r] = bias;
    } else {
      for (int r = 0; r < R; ++r) sums[r] = load(output + r * kLanes);
    }
    const Entry* end = entry + run.count;
    for (; end - entry >= kUnrolled; entry += kUnrolled) {
      for (int k = 0; k < kUnrolled; ++k) add<R>(sums, rows, entry[k]);
    }
    for (; entry != end; ++entry) add<R>(sums, rows, *entry);
    if (place.last) {
      if (job.residual) {
        const float* residual = job.residual + m * T;
        for (int r = 0; r < R; ++r) sums[r] += load(residual + r * kLanes);
      }
      activate<R>(sums, job.activation);
    }
    if (place.stream) {
      for (int r = 0; r < R; ++r) stream(output + r * kLanes, sums[r]);
    } else {
      for (int r = 0; r < R; ++r) store(output + r * kLanes, sums[r]);
    }
  }
  return entry;
}

// The same where there is one position: a dot product per channel.
const Entry* dot(const float* rows, const Entry* entry, Run run, const int32_t* order,
                 const TileJob& job, Place& place) {
  for (int32_t i = 0; i < run.rows; ++i) {
    const int64_t m = order[i];
    float sums[4] = {place.first ? job.bias[m] : job.output[m], 0, 0, 0};
    const Entry* end = entry + run.count;
    for (; end - entry >= 4; entry += 4) {
      for (int k = 0; k < 4; ++k) sums[k] += entry[k].weight * rows[entry[k].row];
    }
    for (; entry != end; ++entry) sums[0] += entry->weight * rows[entry->row];
    float sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    if (place.last) {
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
                                  Place&);
const Multiply kMultiply[kMaxRegisters + 1] = {
    dot,         multiply<1>, multiply<2>, multiply<3>, multiply<4>,
    multiply<5>, multiply<6>, multiply<7>, multiply<8>};

// Have the input of the next chunk, or else of the next tile, fetched while this one is multiplied.
WFPIPE_INLINE void look_ahead(const Part& part, const TileJob& job, int32_t c, Place& place) {
  const Chunk& chunk = part.chunks[c];
  const Chunk& next = part.chunks[place.last ? 0 : c + 1];
  const int64_t tile = job.tile + (place.last ? 1 : 0);
  int32_t channels = 0;
  for (int32_t r = 0; r < chunk.run_count; ++r) channels += chunk.runs[r].rows;
  place.soon = job.input + tile * job.tile_floats + next.first_channel * static_cast<int64_t>(job.floats);
  place.lines = channels ? (next.rows * job.floats / kLine + channels - 1) / channels : 0;
}

// All chunks of a part at one tile; rows_of(chunk) gives a chunk's input rows.
template <class RowsOf>
WFPIPE_INLINE void multiply_chunks(const Part& part, const TileJob& job, const RowsOf& rows_of) {
  const Multiply run_of = kMultiply[job.floats / kLanes];
  for (int32_t c = 0; c < part.chunk_count; ++c) {
    const Chunk& chunk = part.chunks[c];
    const float* rows = rows_of(chunk);
    Place place = {c == 0, c + 1 == part.chunk_count, job.stream && part.chunk_count == 1,
                   nullptr, 0};
    if (!job.stage) look_ahead(part, job, c, place);
    const Entry* entry = chunk.entries;
    const int32_t* order = chunk.order;
    for (int32_t r = 0; r < chunk.run_count; ++r) {
      entry = run_of(rows, entry, chunk.runs[r], order, job, place);
      order += chunk.runs[r].rows;
    }
  }
  if (job.stream) streamed();
}

__attribute__((noinline)) void convolve_packed(const Part& part, const TileJob& job) {
  alignas(64) float scratch[kScratch];
  Staging staging(job);
  const Pack pack_rows = kPack[job.floats / kLanes];
  multiply_chunks(part, job, [&](const Chunk& chunk) {
    pack_rows(chunk, job, staging, scratch);
    return scratch;
  });
}

// All output channels of a part at one tile.
void convolve(const Part& part, const TileJob& job) {
  if (job.stage) return convolve_packed(part, job);
  const float* tile = job.input + job.tile * job.tile_floats;
  multiply_chunks(part, job, [&](const Chunk& chunk) {
    return tile + chunk.first_channel * static_cast<int64_t>(job.floats);
  });
}

}  // namespace
}  // namespace wfpipe
