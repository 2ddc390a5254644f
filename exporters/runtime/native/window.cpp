#include "window.h"

namespace wfpipe {
namespace {

constexpr int64_t kMaxExtent = 1 << 24;    // of an image
constexpr int64_t kMaxKernel = 1 << 12;    // taps along an axis
constexpr int64_t kMaxTaps = 1 << 14;

int64_t entry(const std::vector<int64_t>& list, size_t i, int64_t fallback, int64_t low,
              int64_t high, const char* name) {
  if (list.empty()) return fallback;
  require(list[i] >= low && list[i] <= high, std::string(name) + " is out of range");
  return list[i];
}

Axis axis(const WindowSpec& spec, size_t i, size_t rank) {
  Axis a;
  a.kernel = entry(spec.kernel, i, 1, 1, kMaxKernel, "kernel_shape");
  a.stride = entry(spec.strides, i, 1, 1, kMaxKernel, "strides");
  a.begin = entry(spec.pads, i, 0, 0, kMaxExtent, "pads");
  a.end = entry(spec.pads, i + rank, 0, 0, kMaxExtent, "pads");
  a.dilation = entry(spec.dilations, i, 1, 1, kMaxKernel, "dilations");
  a.input = entry(spec.input, i, 1, 1, kMaxExtent, "input_size");
  const int64_t room = a.input + a.begin + a.end - a.dilation * (a.kernel - 1) - 1;
  require(room >= 0, "the kernel is larger than the padded input");
  a.output = room / a.stride + 1;
  return a;
}

}  // namespace

Window window(const WindowSpec& spec) {
  const size_t rank = spec.kernel.size();
  require(rank == 1 || rank == 2, "kernel_shape must have one or two entries");
  const auto fits = [](const std::vector<int64_t>& list, size_t size, const char* name) {
    require(list.empty() || list.size() == size,
            std::string(name) + " has another number of entries than kernel_shape asks for");
  };
  fits(spec.strides, rank, "strides");
  fits(spec.pads, 2 * rank, "pads");
  fits(spec.dilations, rank, "dilations");
  fits(spec.input, rank, "input_size");
  Window result;
  if (rank == 2) result.y = axis(spec, 0, rank);
  result.x = axis(spec, rank - 1, rank);
  result.sized = !spec.input.empty();
  require(result.sized || result.pointwise(), "input_size is missing");
  require(result.inputs() <= kMaxPositions && result.outputs() <= kMaxPositions,
          "the image is larger than 2^26 positions");
  require(result.taps() <= kMaxTaps, "the kernel has more than 2^14 positions");
  return result;
}

}  // namespace wfpipe
