// What the pair study measures: a pool of ours behind its virtual calls, malloc, and the least that a pair can cost.
#pragma once

#include <array>
#include <cstdlib>

#include "target/any_pool.h"
#include "target/stack_cache.h"

namespace stackdrain {

// Thread n is processor n.
class PoolPairs {
 public:
  explicit PoolPairs(AnyPool& pool) : pool_(pool) {}
  uintptr_t take(int thread, size_t bytes) { return pool_.allocate(thread, bytes).lo; }
  void give(int thread, uintptr_t block, size_t bytes) { pool_.free(thread, {block, block + bytes}); }

 private:
  AnyPool& pool_;
};

// glibc's, or that of the library which the process is linked with.
class MallocPairs {
 public:
  uintptr_t take(int, size_t bytes) { return reinterpret_cast<uintptr_t>(std::malloc(bytes)); }
  void give(int, uintptr_t block, size_t) { std::free(reinterpret_cast<void*>(block)); }
};

// A list of free blocks for each thread, the links in the blocks: no size, no count, no bound.
class FreeListPairs {
 public:
  uintptr_t take(int thread, size_t bytes) {
    uintptr_t& head = heads_[static_cast<size_t>(thread)].block;
    const uintptr_t block = head;
    if (block == 0) [[unlikely]]
      return reinterpret_cast<uintptr_t>(std::malloc(bytes));
    head = link_of(block);
    return block;
  }
  void give(int thread, uintptr_t block, size_t) {
    uintptr_t& head = heads_[static_cast<size_t>(thread)].block;
    link_of(block) = head;
    head = block;
  }
  ~FreeListPairs() {
    for (Head& head : heads_) {
      for (uintptr_t block = head.block; block != 0;) {
        const uintptr_t next = link_of(block);
        std::free(reinterpret_cast<void*>(block));
        block = next;
      }
    }
  }
  FreeListPairs() = default;
  FreeListPairs(const FreeListPairs&) = delete;
  FreeListPairs& operator=(const FreeListPairs&) = delete;

 private:
  struct alignas(128) Head {
    uintptr_t block = 0;
  };
  std::array<Head, kMaxProcs> heads_{};
};

}  // namespace stackdrain
