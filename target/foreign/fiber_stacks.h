// The other way round: one of our pools gives stacks to running fibers, and memory to standard containers.
//
//   AnyPool ◀── FiberStacks   what Boost.Context calls a StackAllocator: boost::context::fiber(std::allocator_arg, …)
//           ◀── PoolResource  a std::pmr::memory_resource; a block is the smallest stack that holds it
//
// Each belongs to one processor of the pool (its cache is used), so to one thread at a time; kNoProc goes to the pool
// itself and may be shared. The pool must outlive both. Out of memory is std::bad_alloc, as both interfaces want it.
#pragma once

#include <bit>
#include <cstddef>
#include <memory_resource>
#include <new>

#include "target/any_pool.h"

#if __has_include(<boost/context/stack_context.hpp>)
#include <boost/context/stack_context.hpp>
#include <boost/context/stack_traits.hpp>
#define STACKDRAIN_HAS_BOOST_CONTEXT 1
#endif

namespace stackdrain {

class PoolResource final : public std::pmr::memory_resource {
 public:
  PoolResource(AnyPool& pool, Proc proc) : pool_(pool), proc_(proc) {}

 private:
  static size_t stack_for(size_t bytes) { return bytes <= kMinStackBytes ? kMinStackBytes : std::bit_ceil(bytes); }
  void* do_allocate(size_t bytes, size_t alignment) override {
    // A stack of 2^n bytes is aligned to 2^n within its span, so to a page at most. There is no power of two above the
    // largest sizes.
    if (alignment > kMinStackBytes || bytes > pool_.params().max_stack_bytes) throw std::bad_alloc();
    const Stack stack = pool_.allocate(proc_, stack_for(bytes));
    if (!stack) throw std::bad_alloc();
    return reinterpret_cast<void*>(stack.lo);
  }
  void do_deallocate(void* block, size_t bytes, size_t) override {
    const auto lo = reinterpret_cast<uintptr_t>(block);
    pool_.free(proc_, {lo, lo + stack_for(bytes)});
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

  AnyPool& pool_;
  Proc proc_;
};

#ifdef STACKDRAIN_HAS_BOOST_CONTEXT
class FiberStacks {
 public:
  using traits_type = boost::context::stack_traits;

  // `bytes`: of each stack, a power of two from 4 KiB (a fiber's record and first frame take about 1 KiB of it).
  FiberStacks(AnyPool& pool, Proc proc, size_t bytes) : pool_(&pool), proc_(proc), bytes_(bytes) {}

  boost::context::stack_context allocate() {
    const Stack stack = pool_->allocate(proc_, bytes_);
    if (!stack) throw std::bad_alloc();
    boost::context::stack_context context;
    context.size = bytes_;
    context.sp = reinterpret_cast<void*>(stack.hi);
    return context;
  }
  void deallocate(boost::context::stack_context& context) noexcept {
    const auto hi = reinterpret_cast<uintptr_t>(context.sp);
    pool_->free(proc_, {hi - context.size, hi});
  }

 private:
  AnyPool* pool_;  // copied with the fiber
  Proc proc_;
  size_t bytes_;
};
#endif

}  // namespace stackdrain
