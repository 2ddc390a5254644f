// What is compiled once per processor path: plain structures and functions on plain pointers, and
// no inline function that the linker could take from one path for another.
#pragma once
#include <cstddef>
#include <cstdint>

namespace wfpipe {

constexpr int kMaxRegisters = 8;       // of accumulators: a tile's floats are up to 8 vectors
constexpr int kMaxLanes = 16;          // floats of a vector on any path
constexpr int kMaxTile = kMaxRegisters * kMaxLanes;
constexpr int kScratch = 12 * 1024;    // floats on the stack for a chunk's packed rows
constexpr int kStage = 6 * 1024;       // floats on the stack for a channel's surroundings

enum class Act : int32_t { none, clamp, hardswish, hardsigmoid, sigmoid, silu, leaky, gelu };

struct Activation {
  Act kind = Act::none;
  float low = 0, high = 0;  // of clamp; the slope of leaky
};

// One step of laying a channel's surroundings of a tile out in the stage, floats counted.
struct StageStep {
  enum Kind : int32_t { copy, evens, odds, gather, fill };
  Kind kind;
  int32_t count;  // of floats written
  int32_t tile;   // of the input: where they come from
  int32_t from;   // lane of the first (odds: less one); gather: where Stage::lanes has them
  int32_t to;     // in the stage
};

// Where a tap of the window finds its input: at lane j, stage[from + j] where mask is set.
struct Tap {
  int32_t from;
  int32_t mask;  // -1: everywhere
};

// How the surroundings of a tile are staged, and where its taps find them.
struct Stage {
  const StageStep* steps;
  const int32_t* first;   // [tiles + 1], the steps of a tile
  const uint16_t* lanes;
  const Tap* taps;
  const uint32_t* masks;  // [masks, mask_size]: lane j of a tile at p is [p % period + j]
  int32_t mask_size, period;
  int32_t size;           // of all that is staged
  bool direct;            // the one tap's row is all there is: nothing to stage
  float fill;             // what lies outside of the image
};

// A weight and its input row in the chunk; six bytes, since weights are streamed.
struct __attribute__((packed)) Entry {
  float weight;
  uint16_t row;
};

// Output channels in succession that have equally many weights in a chunk.
struct Run {
  int32_t count, rows;
};

// Taps of a channel that a chunk uses; each makes one packed row.
struct Packed {
  int32_t channel, taps;
};

// Input rows that fit into the first cache together, and all weights of a part that meet them.
struct Chunk {
  int32_t first_channel, rows;  // rows are channels from here on, unless packed
  int32_t packed_count, run_count;
  const Packed* packed;
  const uint16_t* taps;
  const Run* runs;
  const int32_t* order;  // output channel of each row of the runs
  const Entry* entries;
};

struct Part {
  const Chunk* chunks;
  int32_t chunk_count;
};

// A tile of a convolution's output.
struct TileJob {
  const float* input;     // the image's tiles
  float* output;          // the tile, [M, T]
  const float* residual;  // likewise, or null
  const float* bias;      // [M]
  const Stage* stage;     // null: the input tile is read in place
  int64_t tile;           // which
  int64_t channel_floats, tile_floats;  // of the input: T, C * T
  int32_t floats;         // T
  int32_t mask_start;     // of the tile in a mask
  bool stream;            // the output is too large for the caches, and its vectors are aligned
  Activation activation;
};

// A depthwise convolution's or pooling's tile, for some of its channels.
struct WindowJob {
  const float* input;
  float* output;
  const float* residual;
  const float* bias;
  const float* weights;   // [C, taps]
  const float* share;     // [T] of average pooling: what a sum is multiplied by
  const Stage* stage;
  int64_t tile;
  int64_t channel_floats, tile_floats;
  int32_t floats, mask_start, rows, columns;  // of the window
  int32_t first_channel, last_channel;
  Activation activation;
};

struct Path {
  const char* name;
  int32_t lanes;
  void (*convolve)(const Part&, const TileJob&);
  void (*depthwise)(const WindowJob&);
  void (*pool_max)(const WindowJob&);
  void (*pool_average)(const WindowJob&);
  // to[c * to_pitch + r] = from[r * from_pitch + c]
  void (*transpose)(const float* from, int64_t from_pitch, float* to, int64_t to_pitch,
                    int64_t rows, int64_t columns);
  float (*sum)(const float* from, int64_t count);
};

// The best path that this processor has, or the one that WFPIPE_KERNELS names.
const Path& path();

}  // namespace wfpipe
