#include "ort_node.h"

#include <limits>

namespace wfpipe {
namespace {

void check(const OrtApi* api, OrtStatus* status) {
  if (!status) return;
  std::string message = GetErrorMessage::of(api)(status);
  ReleaseStatus::of(api)(status);
  throw Fault(message);
}

struct Info {  // released however the scope is left
  const OrtApi* api;
  OrtTensorTypeAndShapeInfo* info = nullptr;
  ~Info() {
    if (info) ReleaseTensorTypeAndShapeInfo::of(api)(info);
  }
};

Tensor tensor(const OrtApi* api, const OrtValue* value) {
  Tensor result;
  Info info{api};
  check(api, GetTensorTypeAndShape::of(api)(value, &info.info));
  check(api, GetTensorElementType::of(api)(info.info, &result.type));
  check(api, GetDimensionsCount::of(api)(info.info, &result.rank));
  require(result.rank <= kMaxRank, "a tensor has more than 8 dimensions");
  check(api, GetDimensions::of(api)(info.info, result.shape, result.rank));
  result.count = 1;
  for (size_t i = 0; i < result.rank; ++i) {
    const int64_t extent = result.shape[i];
    require(extent >= 0 && (extent == 0 ||
                            result.count <= std::numeric_limits<int64_t>::max() / extent),
            "a tensor's shape is none");
    result.count *= extent;
  }
  void* data = nullptr;
  check(api, GetTensorMutableData::of(api)(const_cast<OrtValue*>(value), &data));
  static const char nothing = 0;
  result.data = data ? data : &nothing;  // an empty tensor is there all the same
  return result;
}

}  // namespace

bool Node::missing(OrtStatus* status) const {
  if (status) ReleaseStatus::of(api_)(status);
  return status != nullptr;
}

int64_t Node::integer(const char* name, int64_t fallback) const {
  int64_t value = 0;
  return missing(GetAttributeInt::of(api_)(info_, name, &value)) ? fallback : value;
}

float Node::number(const char* name, float fallback) const {
  float value = 0;
  return missing(GetAttributeFloat::of(api_)(info_, name, &value)) ? fallback : value;
}

std::string Node::word(const char* name, const char* fallback) const {
  size_t size = 0;
  if (missing(GetAttributeString::of(api_)(info_, name, nullptr, &size)) || size == 0) {
    return fallback;
  }
  require(size <= 64, std::string(name) + " is longer than any known word");
  std::string text(size, '\0');
  if (missing(GetAttributeString::of(api_)(info_, name, &text[0], &size))) return fallback;
  return text.c_str();  // up to the zero that it ends with
}

std::vector<int64_t> Node::integers(const char* name) const {
  size_t size = 0;
  if (missing(GetAttributeInts::of(api_)(info_, name, nullptr, &size)) || size == 0) return {};
  require(size <= kMaxRank, std::string(name) + " has more than 8 entries");
  std::vector<int64_t> values(size);
  if (missing(GetAttributeInts::of(api_)(info_, name, values.data(), &size))) return {};
  return values;
}

Tensor Node::constant(size_t input) const {
  int constant = 0;
  const OrtValue* value = nullptr;
  if (missing(GetConstantInput::of(api_)(info_, input, &constant, &value)) || !constant ||
      !value) {
    return {};
  }
  return tensor(api_, value);
}

Tensor Context::optional(size_t index, int type, const char* name) const {
  size_t count = 0;
  check(api_, GetInputCount::of(api_)(context_, &count));
  if (index >= count) return {};
  const OrtValue* value = nullptr;
  check(api_, GetInput::of(api_)(context_, index, &value));
  if (!value) return {};
  Tensor result = tensor(api_, value);
  require(result.type == type, std::string(name) + " is of another type than the operator takes");
  return result;
}

Tensor Context::input(size_t index, int type, const char* name) const {
  Tensor result = optional(index, type, name);
  require(result.data != nullptr, std::string(name) + " is missing");
  return result;
}

float* Context::output(const int64_t* shape, size_t rank) const {
  OrtValue* value = nullptr;
  check(api_, GetOutput::of(api_)(context_, 0, shape, rank, &value));
  void* data = nullptr;
  check(api_, GetTensorMutableData::of(api_)(value, &data));
  return static_cast<float*>(data);
}

void Context::each(size_t items, void (*work)(void*, size_t), void* user) const {
  if (items) check(api_, ParallelFor::of(api_)(context_, work, items, 0, user));
}

}  // namespace wfpipe
