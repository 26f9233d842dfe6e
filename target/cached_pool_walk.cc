// What a pool tells of its caches: counts and walks. Of stacks it reads the links of cached ones only, checked against
// their span first; in a fuzzer it runs without ASan.
#include "target/cached_pool.h"

namespace stackdrain {

void CachedPool::count_into(PoolStats& stats) const {
  stats.locks_taken += locks_taken_.load(std::memory_order_relaxed);
  stats.allocations = other_allocations_.load(std::memory_order_relaxed);
  uint64_t given_back = other_given_back_.load(std::memory_order_relaxed);
  uint64_t allocated_bytes = other_allocated_bytes_.load(std::memory_order_relaxed);
  uint64_t given_back_bytes = other_given_back_bytes_.load(std::memory_order_relaxed);
  for (int p = 0; p < params_.procs; ++p) {
    const StackCache& cache = caches_[static_cast<size_t>(p)];
    stats.allocations += cache.allocations;
    given_back += cache.given_back;
    allocated_bytes += cache.allocated_bytes;
    given_back_bytes += cache.given_back_bytes;
    for (int order = 0; order < kMaxOrders; ++order) {  // those that the pool does not have are empty
      const CacheList& list = cache.lists[static_cast<size_t>(order)];
      stats.allocations += list.allocations;
      given_back += list.given_back;
      allocated_bytes += list.allocations * order_bytes(order);
      given_back_bytes += list.given_back * order_bytes(order);
      stats.cached_bytes += list.bytes;
      if (shelf_slots_[static_cast<size_t>(order)] == 0) continue;  // asked after each operation of a fuzzer
      stats.cached_bytes +=
          shelves_[static_cast<size_t>(p)].lists[static_cast<size_t>(order)].count * order_bytes(order);
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
