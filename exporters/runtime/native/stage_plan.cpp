#include "stage_plan.h"

#include <algorithm>
#include <limits>

namespace wfpipe {
namespace {

constexpr size_t kMaxSteps = 1 << 22;
constexpr size_t kMaxLaneList = 1 << 24;
constexpr int64_t kMaxMasks = 1 << 20;

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
int64_t ceil_div(int64_t a, int64_t b) { return -floor_div(-a, b); }

int64_t origin_of(const Axis& axis, int64_t tap) { return tap * axis.dilation - axis.begin; }

// Numbers x for which x * stride + origin lies in the image.
int64_t first_inside(const Axis& axis, int64_t origin) {
  return ceil_div(-origin, axis.stride);
}
int64_t end_inside(const Axis& axis, int64_t origin) {
  return ceil_div(axis.input - origin, axis.stride);
}

}  // namespace

StagePlan::StagePlan(const Window& window, const Tiling& in, const Tiling& out, float fill)
    : in_(in), out_(out), fill_(fill) {
  if (!(shares(window) && arrange(window, true))) {
    require(arrange(window, false), "the window is too large for the kernels");
  }
  first_.reserve(static_cast<size_t>(out.tiles) + 1);
  first_.push_back(0);
  for (int64_t tile = 0; tile < out.tiles; ++tile) {
    steps_of(window, tile);
    require(steps_.size() < kMaxSteps && lanes_.size() < kMaxLaneList, "the window has too many parts for the kernels");
    first_.push_back(static_cast<int32_t>(steps_.size()));
  }
}

Stage StagePlan::view() const {
  const bool direct = taps_.size() == 1 && taps_[0].mask < 0 && taps_[0].from == 0;
  return {steps_.data(), first_.data(), lanes_.data(), taps_.data(), masks_.data(),
          static_cast<int32_t>(mask_size_), static_cast<int32_t>(period_), static_cast<int32_t>(size_), direct, fill_};
}

// Whether the taps of a parity can share an array: no column may be needed that is right of the
// output's width.
bool StagePlan::shares(const Window& window) const {
  const Axis& x = window.x;
  for (int64_t k = 0; k < x.kernel; ++k) {
    const int64_t origin = origin_of(x, k), shift = floor_div(origin, x.stride);
    if (shift > 0 && end_inside(x, origin - shift * x.stride) > x.output) return false;
  }
  return x.stride <= 2 && x.kernel * (x.output + out_.floats) <= kMaxMasks;
}

// Choose the arrays and find every tap in one; false where they do not fit.
bool StagePlan::arrange(const Window& window, bool shared) {
  const Axis &y = window.y, &x = window.x;
  origins_.clear(), arrays_.clear(), taps_.clear(), masks_.clear();
  period_ = x.output;
  mask_size_ = x.output + out_.floats;
  struct Place {
    size_t array;
    int64_t shift;
  };
  std::vector<Place> places;
  std::vector<int32_t> masks;
  for (int64_t k = 0; k < x.kernel && shared; ++k) {
    const int64_t origin = origin_of(x, k), shift = floor_div(origin, x.stride);
    masks.push_back(mask(window, shift, end_inside(x, origin - shift * x.stride)));
  }
  for (int64_t ky = 0; ky < y.kernel; ++ky) {
    for (int64_t kx = 0; kx < x.kernel; ++kx) {
      const int64_t rows = floor_div(origin_of(y, ky), y.stride);
      const int64_t shift = shared ? floor_div(origin_of(x, kx), x.stride) : 0;
      const int64_t origin = origin_of(x, kx) - shift * x.stride;
      const int64_t phase = origin_of(y, ky) - rows * y.stride;
      const int64_t whole = rows * x.output + shift;
      const auto column = std::find(origins_.begin(), origins_.end(), origin);
      const size_t at = static_cast<size_t>(column - origins_.begin());
      if (column == origins_.end()) origins_.push_back(origin);
      const auto array = std::find_if(arrays_.begin(), arrays_.end(), [&](const Array& a) {
        return a.phase == phase && a.column == at;
      });
      places.push_back({static_cast<size_t>(array - arrays_.begin()), whole});
      if (array == arrays_.end()) {
        arrays_.push_back({phase, at, whole, whole, 0});
      } else {
        array->low = std::min(array->low, whole);
        array->high = std::max(array->high, whole);
      }
      taps_.push_back({0, shared ? masks[static_cast<size_t>(kx)] : -1});
    }
  }
  size_ = 0;
  int64_t widest = 0;  // with the longest tile of any processor: a model fits on all of them or none
  for (Array& array : arrays_) {
    const int64_t apart = (array.low % kMaxLanes + kMaxLanes) % kMaxLanes + array.high - array.low;
    widest += (apart + kMaxRegisters * kMaxLanes + kMaxLanes - 1) / kMaxLanes * kMaxLanes;
    array.place = size_ + (array.low % kMaxLanes + kMaxLanes) % kMaxLanes;  // shift 0 is aligned
    size_ = array.place + out_.floats + array.high - array.low;
    size_ = (size_ + kMaxLanes - 1) / kMaxLanes * kMaxLanes;
  }
  if (widest > kStage) return false;
  for (size_t t = 0; t < taps_.size(); ++t) {
    const Array& array = arrays_[places[t].array];
    taps_[t].from = static_cast<int32_t>(array.place + places[t].shift - array.low);
  }
  return true;
}

// The mask of a column of the window: where x + shift lies in [0, valid).
int32_t StagePlan::mask(const Window& window, int64_t shift, int64_t valid) {
  const int64_t width = window.x.output;
  if (shift >= 0 && width + shift <= valid) return -1;
  const int64_t index = static_cast<int64_t>(masks_.size()) / mask_size_;
  for (int64_t i = 0; i < mask_size_; ++i) {
    const int64_t x = i % width + shift;
    masks_.push_back(x >= 0 && x < valid ? ~uint32_t{0} : 0);
  }
  return static_cast<int32_t>(index);
}

void StagePlan::steps_of(const Window& window, int64_t tile) {
  const Axis &y = window.y, &x = window.x;
  const int64_t first = tile * out_.floats;
  if (x.stride == 1 && y.stride == 1 && x.input == x.output && origins_.size() == 1 &&
      origins_[0] == 0) {
    return straight(window, arrays_[0], first);
  }
  for (const Array& array : arrays_) by_rows(window, array, first);
}

// Positions of the input are those of the array: one stretch.
void StagePlan::straight(const Window& window, const Array& array, int64_t first) {
  const int64_t low = first + array.low, high = first + out_.floats + array.high;
  const int64_t from = std::min(std::max<int64_t>(low, 0), high);
  const int64_t to = std::max(std::min(high, window.inputs()), from);
  fill(from - low, array.place);
  take(from, 1, to - from, array.place + from - low);
  fill(high - to, array.place + to - low);
}

// Row after row: nothing left of the image, the image, nothing right of it.
void StagePlan::by_rows(const Window& window, const Array& array, int64_t first) {
  const Axis &y = window.y, &x = window.x;
  const int64_t width = x.output, origin = origins_[array.column];
  const int64_t low = first + array.low, high = first + out_.floats + array.high;
  for (int64_t r = floor_div(low, width); r * width < high; ++r) {
    const int64_t line = r * y.stride + array.phase;
    const bool inside = line >= 0 && line < y.input;
    const int64_t begin = std::max<int64_t>(low - r * width, 0);
    const int64_t end = std::min(high - r * width, width);
    const int64_t from = inside ? std::min(std::max(begin, first_inside(x, origin)), end) : end;
    const int64_t to = inside ? std::max(std::min(end, end_inside(x, origin)), from) : end;
    const int64_t place = array.place + r * width - low;
    fill(from - begin, place + begin);
    take(line * x.input + from * x.stride + origin, x.stride, to - from, place + from);
    fill(end - to, place + to);
  }
}

void StagePlan::fill(int64_t count, int64_t to) {
  if (count > 0) step(StageStep::fill, count, 0, 0, to);
}

// Input positions at equal distances, out of one tile after the other.
void StagePlan::take(int64_t position, int64_t stride, int64_t count, int64_t to) {
  while (count > 0) {
    const int64_t tile = position / in_.floats, lane = position % in_.floats;
    const int64_t here = std::min(count, (in_.floats - lane - 1) / stride + 1);
    if (stride == 1) {
      step(StageStep::copy, here, tile, lane, to);
    } else if (stride == 2 && here >= path().lanes) {
      step(lane % 2 ? StageStep::odds : StageStep::evens, here, tile, lane / 2 * 2, to);
    } else {
      gather(here, tile, lane, stride, to);
    }
    position += here * stride, count -= here, to += here;
  }
}

// Lanes at equal distances one by one, together with those before them where they follow these.
void StagePlan::gather(int64_t count, int64_t tile, int64_t lane, int64_t stride, int64_t to) {
  const bool more = steps_.size() > static_cast<size_t>(first_.back()) &&
                    steps_.back().kind == StageStep::gather && steps_.back().tile == tile &&
                    steps_.back().to + steps_.back().count == to;
  if (!more) step(StageStep::gather, 0, tile, static_cast<int64_t>(lanes_.size()), to);
  steps_.back().count += static_cast<int32_t>(count);
  for (int64_t i = 0; i < count; ++i) {
    lanes_.push_back(static_cast<uint16_t>(lane + i * stride));
  }
}

void StagePlan::step(StageStep::Kind kind, int64_t count, int64_t tile, int64_t from, int64_t to) {
  steps_.push_back({kind, static_cast<int32_t>(count), static_cast<int32_t>(tile),
                    static_cast<int32_t>(from), static_cast<int32_t>(to)});
}

}  // namespace wfpipe
