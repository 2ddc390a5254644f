// A node's attributes and tensors, as ONNX Runtime hands them over, checked for type and rank.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "fault.h"
#include "ort_abi.h"
#include "parallel.h"

namespace wfpipe {

constexpr size_t kMaxRank = 8;

// A tensor that lives somewhere else; no data where the input is absent.
struct Tensor {
  const void* data = nullptr;
  int type = kAny;
  size_t rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t count = 0;  // of elements

  const float* floats() const { return static_cast<const float*>(data); }
};

// What a node says: asked once, when its kernel is made.
class Node {
 public:
  Node(const OrtApi* api, const OrtKernelInfo* info) : api_(api), info_(info) {}
  const OrtApi* api() const { return api_; }

  int64_t integer(const char* name, int64_t fallback) const;
  float number(const char* name, float fallback) const;
  std::string word(const char* name, const char* fallback) const;
  std::vector<int64_t> integers(const char* name) const;  // empty where it is missing
  Tensor constant(size_t input) const;                    // no data where it is none

 private:
  bool missing(OrtStatus* status) const;

  const OrtApi* api_;
  const OrtKernelInfo* info_;
};

// The tensors of one run, and the session's threads.
class Context : public Parallel {
 public:
  Context(const OrtApi* api, OrtKernelContext* context) : api_(api), context_(context) {}

  Tensor input(size_t index, int type, const char* name) const;  // must be there
  Tensor optional(size_t index, int type, const char* name) const;
  float* output(const int64_t* shape, size_t rank) const;
  void each(size_t items, void (*work)(void*, size_t), void* user) const override;

 private:
  const OrtApi* api_;
  OrtKernelContext* context_;
};

}  // namespace wfpipe
