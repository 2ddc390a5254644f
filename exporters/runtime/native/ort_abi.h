// The few entries of ONNX Runtime's C interface that are used, declared here because its headers
// need not be there. The interface is append-only: what stands at a place stays there.
#pragma once
#include <cstddef>
#include <cstdint>

extern "C" {
struct OrtStatus;
struct OrtSessionOptions;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtValue;
struct OrtCustomOpDomain;
struct OrtTensorTypeAndShapeInfo;
struct OrtApi;

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  int (*GetInputType)(const OrtCustomOp*, size_t);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  int (*GetOutputType)(const OrtCustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void*, OrtKernelContext*);
  void (*KernelDestroy)(void*);
  int (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void**);
  OrtStatus* (*KernelComputeV2)(void*, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, void*);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
  size_t (*GetMayInplace)(int**, int**);
  void (*ReleaseMayInplace)(int*, int*);
  size_t (*GetAliasMap)(int**, int**);
  void (*ReleaseAliasMap)(int*, int*);
};
static_assert(sizeof(OrtCustomOp) == 208, "the kernels are for 64 bits");
}

namespace wfpipe {

constexpr uint32_t kApiVersion = 17;  // of ONNX Runtime 1.17; every later one still has it

enum Type { kAny = 0, kFloat = 1, kUint8 = 2, kInt32 = 6, kInt64 = 7, kFloat16 = 10 };
enum Characteristic { kRequired = 0, kOptional = 1 };
enum Code { kFail = 1, kInvalidArgument = 2 };

// Ort<place, result(arguments...)>::of(api): the entry that stands at a place of OrtApi.
template <int Place, class Function>
struct Ort {
  static Function* of(const OrtApi* api) {
    return reinterpret_cast<Function* const*>(api)[Place];
  }
};

using CreateStatus = Ort<0, OrtStatus*(int, const char*)>;
using GetErrorMessage = Ort<2, const char*(const OrtStatus*)>;
using CreateCustomOpDomain = Ort<26, OrtStatus*(const char*, OrtCustomOpDomain**)>;
using CustomOpDomain_Add = Ort<27, OrtStatus*(OrtCustomOpDomain*, const OrtCustomOp*)>;
using AddCustomOpDomain = Ort<28, OrtStatus*(OrtSessionOptions*, OrtCustomOpDomain*)>;
using GetTensorMutableData = Ort<51, OrtStatus*(OrtValue*, void**)>;
using GetTensorElementType = Ort<60, OrtStatus*(const OrtTensorTypeAndShapeInfo*, int*)>;
using GetDimensionsCount = Ort<61, OrtStatus*(const OrtTensorTypeAndShapeInfo*, size_t*)>;
using GetDimensions = Ort<62, OrtStatus*(const OrtTensorTypeAndShapeInfo*, int64_t*, size_t)>;
using GetTensorTypeAndShape = Ort<65, OrtStatus*(const OrtValue*, OrtTensorTypeAndShapeInfo**)>;
using GetAttributeFloat = Ort<85, OrtStatus*(const OrtKernelInfo*, const char*, float*)>;
using GetAttributeInt = Ort<86, OrtStatus*(const OrtKernelInfo*, const char*, int64_t*)>;
using GetAttributeString = Ort<87, OrtStatus*(const OrtKernelInfo*, const char*, char*, size_t*)>;
using GetInputCount = Ort<88, OrtStatus*(const OrtKernelContext*, size_t*)>;
using GetInput = Ort<90, OrtStatus*(const OrtKernelContext*, size_t, const OrtValue**)>;
using GetOutput =
    Ort<91, OrtStatus*(OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**)>;
using ReleaseStatus = Ort<93, void(OrtStatus*)>;
using ReleaseTensorTypeAndShapeInfo = Ort<99, void(OrtTensorTypeAndShapeInfo*)>;
using GetAttributeInts = Ort<163, OrtStatus*(const OrtKernelInfo*, const char*, int64_t*, size_t*)>;
using GetConstantInput =
    Ort<249, OrtStatus*(const OrtKernelInfo*, size_t, int*, const OrtValue**)>;
using ParallelFor = Ort<274, OrtStatus*(const OrtKernelContext*, void (*)(void*, size_t), size_t,
                                        size_t, void*)>;

}  // namespace wfpipe
