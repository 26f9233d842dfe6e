// Boost.Context's pooled_fixedsize_stack as a pool of stacks: one Boost pool a size, which keeps what is freed.
//
// Not thread-safe. Wants Boost.Context's headers and library (libboost-context-dev).
#pragma once

#include <array>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <memory>
#include <new>
#include <string_view>

#include "target/stack.h"

namespace stackdrain {

class BoostPooledPool {
 public:
  static constexpr std::string_view kSummary = "Boost.Context's pooled_fixedsize_stack, one a size";

  Stack allocate(size_t bytes) {
    std::unique_ptr<boost::context::pooled_fixedsize_stack>& pool = pools_[static_cast<size_t>(order_of(bytes))];
    try {
      if (pool == nullptr) pool = std::make_unique<boost::context::pooled_fixedsize_stack>(bytes);
      const auto hi = reinterpret_cast<uintptr_t>(pool->allocate().sp);
      return {hi - bytes, hi};
    } catch (const std::bad_alloc&) {
      return {};
    }
  }
  void free(Stack stack) {
    boost::context::stack_context context;
    context.sp = reinterpret_cast<void*>(stack.hi);
    context.size = stack.bytes();
    pools_[static_cast<size_t>(order_of(stack.bytes()))]->deallocate(context);
  }

 private:
  std::array<std::unique_ptr<boost::context::pooled_fixedsize_stack>, 64> pools_;  // by order
};

}  // namespace stackdrain
