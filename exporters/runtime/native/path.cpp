// The kernels for one processor path: compiled once with the flags of each (see compiler.py).
#include "path.h"
#include "simd_move.h"
#include "simd_sparse.h"
#include "simd_window.h"

#define WFPIPE_JOINED(a, b) a##b
#define WFPIPE_JOIN(a, b) WFPIPE_JOINED(a, b)
#define WFPIPE_TEXT_OF(a) #a
#define WFPIPE_TEXT(a) WFPIPE_TEXT_OF(a)

namespace wfpipe {

extern const Path WFPIPE_JOIN(path_, WFPIPE_NAME);
const Path WFPIPE_JOIN(path_, WFPIPE_NAME) = {
    WFPIPE_TEXT(WFPIPE_NAME), kLanes, convolve, for_registers<Filtered>, for_registers<PooledLargest>,
    for_registers<PooledSum>, transpose, sum,
};

}  // namespace wfpipe
