// mmap as a pool of stacks, each with a guard page below it, as Boost's protected_fixedsize_stack and pthreads do: an
// overflow faults at once. Each live stack is two mappings, so Linux's default limit (65,530) ends it at 32,765 stacks.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <string_view>

#include "target/stack.h"

namespace stackdrain {

class MmapPool {
 public:
  static constexpr bool kThreadSafe = true;
  static constexpr std::string_view kSummary = "mmap and munmap, a guard page below each stack";

  Stack allocate(size_t bytes) {
    const size_t guard = guard_bytes();
    void* memory = mmap(nullptr, guard + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return {};
    if (mprotect(memory, guard, PROT_NONE) != 0) {
      munmap(memory, guard + bytes);
      return {};
    }
    const uintptr_t lo = reinterpret_cast<uintptr_t>(memory) + guard;
    return {lo, lo + bytes};
  }
  void free(Stack stack) {
    const size_t guard = guard_bytes();
    munmap(reinterpret_cast<void*>(stack.lo - guard), guard + stack.bytes());
  }

 private:
  static size_t guard_bytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }
};

}  // namespace stackdrain
