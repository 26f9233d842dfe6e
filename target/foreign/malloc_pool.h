// malloc as a pool of stacks: glibc's, or whichever allocator the process is linked with (tcmalloc, mimalloc,
// jemalloc).
#pragma once

#include <cstdlib>
#include <string_view>

#include "target/stack.h"

namespace stackdrain {

class MallocPool {
 public:
  static constexpr bool kThreadSafe = true;
  static constexpr std::string_view kSummary = "malloc and free";

  Stack allocate(size_t bytes) {
    const auto lo = reinterpret_cast<uintptr_t>(std::malloc(bytes));
    return lo == 0 ? Stack{} : Stack{lo, lo + bytes};
  }
  void free(Stack stack) { std::free(reinterpret_cast<void*>(stack.lo)); }
};

}  // namespace stackdrain
