// Which processor path runs: chosen once, when the library is loaded.
#include <cstdlib>
#include <cstring>

#include "path.h"

namespace wfpipe {

#define WFPIPE_PATH(name) extern const Path path_##name;
WFPIPE_PATHS
#undef WFPIPE_PATH

namespace {

bool runs_here(const Path& path) {
#if defined(__x86_64__)
  const auto is = [&path](const char* name) { return std::strcmp(path.name, name) == 0; };
  __builtin_cpu_init();
  if (is("avx2") || is("wide")) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  }
  if (is("avx512")) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  }
#endif
  return true;
}

const Path& chosen() {
  const Path* const paths[] = {
#define WFPIPE_PATH(name) &path_##name,
      WFPIPE_PATHS
#undef WFPIPE_PATH
  };
  const char* wanted = std::getenv("WFPIPE_KERNELS");
  const Path* best = paths[0];
  for (const Path* each : paths) {
    if (!runs_here(*each)) continue;
    if (wanted && std::strcmp(wanted, each->name) == 0) return *each;
    if (std::strcmp(each->name, "wide") != 0) best = each;  // which is for tests alone
  }
  return *best;
}

}  // namespace

const Path& path() {
  static const Path& best = chosen();
  return best;
}

}  // namespace wfpipe
