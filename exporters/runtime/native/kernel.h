// What an operator's node becomes: made and checked once, run many times, at the same time too.
#pragma once
#include <memory>

#include "ort_node.h"

namespace wfpipe {

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run(const Context& context) const = 0;
};

// Each throws a Fault where the node breaks a rule.
std::unique_ptr<Kernel> make_to_tiles(const Node& node);
std::unique_ptr<Kernel> make_from_tiles(const Node& node);
std::unique_ptr<Kernel> make_sparse_conv(const Node& node);
std::unique_ptr<Kernel> make_depthwise(const Node& node);
std::unique_ptr<Kernel> make_pool(const Node& node);
std::unique_ptr<Kernel> make_global_average(const Node& node);

}  // namespace wfpipe
