// The window of a convolution or pooling over an image of one or two dimensions.
#pragma once
#include <cstdint>
#include <vector>

#include "fault.h"

namespace wfpipe {

constexpr int64_t kMaxPositions = 1 << 26;  // of an image

struct Axis {
  int64_t input = 1, output = 1, kernel = 1, stride = 1, begin = 0, end = 0, dilation = 1;

  bool pointwise() const { return kernel == 1 && stride == 1 && begin == 0 && end == 0; }
};

struct WindowSpec {  // as ONNX writes them; empty ones are ONNX's defaults
  std::vector<int64_t> kernel, strides, pads, dilations, input;
};

struct Window {
  Axis y, x;         // one dimension is a row: y is 1
  bool sized;        // false: any number of positions, each on its own
  int64_t taps() const { return y.kernel * x.kernel; }
  bool pointwise() const { return y.pointwise() && x.pointwise(); }
  int64_t inputs() const { return y.input * x.input; }
  int64_t outputs() const { return y.output * x.output; }
};

// The window that a node describes; a Fault where it breaks a rule or its sizes cannot fit.
Window window(const WindowSpec& spec);

}  // namespace wfpipe
