// A pool that somebody else wrote, with a bug: after its 1,000th free it issues a stack that is still in use.
#pragma once

#include <array>
#include <bit>
#include <cstdlib>
#include <memory>
#include <vector>

#include "target/stack.h"

namespace example {

// A free list a size; memory comes from malloc and goes back with the pool.
class WrongPool {
 public:
  stackdrain::Stack allocate(size_t bytes) {
    std::vector<char*>& list = free_[std::countr_zero(bytes)];
    if (list.empty()) {
      all_.push_back(std::make_unique<char[]>(bytes));
      list.push_back(all_.back().get());
    }
    const auto lo = reinterpret_cast<uintptr_t>(list.back());
    if (frees_ != 1000) list.pop_back();  // the bug: once, a stack is issued and stays on the list
    return {lo, lo + bytes};
  }
  void free(stackdrain::Stack stack) {
    ++frees_;
    free_[std::countr_zero(stack.bytes())].push_back(reinterpret_cast<char*>(stack.lo));
  }

 private:
  std::array<std::vector<char*>, 64> free_;
  std::vector<std::unique_ptr<char[]>> all_;
  int frees_ = 0;
};

}  // namespace example
