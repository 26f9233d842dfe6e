// What a pool tells of itself: accounts and walks. Of stacks it reads the links of free ones only, checked against
// their span first; in a fuzzer it runs without ASan.
#include <bit>

#include "target/stack_pool.h"

namespace stackdrain {

PoolStats ReferencePool::stats() const {
  const HeapAccounts heap = heap_.accounts();
  uint64_t allocations = other_allocations_.load(std::memory_order_relaxed);
  uint64_t given_back = other_given_back_.load(std::memory_order_relaxed);
  uint64_t allocated_bytes = other_allocated_bytes_.load(std::memory_order_relaxed);
  uint64_t given_back_bytes = other_given_back_bytes_.load(std::memory_order_relaxed);
  uint64_t cached_bytes = 0;
  for (int p = 0; p < params_.procs; ++p) {
    const StackCache& cache = caches_[static_cast<size_t>(p)];
    allocations += cache.allocations;
    given_back += cache.given_back;
    allocated_bytes += cache.allocated_bytes;
    given_back_bytes += cache.given_back_bytes;
    for (const CacheList& list : cache.lists) cached_bytes += list.bytes;
  }
  return {.system_bytes = heap.system_bytes,
          .heap_bytes = heap.heap_bytes,
          .stack_bytes = heap.stack_bytes,
          .idle_bytes = heap.idle_bytes,
          .released_bytes = heap.released_bytes,
          .live_stacks = allocations - given_back,
          .live_bytes = allocated_bytes - given_back_bytes,
          .cached_bytes = cached_bytes,
          .held_stacks = 0,
          .held_bytes = kept_bytes(),
          .peak_stack_bytes = heap.peak_stack_bytes,
          .allocations = allocations,
          .frees = given_back,
          .spans_taken = heap.stack_spans_taken,
          .spans_released = heap.stack_spans_released,
          .locks_taken = heap.locks_taken + locks_taken_.load(std::memory_order_relaxed)};
}

void ReferencePool::walk(WalkVisitor& visitor) const {
  heap_.walk(visitor);
  walk_orders(visitor);
  walk_caches(visitor);
  walk_reserve(visitor);
  // not reached by programs: explore alone asks
  if (!visitor.wants_hidden()) return;
  // not reached by programs: explore alone asks
  visitor.hidden(keep_empty_.load(std::memory_order_relaxed) ? 1 : 0);
  // not reached by programs: explore alone asks
  visitor.hidden(kept_bytes());
}

void ReferencePool::walk_slots(const Span& span, WalkVisitor& visitor) const {
  const uintptr_t base = heap_.base_of(span);
  const size_t slot = order_bytes(span.order);
  uint32_t steps = 0;
  for (uintptr_t lo = span.free_list; lo != 0; lo = link_of(lo)) {
    // not reached by programs: only a damaged pool is so
    if (lo < base || lo >= base + kPoolSpanBytes || (lo - base) % slot != 0 || ++steps > kPoolSpanBytes / slot) {
      visitor.fault(WalkFault::kFreeList, base);
      return;
    }
    visitor.slot({lo, slot, SlotPlace::kPoolFree, kNoProc});
  }
  // not reached by programs: explore alone asks
  if (visitor.wants_hidden()) visitor.hidden(span.given_units);
  for (uint32_t units = span.given_units; units != 0; units &= units - 1) {
    const auto unit = static_cast<uintptr_t>(std::countr_zero(units));
    visitor.slot({base + unit * kMinStackBytes, slot, SlotPlace::kPoolFree, kNoProc});
  }
}

void ReferencePool::walk_orders(WalkVisitor& visitor) const {
  const size_t bound = heap_.mapped_bytes() / kPoolSpanBytes;
  for (int order = 0; order < params_.orders; ++order) {
    size_t steps = 0;
    const Span* prev = nullptr;
    for (const Span* span = orders_[static_cast<size_t>(order)].partial.front(); span != nullptr;
         prev = span, span = span->next) {
      // not reached by programs: only a damaged pool is so
      if (span->current() != SpanState::kStack || span->order != order || span->list != SpanList::kOrder ||
          ++steps > bound) {
        visitor.fault(WalkFault::kListMember, heap_.base_of(*span));
        break;
      }
      // not reached by programs: only a damaged pool is so
      if (span->prev != prev) visitor.fault(WalkFault::kListLink, heap_.base_of(*span));
      walk_slots(*span, visitor);
    }
  }
}

void ReferencePool::walk_caches(WalkVisitor& visitor) const {
  for (int p = 0; p < params_.procs; ++p) {
    for (int order = 0; order < params_.orders; ++order) {
      const CacheList& list = caches_[static_cast<size_t>(p)].lists[static_cast<size_t>(order)];
      const size_t slot = order_bytes(order);
      size_t bytes = 0;
      for (uintptr_t lo = list.head; lo != 0; lo = link_of(lo)) {
        bytes += slot;
        // not reached by programs: only a damaged pool is so
        if (bytes > list.bytes || heap_.span_of(lo) == nullptr) break;
        visitor.slot({lo, slot, SlotPlace::kCached, p});
      }
      // not reached by programs: only a damaged pool is so
      if (bytes != list.bytes) visitor.fault(WalkFault::kCacheSize, list.head);
    }
  }
}

void ReferencePool::walk_reserve(WalkVisitor& visitor) const {
  MutexLock lock(reserve_mutex_);
  const size_t bound = heap_.mapped_bytes() / kPageBytes;
  size_t steps = 0;
  for (const SpanLinks& list : reserve_) {
    for (const Span* span = list.front(); span != nullptr; span = span->next) {
      // not reached by programs: only a damaged pool is so
      if (span->current() != SpanState::kStack || span->order != kLargeOrder || ++steps > bound) {
        visitor.fault(WalkFault::kListMember, heap_.base_of(*span));
        return;
      }
      visitor.slot({heap_.base_of(*span), span->slot_bytes, SlotPlace::kPoolFree, kNoProc});
    }
  }
}

}  // namespace stackdrain
