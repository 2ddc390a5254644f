// Shuffles of vectors, written out for each number of lanes.
#pragma once
#include "simd.h"

namespace wfpipe {
namespace {

// a and b riffled like cards: the first halves of both, then the second halves.
WFPIPE_INLINE void riffle(Vector a, Vector b, Vector& first, Vector& second) {
#if WFPIPE_LANES == 4
  first = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  second = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#elif WFPIPE_LANES == 8
  first = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  second = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  first = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  second = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                   31);
#endif
}

// Every second lane of a and b, from the first or from the second on.
template <bool Odd>
WFPIPE_INLINE Vector every_second(Vector a, Vector b) {
#if WFPIPE_LANES == 4
  if (Odd) return __builtin_shufflevector(a, b, 1, 3, 5, 7);
  return __builtin_shufflevector(a, b, 0, 2, 4, 6);
#elif WFPIPE_LANES == 8
  if (Odd) return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
#else
  if (Odd) {
    return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  }
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
#endif
}

}  // namespace
}  // namespace wfpipe
