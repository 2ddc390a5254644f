// The operators as ONNX Runtime sees them, and the library's entry points.
#include <exception>
#include <new>

#include "kernel.h"
#include "path.h"

#if defined(_WIN32)
#define WFPIPE_EXPORT extern "C" __declspec(dllexport)
#else
#define WFPIPE_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace wfpipe {
namespace {

struct Input {
  int type;
  int characteristic;
};

struct Operator : OrtCustomOp {
  const char* name;
  std::unique_ptr<Kernel> (*make)(const Node&);
  size_t inputs;
  Input input[6];
};

struct Made {  // a kernel, and what its runs need to answer
  const OrtApi* api;
  const char* name;
  std::unique_ptr<Kernel> kernel;
};

OrtStatus* status(const OrtApi* api, const char* name, const char* rule) noexcept {
  try {
    const std::string text = std::string("wfpipe ") + name + ": " + rule;
    return CreateStatus::of(api)(kInvalidArgument, text.c_str());
  } catch (...) {
    return CreateStatus::of(api)(kFail, "wfpipe: out of memory");
  }
}

template <class Action>
OrtStatus* guarded(const OrtApi* api, const char* name, const Action& action) noexcept {
  try {
    action();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return status(api, name, "out of memory");
  } catch (const std::exception& problem) {
    return status(api, name, problem.what());
  } catch (...) {
    return status(api, name, "failed");
  }
}

const Operator* of(const OrtCustomOp* op) { return static_cast<const Operator*>(op); }

OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info,
                  void** kernel) noexcept {
  return guarded(api, of(op)->name, [&] {
    *kernel = new Made{api, of(op)->name, of(op)->make(Node(api, info))};
  });
}

OrtStatus* compute(void* kernel, OrtKernelContext* context) noexcept {
  const Made& made = *static_cast<const Made*>(kernel);
  return guarded(made.api, made.name, [&] { made.kernel->run(Context(made.api, context)); });
}

Operator make(const char* name, std::unique_ptr<Kernel> (*kernel)(const Node&),
              std::initializer_list<Input> inputs) {
  Operator op = {};
  op.version = kApiVersion;
  op.name = name;
  op.make = kernel;
  for (const Input& each : inputs) op.input[op.inputs++] = each;
  op.GetName = [](const OrtCustomOp* self) { return of(self)->name; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };  // CPU
  op.GetInputType = [](const OrtCustomOp* self, size_t i) { return of(self)->input[i].type; };
  op.GetInputTypeCount = [](const OrtCustomOp* self) { return of(self)->inputs; };
  op.GetOutputType = [](const OrtCustomOp*, size_t) -> int { return kFloat; };
  op.GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
  op.KernelDestroy = [](void* made) { delete static_cast<Made*>(made); };
  op.GetInputCharacteristic = [](const OrtCustomOp* self, size_t i) {
    return of(self)->input[i].characteristic;
  };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) -> int { return kRequired; };
  op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };
  op.CreateKernelV2 = create;
  op.KernelComputeV2 = compute;
  return op;
}

const Operator kOperators[] = {
    make("ToTiles", make_to_tiles, {{kFloat, kRequired}}),
    make("FromTiles", make_from_tiles, {{kFloat, kRequired}, {kInt64, kOptional}}),
    make("SparseConv", make_sparse_conv,
         {{kFloat, kRequired}, {kAny, kRequired}, {kUint8, kRequired}, {kInt32, kRequired},
          {kFloat, kOptional}, {kFloat, kOptional}}),
    make("TileDepthwise", make_depthwise,
         {{kFloat, kRequired}, {kFloat, kRequired}, {kFloat, kOptional}, {kFloat, kOptional}}),
    make("TilePool", make_pool, {{kFloat, kRequired}}),
    make("TileGlobalAverage", make_global_average, {{kFloat, kRequired}}),
};

// One domain serves every session: it must outlive them all, so it is never released.
OrtStatus* domain(const OrtApi* api, OrtCustomOpDomain** result) {
  OrtStatus* problem = CreateCustomOpDomain::of(api)("wfpipe", result);
  for (const Operator& op : kOperators) {
    if (!problem) problem = CustomOpDomain_Add::of(api)(*result, &op);
  }
  return problem;
}

}  // namespace
}  // namespace wfpipe

WFPIPE_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  using namespace wfpipe;
  const OrtApi* api = base->GetApi(kApiVersion);
  if (!api) return nullptr;  // older than 1.17: the model's operators will be unknown
  static OrtCustomOpDomain* shared = nullptr;
  static OrtStatus* const problem = domain(api, &shared);
  if (problem) return CreateStatus::of(api)(kFail, "wfpipe: the operators cannot be registered");
  return AddCustomOpDomain::of(api)(options, shared);
}

WFPIPE_EXPORT const char* wfpipe_kernels_path() { return wfpipe::path().name; }

WFPIPE_EXPORT const char* wfpipe_kernels_version() { return "1"; }
