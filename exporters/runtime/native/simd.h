// A vector of floats of any width, from the compiler's own vectors: g++, clang, zig c++.
#pragma once
#include <stdint.h>

namespace wfpipe {
namespace {

constexpr int kLanes = WFPIPE_LANES;
typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef int32_t Integers __attribute__((vector_size(4 * kLanes)));
typedef float Anywhere __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t IntegersAnywhere __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

#define WFPIPE_INLINE inline __attribute__((always_inline))

WFPIPE_INLINE Vector load(const float* from) { return *reinterpret_cast<const Anywhere*>(from); }
WFPIPE_INLINE void store(float* to, Vector value) { *reinterpret_cast<Anywhere*>(to) = value; }
// The same past the caches, where a vector's place is a multiple of its size; see streamed().
WFPIPE_INLINE void stream(float* to, Vector value) {
#if defined(__clang__)
  __builtin_nontemporal_store(value, reinterpret_cast<Vector*>(to));
#elif defined(__SSE__) && WFPIPE_LANES == 4
  __builtin_ia32_movntps(to, value);
#elif defined(__AVX__) && WFPIPE_LANES == 8
  __builtin_ia32_movntps256(to, value);
#elif defined(__AVX512F__) && WFPIPE_LANES == 16
  __builtin_ia32_movntps512(to, value);
#else
  store(to, value);
#endif
}
// What was streamed is there for other threads before anything that is stored from here on.
WFPIPE_INLINE void streamed() {
#if defined(__SSE__)
  __builtin_ia32_sfence();
#else
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}
WFPIPE_INLINE Vector splat(float value) { return value - Vector{}; }
WFPIPE_INLINE Integers bits(Vector value) { return (Integers)value; }
WFPIPE_INLINE Vector floats(Integers value) { return (Vector)value; }
WFPIPE_INLINE Integers load_mask(const uint32_t* from) {
  return *reinterpret_cast<const IntegersAnywhere*>(from);
}
WFPIPE_INLINE Vector either(Integers mask, Vector yes, Vector no) {
  return floats((mask & bits(yes)) | (~mask & bits(no)));
}
WFPIPE_INLINE Vector at_least(Vector low, Vector x) { return low > x ? low : x; }  // NaN stays
WFPIPE_INLINE Vector at_most(Vector high, Vector x) { return high < x ? high : x; }

// e^x to 2 units in the last place: 2^n e^r, |r| <= ln(2) / 2, and the series of e^r to r^7.
WFPIPE_INLINE Vector exponential(Vector x) {
  x = at_least(splat(-87.0f), at_most(splat(88.0f), x));
  const Vector magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  const Vector shifted = x * splat(1.44269504f) + magic;
  const Vector n = shifted - magic;
  Vector r = x - n * splat(0.693359375f);
  r = r + n * splat(2.12194440e-4f);
  Vector p = splat(1.0f / 5040);
  p = p * r + splat(1.0f / 720);
  p = p * r + splat(1.0f / 120);
  p = p * r + splat(1.0f / 24);
  p = p * r + splat(1.0f / 6);
  p = p * r + splat(0.5f);
  p = p * r * r + r + splat(1.0f);
  const Integers power = (bits(shifted) - bits(magic) + 127) << 23;
  return p * floats(power);
}

WFPIPE_INLINE Vector sigmoid(Vector x) { return splat(1.0f) / (splat(1.0f) + exponential(-x)); }

// The error function to 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
WFPIPE_INLINE Vector error_function(Vector x) {
  const Integers sign = bits(x) & INT32_MIN;
  const Vector positive = floats(bits(x) & INT32_MAX);
  const Vector t = splat(1.0f) / (splat(1.0f) + splat(0.3275911f) * positive);
  Vector p = splat(1.061405429f);
  p = p * t + splat(-1.453152027f);
  p = p * t + splat(1.421413741f);
  p = p * t + splat(-0.284496736f);
  p = p * t + splat(0.254829592f);
  const Vector result = splat(1.0f) - p * t * exponential(-positive * positive);
  return floats(bits(result) | sign);
}

WFPIPE_INLINE Vector hard_sigmoid(Vector x) {
  return at_least(Vector{}, at_most(splat(1.0f), x * splat(1.0f / 6) + splat(0.5f)));
}

}  // namespace
}  // namespace wfpipe
