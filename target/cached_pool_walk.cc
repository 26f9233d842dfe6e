// What a pool tells of its caches: counts and walks. Of stacks it reads the links of cached ones only, checked against
// their span first; in a fuzzer it runs without ASan.
#include "target/cached_pool.h"

#include <span>

namespace stackdrain {

void CachedPool::count_into(PoolStats& stats) const {
  stats.locks_taken += locks_taken_.load(std::memory_order_relaxed);
  stats.allocations = other_allocations_.load(std::memory_order_relaxed);
  uint64_t given_back = other_given_back_.load(std::memory_order_relaxed);
  uint64_t allocated_bytes = other_allocated_bytes_.load(std::memory_order_relaxed);
  uint64_t given_back_bytes = other_given_back_bytes_.load(std::memory_order_relaxed);
  const std::span caches(caches_.data(), static_cast<size_t>(params_.procs));
  for (const StackCache& cache : caches) {
    stats.allocations += cache.allocations;
    given_back += cache.given_back;
    allocated_bytes += cache.allocated_bytes;
    given_back_bytes += cache.given_back_bytes;
  }
  // Asked after each operation of a fuzzer: few multiplications, and shelves only where there are any.
  for (size_t order = 0; order < static_cast<size_t>(params_.orders); ++order) {
    uint64_t allocations = 0;
    uint64_t given = 0;
    for (const StackCache& cache : caches) {
      allocations += cache.lists[order].allocations;
      given += cache.lists[order].given_back;
      stats.cached_bytes += cache.lists[order].bytes;
    }
    const size_t slot = order_bytes(static_cast<int>(order));
    stats.allocations += allocations;
    given_back += given;
    allocated_bytes += allocations * slot;
    given_back_bytes += given * slot;
    if (shelf_slots_[order] == 0) continue;
    for (const StackShelves& shelves : std::span(shelves_.data(), caches.size())) {
      stats.cached_bytes += shelves.lists[order].count * slot;
    }
  }
  stats.live_stacks = stats.allocations - given_back;
  stats.live_bytes = allocated_bytes - given_back_bytes;
  stats.frees = given_back;
}

void CachedPool::walk_caches(WalkVisitor& visitor) const {
  for (int p = 0; p < params_.procs; ++p) {
    for (int order = 0; order < params_.orders; ++order) {
      const CacheList& list = caches_[static_cast<size_t>(p)].lists[static_cast<size_t>(order)];
      const size_t slot = order_bytes(order);
      size_t bytes = 0;
      for (uintptr_t lo = list.head; lo != 0; lo = link_of(lo)) {
        bytes += slot;
        // not reached by programs: only a damaged pool is so
        if (bytes > list.bytes || !in_span(lo)) break;
        visitor.slot({lo, slot, SlotPlace::kCached, p});
      }
      // not reached by programs: only a damaged pool is so
      if (bytes != list.bytes) visitor.fault(WalkFault::kCacheSize, list.head);
      const Shelf& shelf = shelves_[static_cast<size_t>(p)].lists[static_cast<size_t>(order)];
      for (size_t i = shelf.count; i-- > 0;) visitor.slot({shelf.stacks[i], slot, SlotPlace::kShelved, p});
    }
  }
}

}  // namespace stackdrain
