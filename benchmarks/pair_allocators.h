// What the pair study measures: a pool of ours behind its virtual calls, malloc, what libraries of coroutines have for
// stacks, and the least that a pair can cost. take() answers 0 when there is no more.
#pragma once

#include <sys/mman.h>

#include <unistd.h>

#include <array>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstdlib>
#include <memory>
#include <new>

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

inline constexpr size_t kSystemPage = 4096;

// Whether the system would read a byte there for us.
inline bool can_read(uintptr_t address) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return true;
  const bool can = write(ends[1], reinterpret_cast<const void*>(address), 1) == 1;
  close(ends[0]);
  close(ends[1]);
  return can;
}

// One of Boost.Context's allocators, for stacks of one size; one a thread, because the pooled one may be used by one
// thread only. A stack's context stands at its high end.
template <class StackAllocator>
class BoostPairs {
 public:
  explicit BoostPairs(size_t bytes) {
    for (auto& own : each_) own = std::make_unique<StackAllocator>(bytes);
  }
  uintptr_t take(int thread, size_t bytes) {
    try {
      const boost::context::stack_context context = each_[static_cast<size_t>(thread)]->allocate();
      return reinterpret_cast<uintptr_t>(context.sp) - bytes;
    } catch (const std::bad_alloc&) {
      return 0;
    }
  }
  void give(int thread, uintptr_t block, size_t bytes) {
    boost::context::stack_context context;
    context.sp = reinterpret_cast<void*>(block + bytes);
    context.size = size_of(bytes);
    each_[static_cast<size_t>(thread)]->deallocate(context);
  }

  bool guarded(uintptr_t block, size_t bytes) const { return !kProtected || !can_read(block + bytes - size_of(bytes)); }

 private:
  static constexpr bool kProtected = std::is_same_v<StackAllocator, boost::context::protected_fixedsize_stack>;
  // A protected stack has whole pages, and counts its guard page.
  static size_t size_of(size_t bytes) {
    return kProtected ? (bytes + 2 * kSystemPage - 1) / kSystemPage * kSystemPage : bytes;
  }
  std::array<std::unique_ptr<StackAllocator>, 2> each_;
};

// A mapping a stack, its lowest page inaccessible: what a program without a pool does.
class MmapPairs {
 public:
  uintptr_t take(int, size_t bytes) {
    void* const whole =
        mmap(nullptr, bytes + kSystemPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (whole == MAP_FAILED) return 0;
    if (mprotect(whole, kSystemPage, PROT_NONE) != 0) {
      munmap(whole, bytes + kSystemPage);
      return 0;
    }
    return reinterpret_cast<uintptr_t>(whole) + kSystemPage;
  }
  void give(int, uintptr_t block, size_t bytes) {
    munmap(reinterpret_cast<void*>(block - kSystemPage), bytes + kSystemPage);
  }
  static bool guarded(uintptr_t block, size_t) { return !can_read(block - kSystemPage); }
};

}  // namespace stackdrain
