// What follows a sum, on vectors that are still in registers.
#pragma once
#include "path.h"
#include "simd.h"

namespace wfpipe {
namespace {

WFPIPE_INLINE Vector activated(Vector x, const Activation& activation) {
  switch (activation.kind) {
    case Act::hardswish: return x * hard_sigmoid(x);
    case Act::hardsigmoid: return hard_sigmoid(x);
    case Act::sigmoid: return sigmoid(x);
    case Act::silu: return x * sigmoid(x);
    case Act::leaky: return x < 0 ? x * splat(activation.low) : x;
    case Act::gelu: return splat(0.5f) * x * (splat(1) + error_function(x * splat(0.70710678f)));
    default: return x;
  }
}

// The costly ones, not inlined into every kernel.
__attribute__((noinline)) void activate_all(Vector* values, int count, const Activation& how) {
  for (int i = 0; i < count; ++i) values[i] = activated(values[i], how);
}

template <int R>
WFPIPE_INLINE void activate(Vector (&values)[R], const Activation& how) {
  if (how.kind == Act::none) return;
  if (how.kind == Act::clamp) {
    const Vector low = splat(how.low), high = splat(how.high);
    for (int r = 0; r < R; ++r) values[r] = at_least(low, at_most(high, values[r]));
    return;
  }
  Vector spilled[R];  // so that the sums themselves stay in registers
  for (int r = 0; r < R; ++r) spilled[r] = values[r];
  activate_all(spilled, R, how);
  for (int r = 0; r < R; ++r) values[r] = spilled[r];
}

}  // namespace
}  // namespace wfpipe
