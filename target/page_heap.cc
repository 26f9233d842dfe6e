#include "target/page_heap.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "target/defects.h"
#include "target/yield.h"

namespace stackdrain {

void PageHeap::reset(uint32_t page_limit, size_t grow_chunk_bytes) {
  MutexLock lock(mutex_);
  const uint32_t mapped = mapped_pages_.load(std::memory_order_relaxed);
  const bool by_hand = mapped_bytes() <= Arena::kClearByHandBytes;
  if (by_hand || !arena_.give_back(0, mapped)) {  // not reached by programs: no arena that large is reset
    for (uint32_t page = 0; page < mapped; ++page) {
      if (arena_.dirty()[page] != 0) arena_.clear_page(page);
    }
  }
  if (!at_rest(mapped)) asan_poison(arena_.base(), mapped_bytes());
  std::memset(arena_.dirty(), 0, mapped);
  std::memset(static_cast<void*>(arena_.page_map()), 0, mapped * sizeof(std::atomic<uint32_t>));
  std::memset(static_cast<void*>(arena_.spans()), 0, (descriptors_used_ + size_t{1}) * sizeof(Span));
  free_[0].clear();
  for (size_t word = 0; word < non_empty_.size(); ++word) {
    for (; non_empty_[word] != 0; non_empty_[word] &= non_empty_[word] - 1) {
      free_[word * 64 + static_cast<size_t>(std::countr_zero(non_empty_[word]))].clear();
    }
  }
  spare_ = nullptr;
  descriptors_used_ = 0;
  generation_ = 0;
  mapped_pages_.store(0, std::memory_order_relaxed);
  page_limit_ = page_limit == 0 ? arena_.pages() : std::min(page_limit, arena_.pages());
  grow_pages_ = std::max(uint32_t{1}, static_cast<uint32_t>(grow_chunk_bytes >> kPageShift));
  accounts_ = {};
}

// Is all of the arena one Free span? Then nothing of it is issued, and all of it poisoned.
bool PageHeap::at_rest(uint32_t mapped) const {
  const Span& span = arena_.spans()[arena_.page_map()[0].load(std::memory_order_relaxed)];
  return span.current() == SpanState::kFree && span.page_count() == mapped;
}

Span* PageHeap::new_descriptor() {
  Span* span = spare_;
  if (span != nullptr) {
    spare_ = span->next;
    span->next = nullptr;
  } else {
    span = arena_.spans() + ++descriptors_used_;  // index 0 means none; one a page is enough
  }
  return span;
}

void PageHeap::drop_descriptor(Span* span) {
  span->needs_zero = span->released = false;
  span->publish(SpanState::kDead);
  span->next = spare_;
  spare_ = span;
}

void PageHeap::set_map(uint32_t page, const Span* span) {
  arena_.page_map()[page].store(index_of(span), std::memory_order_release);
}

void PageHeap::insert_free(Span* span) {
  const uint32_t pages = span->page_count();
  list_for(pages).push_front(span, SpanList::kHeapFree);
  if (pages < kExactLists) non_empty_[pages / 64] |= uint64_t{1} << (pages % 64);
}

void PageHeap::remove_free(Span* span) {
  const uint32_t pages = span->page_count();
  SpanLinks& list = list_for(pages);
  list.remove(span);
  if (pages < kExactLists && list.empty()) non_empty_[pages / 64] &= ~(uint64_t{1} << (pages % 64));
}

Span* PageHeap::best_fit(uint32_t pages) {
  for (uint32_t word = pages / 64; word < non_empty_.size(); ++word) {
    uint64_t bits = non_empty_[word];
    if (word == pages / 64) bits &= ~uint64_t{0} << (pages % 64);
    if (bits != 0) return free_[word * 64 + static_cast<uint32_t>(std::countr_zero(bits))].front();
  }
  Span* best = nullptr;
  for (Span* span = free_[0].front(); span != nullptr; span = span->next) {
    if (span->page_count() < pages) continue;
    if (best == nullptr || span->page_count() < best->page_count() ||
        (span->page_count() == best->page_count() && span->first() < best->first())) {
      best = span;
    }
  }
  return best;
}

bool PageHeap::grow(uint32_t pages) {
  const uint32_t mapped = mapped_pages_.load(std::memory_order_relaxed);
  const uint32_t left = page_limit_ - mapped;
  if (left < pages || !system_maps()) return false;
  const uint32_t more = std::min(left, std::max(pages, grow_pages_));
  Span* span = new_descriptor();
  span->set_range(mapped, more);
  span->needs_zero = false;
  span->released = false;
  mapped_pages_.store(mapped + more, std::memory_order_relaxed);
  if (mapped + more > poisoned_pages_) {
    asan_poison(arena_.address_of(poisoned_pages_), bytes_of(mapped + more - poisoned_pages_));
    poisoned_pages_ = mapped + more;
  }
  accounts_.system_bytes += bytes_of(more);
  accounts_.idle_bytes += bytes_of(more);
  merge_and_list(span);
  return true;
}

// Keeps the first `pages` pages in `span`; the rest becomes a Free span of its own.
void PageHeap::split(Span* span, uint32_t pages) {
  const uint32_t rest_pages = span->page_count() - pages;
  if (rest_pages == 0) return;
  Span* rest = new_descriptor();
  rest->set_range(span->first() + pages, rest_pages);
  rest->needs_zero = span->needs_zero;
  rest->released = span->released;
  rest->order = kNoOrder;
  rest->slot_bytes = 0;
  rest->capacity = rest->out = rest->given_units = 0;
  rest->free_list = 0;
  // not reached by programs: they have no clock
  rest->limit = idle_clock_ == nullptr ? 0 : span->limit;
  span->set_range(span->first(), pages);
  rest->publish(SpanState::kFree);
  set_map(rest->first(), rest);
  set_map(rest->first() + rest_pages - 1, rest);
  insert_free(rest);
}

// Writes all metadata, then publishes the state (A7, A8).
void PageHeap::issue(Span* span, SpanUse use) {
  const uint32_t pages = span->page_count();
  const uintptr_t base = base_of(*span);
  const bool stack = use.state == SpanState::kStack;
  if (planted(Defect::kStatePublishedEarly)) span->publish(use.state);
  yield_point(Yield::kIssue);
  shared_write(span->limit);
  shared_write(span->free_list);
  shared_write(span->out);
  span->order = use.order;
  span->free_list = 0;
  span->out = span->given_units = 0;
  if (!planted(Defect::kStaleSpanLimit) || span->limit == 0) {
    span->slot_bytes = use.slot_bytes;
    span->capacity = stack ? static_cast<uint16_t>(bytes_of(pages) / use.slot_bytes) : uint16_t{0};
    span->limit = stack ? base + size_t{span->capacity} * use.slot_bytes : base + bytes_of(pages);
  }
  span->set_generation(++generation_);
  if (span->released && !planted(Defect::kOsAttributeAsymmetric)) {
    accounts_.released_bytes -= bytes_of(pages);
    span->released = false;
  }
  for (uint32_t page = span->first(); page < span->first() + pages; ++page) {
    set_map(page, span);
    arena_.note_dirty(page, Arena::dirty_from_issue(page == span->first(), stack, use.order != kLargeOrder));
  }
  accounts_.idle_bytes -= bytes_of(pages);
  (stack ? accounts_.stack_bytes : accounts_.heap_bytes) += bytes_of(pages);
  accounts_.stack_spans_taken += stack ? 1 : 0;
  accounts_.peak_stack_bytes = std::max(accounts_.peak_stack_bytes, accounts_.stack_bytes);
  if (!stack) asan_unpoison(base, bytes_of(pages));
  if (planted(Defect::kStateStoredRelaxed)) {
    span->state.store(use.state, std::memory_order_relaxed);
  } else {
    span->publish(use.state);
  }
}

Span* PageHeap::allocate(uint32_t pages, SpanUse use) {
  MutexLock lock(mutex_);
  yield_point(Yield::kHeapLock);
  ++accounts_.locks_taken;
  Span* span = best_fit(pages);
  if (span == nullptr) {
    if (!grow(pages)) return nullptr;
    span = best_fit(pages);
  }
  remove_free(span);
  split(span, pages);
  issue(span, use);
  return span;
}

// Merges a Free-to-be span with Free neighbours, publishes and lists it.
void PageHeap::merge_and_list(Span* span) {
  uint32_t first = span->first();
  uint32_t pages = span->page_count();
  const auto absorb = [&](Span* neighbour) SD_REQUIRES(mutex_) {
    remove_free(neighbour);
    // A merged span is resident as a whole: what the neighbour had released no longer counts.
    if (neighbour->released) accounts_.released_bytes -= bytes_of(neighbour->page_count());
    span->needs_zero |= neighbour->needs_zero;
    first = std::min(first, neighbour->first());
    pages += neighbour->page_count();
    drop_descriptor(neighbour);
    if (planted(Defect::kTouchMergedDescriptor)) neighbour->needs_zero = true;
  };
  if (first > 0) {
    Span* left = arena_.spans() + arena_.page_map()[first - 1].load(std::memory_order_relaxed);
    // not reached by programs: every mapped page at an edge has a span
    if (left != arena_.spans() && left->current() == SpanState::kFree) absorb(left);
  }
  if (first + pages < mapped_pages_) {
    Span* right = arena_.spans() + arena_.page_map()[first + pages].load(std::memory_order_relaxed);
    // not reached by programs: every mapped page at an edge has a span
    if (right != arena_.spans() && right->current() == SpanState::kFree) absorb(right);
  }
  span->set_range(first, pages);
  // not reached by programs: they have no clock
  if (idle_clock_ != nullptr) span->limit = static_cast<uintptr_t>(idle_clock_());
  span->publish(SpanState::kFree);
  set_map(first, span);
  set_map(first + pages - 1, span);
  insert_free(span);
}

// Takes a span's bytes out of its account and its metadata back; it is not yet Free.
void PageHeap::withdraw(Span* span) {
  const bool stack = span->current() == SpanState::kStack;
  STACKDRAIN_CHECK(stack || span->current() == SpanState::kInUse, "only a Stack or InUse span can be freed");
  const uint64_t bytes = bytes_of(span->page_count());
  // A large stack was poisoned when it was given up, but for its links.
  asan_poison(base_of(*span), span->order == kLargeOrder ? kLinkBytes : bytes);
  if (!(planted(Defect::kNeedsZeroLost) && stack)) span->needs_zero = true;
  // First the state: who sees it in use sees what it is used for (A8), also while it is given up.
  span->publish(SpanState::kFree);
  clear_metadata(*span);
  accounts_.stack_spans_released += stack ? 1 : 0;
  (stack ? accounts_.stack_bytes : accounts_.heap_bytes) -= bytes;  // the size before merging (E4)
  accounts_.idle_bytes += bytes;
}

void PageHeap::free(Span* span) {
  MutexLock lock(mutex_);
  yield_point(Yield::kHeapLock);
  ++accounts_.locks_taken;
  const uint64_t bytes = bytes_of(span->page_count());
  uint64_t& account = span->current() == SpanState::kStack ? accounts_.stack_bytes : accounts_.heap_bytes;
  withdraw(span);
  merge_and_list(span);
  if (planted(Defect::kMergedSizeAccounted)) account -= bytes_of(span->page_count()) - bytes;
}

void PageHeap::free_lower_half(Span* span) {
  MutexLock lock(mutex_);
  yield_point(Yield::kHeapLock);
  ++accounts_.locks_taken;
  const uint32_t first = span->first();
  const uint32_t half = span->page_count() / 2;
  Span* lower = new_descriptor();
  lower->set_range(first, half);
  lower->needs_zero = true;
  lower->released = false;
  clear_metadata(*lower);
  span->narrow(first + half, half);
  span->slot_bytes = static_cast<uint32_t>(bytes_of(half));
  asan_poison(base_of(*lower), bytes_of(half));
  arena_.note_dirty(first + half, Arena::kDirtyLink);  // where the upper half's canary goes
  accounts_.stack_bytes -= bytes_of(half);
  accounts_.idle_bytes += bytes_of(half);
  merge_and_list(lower);
  if (planted(Defect::kSplitKeepsOldList)) list_for(half * 2).push_front(span, SpanList::kHeapFree);
}

// not reached by programs: the planted defect Q9 alone
void PageHeap::take_lock_again() SD_NO_ANALYSIS {
  mutex_.lock();
  mutex_.unlock();
}

void PageHeap::free_runs(FreeRuns& runs) {
  if (runs.last == nullptr) return;
  end_run(runs);
  MutexLock lock(mutex_);
  yield_point(Yield::kHeapLock);
  ++accounts_.locks_taken;
  if (planted(Defect::kQ9LockHeldIntoFree)) take_lock_again();
  accounts_.stack_spans_released += runs.spans;
  accounts_.stack_bytes -= bytes_of(runs.pages);  // the sizes before merging (E4)
  accounts_.idle_bytes += bytes_of(runs.pages);
  if (runs.dropped != nullptr) {
    runs.first_dropped->next = spare_;
    spare_ = runs.dropped;
  }
  for (Span* run = runs.first; run != nullptr;) {
    Span* const next = run->next;
    run->next = nullptr;
    merge_and_list(run);
    run = next;
  }
  runs = {};
}

// Under a fuzzer the system is spared: the pages read as zero afterwards, which is all that anybody can see of it, and
// a system call and its page faults would cost more than the rest of an execution.
bool PageHeap::give_back_memory(uint32_t first, uint32_t pages) {
#if STACKDRAIN_YIELDS
  for (uint32_t page = first; page < first + pages; ++page) {
    if (arena_.dirty()[page] != 0) arena_.clear_page(page);
  }
  return true;
#else
  return arena_.give_back(first, pages);
#endif
}

uint64_t PageHeap::release_idle(int64_t before) {
  MutexLock lock(mutex_);
  ++accounts_.locks_taken;
  uint64_t bytes = release_list(free_[0], before);
  for (size_t word = 0; word < non_empty_.size(); ++word) {
    for (uint64_t bits = non_empty_[word]; bits != 0; bits &= bits - 1) {
      bytes += release_list(free_[word * 64 + static_cast<size_t>(std::countr_zero(bits))], before);
    }
  }
  accounts_.released_bytes += bytes;
  return bytes;
}

uint64_t PageHeap::release_list(const SpanLinks& list, int64_t before) {
  uint64_t bytes = 0;
  for (Span* span = list.front(); span != nullptr; span = span->next) {
    // not reached by programs: they have no clock, and release all that is idle
    if (static_cast<int64_t>(span->limit) >= before) continue;
    if (span->released) continue;
    const uint64_t size = bytes_of(span->page_count());
    // not reached by programs: the system refuses
    if (!give_back_memory(span->first(), span->page_count())) continue;
    span->released = true;
    span->needs_zero = false;
    bytes += size;
  }
  return bytes;
}

}  // namespace stackdrain
