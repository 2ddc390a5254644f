// Threads, which are never made here.
#pragma once
#include <cstddef>

namespace wfpipe {

// Who can work on many items at once: the session's pool, or a loop.
class Parallel {
 public:
  virtual void each(size_t items, void (*work)(void*, size_t), void* user) const = 0;

  // Call work(i) for every i below items, in any order, on any of the threads. The function must
  // not throw.
  template <class Work>
  void over(size_t items, const Work& work) const {
    each(items, [](void* user, size_t i) { (*static_cast<const Work*>(user))(i); },
         const_cast<void*>(static_cast<const void*>(&work)));
  }

 protected:
  ~Parallel() = default;
};

}  // namespace wfpipe
