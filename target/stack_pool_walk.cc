// What a pool tells of itself: accounts and walks. Of stacks it reads the links of free ones only, checked against
// their span first; in a fuzzer it runs without ASan.
#include <bit>

#include "target/stack_pool.h"

namespace stackdrain {

PoolStats ReferencePool::stats() const {
  PoolStats stats = heap_.stats();
  count_into(stats);
  stats.held_bytes = kept_bytes();
  return stats;
}

void ReferencePool::walk(WalkVisitor& visitor) const {
  heap_.walk(visitor);
  walk_orders(visitor);
  walk_caches(visitor);
  walk_reserve(visitor);
  if (!visitor.wants_hidden()) return;
  visitor.hidden(static_cast<uint64_t>(keep_empty_.load(std::memory_order_relaxed)));
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
  for (int order = 0; order < params().orders; ++order) {
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

void ReferencePool::walk_reserve(WalkVisitor& visitor) const {
  MutexLock lock(reserve_mutex_);
  const size_t bound = heap_.mapped_bytes() / kPageBytes;
  size_t steps = 0;
  for (size_t size = 0; bound >> size != 0; ++size) {  // of 2^size pages
    for (const Span* span = reserve_[size].front(); span != nullptr; span = span->next) {
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
