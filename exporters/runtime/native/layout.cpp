// Into tiles and out of them.
#include <cstring>

#include "kernel.h"
#include "path.h"
#include "tiling.h"

namespace wfpipe {
namespace {

bool channels_last(const Node& node) {
  const int64_t value = node.integer("channels_last", 0);
  require(value == 0 || value == 1, "channels_last must be 0 or 1");
  return value == 1;
}

// [N, C, positions] -> [N, tiles, C, T], a tile per call.
void cut(const float* x, float* y, int64_t channels, const Tiling& to, int64_t item) {
  const int64_t tile = item % to.tiles, floats = to.floats;
  const int64_t left = to.positions - tile * floats;
  const size_t count = static_cast<size_t>(left < floats ? left : floats);
  const float* from = x + item / to.tiles * channels * to.positions + tile * floats;
  float* row = y + item * channels * floats;
  for (int64_t c = 0; c < channels; ++c, from += to.positions, row += floats) {
    std::memcpy(row, from, count * sizeof(float));
    std::memset(row + count, 0, (floats - count) * sizeof(float));
  }
}

// [N, tiles, C, T] -> [N, C, positions], a tile per call.
void paste(const float* x, float* y, int64_t channels, const Tiling& of, int64_t item) {
  const int64_t tile = item % of.tiles, floats = of.floats;
  const int64_t left = of.positions - tile * floats;
  const size_t count = static_cast<size_t>(left < floats ? left : floats);
  float* to = y + item / of.tiles * channels * of.positions + tile * floats;
  const float* row = x + item * channels * floats;
  for (int64_t c = 0; c < channels; ++c, to += of.positions, row += floats) {
    std::memcpy(to, row, count * sizeof(float));
  }
}

class ToTiles : public Kernel {
 public:
  explicit ToTiles(const Node& node) : last_(channels_last(node)) {}

  void run(const Context& context) const override {
    const Tensor x = context.input(0, kFloat, "X");
    require(x.rank >= (last_ ? 1u : 2u), "X has too few dimensions");
    require(last_ || x.rank <= 4, "X has more than two spatial dimensions");
    const int64_t channels = x.shape[last_ ? x.rank - 1 : 1];
    int64_t images = last_ ? 1 : x.shape[0], positions = 1;
    for (size_t i = last_ ? 0 : 2; i < x.rank - (last_ ? 1 : 0); ++i) positions *= x.shape[i];
    if (positions == 0) images = 0;
    const Tiling to = tiling(positions ? positions : 1);
    const int64_t shape[] = {images, to.tiles, channels, to.floats};
    float* y = context.output(shape, 4);
    const float* from = x.floats();
    context.over(static_cast<size_t>(images * to.tiles), [&](size_t item) {
      const int64_t i = static_cast<int64_t>(item);
      if (last_) return turn(from, y, channels, to, i);
      cut(from, y, channels, to, i);
    });
  }

 private:
  static void turn(const float* x, float* y, int64_t channels, const Tiling& to, int64_t tile) {
    const int64_t floats = to.floats, left = to.positions - tile * floats;
    const int64_t count = left < floats ? left : floats;
    float* rows = y + tile * channels * floats;
    path().transpose(x + tile * floats * channels, channels, rows, floats, count, channels);
    for (int64_t c = 0; count < floats && c < channels; ++c) {
      std::memset(rows + c * floats + count, 0, (floats - count) * sizeof(float));
    }
  }

  bool last_;
};

class FromTiles : public Kernel {
 public:
  explicit FromTiles(const Node& node)
      : last_(channels_last(node)), spatial_(node.integers("spatial")) {
    require(spatial_.size() <= 2, "spatial has more than two entries");
    for (int64_t extent : spatial_) {
      require(extent >= 1 && extent <= (1 << 24), "spatial is out of range");
    }
  }

  void run(const Context& context) const override {
    const Tensor x = context.input(0, kFloat, "X");
    require(x.rank == 4, "X is not in tiles");
    const int64_t channels = x.shape[2];
    int64_t shape[kMaxRank], positions = 1, images = x.shape[0];
    size_t rank = 0;
    if (last_) {
      rank = wanted(context, shape, &positions);
      shape[rank - 1] = channels;
      require(positions == 0 || images == 1, "X holds more than one image");
      if (positions == 0) images = 0;
    } else {
      shape[rank++] = images;
      shape[rank++] = channels;
      for (int64_t extent : spatial_) positions *= shape[rank++] = extent;
    }
    const Tiling of = tiling(positions ? positions : 1);
    require(images == 0 || (x.shape[1] == of.tiles && x.shape[3] == of.floats),
            "X has not the tiles of the shape that is wanted");
    float* y = context.output(shape, rank);
    const float* from = x.floats();
    context.over(static_cast<size_t>(images * of.tiles), [&](size_t item) {
      const int64_t i = static_cast<int64_t>(item);
      if (last_) return turn(from, y, channels, of, i);
      paste(from, y, channels, of, i);
    });
  }

 private:
  // The leading extents of the shape that the second input holds; returns its rank.
  static size_t wanted(const Context& context, int64_t* shape, int64_t* positions) {
    const Tensor given = context.input(1, kInt64, "shape");
    require(given.rank == 1 && given.count >= 1 && given.count <= static_cast<int64_t>(kMaxRank),
            "shape must be a list of 1 to 8 extents");
    const auto* extents = static_cast<const int64_t*>(given.data);
    for (int64_t i = 0; i + 1 < given.count; ++i) {
      shape[i] = extents[i];
      require(shape[i] >= 0 && (shape[i] == 0 || *positions < (int64_t{1} << 31) / shape[i]),
              "shape does not fit");
      *positions *= shape[i];
    }
    return static_cast<size_t>(given.count);
  }

  static void turn(const float* x, float* y, int64_t channels, const Tiling& of, int64_t tile) {
    const int64_t floats = of.floats, left = of.positions - tile * floats;
    path().transpose(x + tile * channels * floats, floats, y + tile * floats * channels, channels,
                     channels, left < floats ? left : floats);
  }

  bool last_;
  std::vector<int64_t> spatial_;
};

}  // namespace

std::unique_ptr<Kernel> make_to_tiles(const Node& node) {
  return std::make_unique<ToTiles>(node);
}

std::unique_ptr<Kernel> make_from_tiles(const Node& node) {
  return std::make_unique<FromTiles>(node);
}

}  // namespace wfpipe
