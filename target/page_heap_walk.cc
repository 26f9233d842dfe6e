// What the page heap tells of itself: what an address lies in, accounts and walks. It reads the heap's own tables only,
// no stack's memory, so ASan has nothing to see here; in a fuzzer it runs without.
#include <bit>

#include "target/page_heap.h"

namespace stackdrain {

Location PageHeap::locate(uintptr_t address) const {
  const Span* span = span_of(address);
  if (span == nullptr) return {};
  const SpanState state = span->current();  // first: it was published after the rest (A8)
  return {state, span->current_generation(), base_of(*span), span->page_count()};
}

HeapAccounts PageHeap::accounts() const {
  MutexLock lock(mutex_);
  return accounts_;
}

PoolStats PageHeap::stats() const {
  MutexLock lock(mutex_);
  return accounts_.stats();
}

SpanView PageHeap::view_of(const Span& span, uintptr_t base) {
  const uint32_t pages = span.page_count();
  return {.base = base,
          .pages = pages,
          .state = span.current(),
          .generation = span.current_generation(),
          .order = span.order,
          .list = span.list,
          .slot_bytes = span.slot_bytes,
          .capacity = span.capacity,
          .out = span.out,
          .limit = span.limit,
          .has_free_list = span.has_free_slot(),
          .needs_zero = span.needs_zero,
          .released = span.released,
          .released_pages = span.released ? pages : 0};
}

void PageHeap::walk_map(const Span& span, WalkVisitor& visitor) const {
  const uint32_t first = span.first();
  const uint32_t last = first + span.page_count() - 1;
  const bool every_page = span.current() != SpanState::kFree;
  for (uint32_t page = every_page ? first : last; page <= last; ++page) {
    // not reached by programs: only a damaged pool is so
    if (arena_.page_map()[page].load(std::memory_order_relaxed) != index_of(&span)) {
      visitor.fault(WalkFault::kPageMap, arena_.address_of(page));
    }
  }
}

void PageHeap::walk(WalkVisitor& visitor) const {
  MutexLock lock(mutex_);
  const bool slots = visitor.wants_slots();
  uint32_t page = 0;
  uint32_t spans = 0;
  uint32_t free_spans = 0;
  while (page < mapped_pages_) {
    const uint32_t index = arena_.page_map()[page].load(std::memory_order_relaxed);
    const Span& span = arena_.spans()[index];
    // not reached by programs: only a damaged pool is so
    if (index == 0 || span.first() != page || span.page_count() == 0 || page + span.page_count() > mapped_pages_) {
      visitor.fault(WalkFault::kTiling, arena_.address_of(page));
      return;  // nothing behind this page can be trusted
    }
    // not reached by programs: only a damaged pool is so
    if (span.current() == SpanState::kDead) visitor.fault(WalkFault::kDeadReached, arena_.address_of(page));
    ++spans;
    free_spans += span.current() == SpanState::kFree ? 1 : 0;
    visitor.span(view_of(span, arena_.address_of(page)));
    if (slots) walk_map(span, visitor);
    page += span.page_count();
  }
  if (!slots) return;
  // not reached by programs: only a damaged pool is so
  if (page < arena_.pages() && arena_.dirty()[page] != 0) {
    visitor.fault(WalkFault::kPageMap, arena_.address_of(page));  // written to, and never mapped
  }
  walk_free_lists(visitor, free_spans);
  walk_spare(visitor, spans);
  // not reached by programs: explore alone asks in the middle of a run
  if (visitor.wants_hidden() && mapped_pages_ != 0) tell_hidden(visitor);
}

// Free spans in the order in which their lists would issue them, which of their pages are not zero though they say so,
// and what recycled descriptors carry into their next life.
// not reached by programs: explore alone asks in the middle of a run
void PageHeap::tell_hidden(WalkVisitor& visitor) const {
  const auto tell = [&](const SpanLinks& list) {
    for (const Span* span = list.front(); span != nullptr; span = span->next) {
      visitor.hidden(uint64_t{span->first()} << 2 | (span->released ? 1 : 0));
      for (uint32_t page = span->first(); page < span->first() + span->page_count(); ++page) {
        if (!span->needs_zero && !span->released && arena_.dirty()[page] != 0) visitor.hidden(uint64_t{page} << 2 | 2);
      }
    }
  };
  tell(free_[0]);
  for (size_t word = 0; word < non_empty_.size(); ++word) {
    for (uint64_t bits = non_empty_[word]; bits != 0; bits &= bits - 1) {
      tell(free_[word * 64 + static_cast<size_t>(std::countr_zero(bits))]);
    }
  }
  for (const Span* span = spare_; span != nullptr; span = span->next) {
    if (span->limit != 0 || span->free_list != 0) visitor.hidden((span->limit - arena_.base()) | 3);
  }
}

// `spans`: how many descriptors are in use; the others are spare, and none is lost.
void PageHeap::walk_spare(WalkVisitor& visitor, uint32_t spans) const {
  uint32_t steps = 0;
  for (const Span* span = spare_; span != nullptr; span = span->next) {
    // not reached by programs: only a damaged pool is so
    const bool untouched = span->current() == SpanState::kDead && span->order == kNoOrder && span->slot_bytes == 0 &&
                           span->out == 0 && span->capacity == 0 && !span->needs_zero && !span->released;
    // not reached by programs: only a damaged pool is so
    if (!untouched || ++steps > descriptors_used_) {
      visitor.fault(WalkFault::kDescriptor, base_of(*span));
      return;
    }
  }
  // not reached by programs: only a damaged pool is so
  if (spans + steps != descriptors_used_) visitor.fault(WalkFault::kDescriptor, arena_.base());
}

// `free_spans`: how many there are; each must be on a list, and on one that best_fit looks at.
void PageHeap::walk_free_lists(WalkVisitor& visitor, uint32_t free_spans) const {
  uint32_t seen = walk_free_list(visitor, 0);
  for (size_t word = 0; word < non_empty_.size(); ++word) {
    for (uint64_t bits = non_empty_[word]; bits != 0; bits &= bits - 1) {
      seen += walk_free_list(visitor, static_cast<uint32_t>(word * 64) + static_cast<uint32_t>(std::countr_zero(bits)));
    }
  }
  // not reached by programs: only a damaged pool is so
  if (seen != free_spans) visitor.fault(WalkFault::kListMember, arena_.base());
}

// The spans on one list.
uint32_t PageHeap::walk_free_list(WalkVisitor& visitor, uint32_t n) const {
  uint32_t steps = 0;
  const Span* prev = nullptr;
  for (const Span* span = free_[n].front(); span != nullptr; prev = span, span = span->next) {
    const bool right_list = n == 0 ? span->page_count() >= kExactLists : span->page_count() == n;
    // not reached by programs: only a damaged pool is so
    if (span->current() != SpanState::kFree || span->list != SpanList::kHeapFree || !right_list ||
        ++steps > mapped_pages_) {
      visitor.fault(WalkFault::kListMember, base_of(*span));
      break;
    }
    // not reached by programs: only a damaged pool is so
    if (span->prev != prev) visitor.fault(WalkFault::kListLink, base_of(*span));
  }
  return steps;
}

}  // namespace stackdrain
