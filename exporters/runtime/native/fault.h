// What is wrong with a model or its input, in one sentence; becomes a status of ONNX Runtime.
#pragma once
#include <stdexcept>
#include <string>

namespace wfpipe {

struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool holds, const std::string& rule) {
  if (!holds) throw Fault(rule);
}

}  // namespace wfpipe
