// Which processor path runs: chosen once, when the library is loaded.
#include <cstdlib>
#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "path.h"

namespace wfpipe {

#define WFPIPE_PATH(name) extern const Path path_##name;
WFPIPE_PATHS
#undef WFPIPE_PATH

namespace {

#if defined(__x86_64__)
struct Features {
  bool avx2 = false, avx512 = false;
};

// Asks the processor itself: __builtin_cpu_supports is a stub in zig's runtime and says no to all.
Features features() {
  enum : unsigned { kFma = 1u << 12, kOsSaves = 1u << 27, kF16c = 1u << 29 };         // 1, ecx
  enum : unsigned { kAvx2 = 1u << 5, k512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31 };  // 7, ebx
  const auto has = [](unsigned word, unsigned bits) { return (word & bits) == bits; };
  unsigned a, b, c, d, saved, upper;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, kFma | kOsSaves | kF16c)) return {};
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return {};
  __asm__ volatile("xgetbv" : "=a"(saved), "=d"(upper) : "c"(0));  // registers the system saves
  const bool avx2 = has(b, kAvx2) && has(saved, 0x06);
  return {avx2, avx2 && has(b, k512) && has(saved, 0xe6)};  // k512: F, DQ, BW, VL
}
#endif

bool runs_here(const Path& path) {
#if defined(__x86_64__)
  const auto is = [&path](const char* name) { return std::strcmp(path.name, name) == 0; };
  if (is("avx2") || is("wide")) return features().avx2;
  if (is("avx512")) return features().avx512;
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
