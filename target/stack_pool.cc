#include "target/stack_pool.h"

#include <bit>
#include <cstring>

#include "target/defects.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

// Large stacks are powers of two, so their pages are too.
size_t reserve_class(uint32_t pages) {
  return static_cast<size_t>(std::countr_zero(pages));
}

}  // namespace

void ReferencePool::reset(const PoolParams& params) {
  reset_caches(params);
  heap_.reset(params.arena_pages, params.grow_chunk_bytes);
  heap_.stamp_idle(params.idle_clock);
  for (Order& order : orders_) order.partial.clear();
  {
    MutexLock lock(reserve_mutex_);
    for (SpanLinks& list : reserve_) list.clear();
  }
  kept_bytes_.store(0, std::memory_order_relaxed);
  keep_empty(false);
}

// A fresh span for an order, its slots linked in descending addresses, on the order's list.
Span* ReferencePool::carve_span(int order) {
  const size_t slot = order_bytes(order);
  Span* span =
      heap_.allocate(kPoolSpanPages, {SpanState::kStack, static_cast<uint8_t>(order), static_cast<uint32_t>(slot)});
  if (span == nullptr) return nullptr;
  const uintptr_t base = heap_.base_of(*span);
  for (uintptr_t lo = base; lo < base + kPoolSpanBytes; lo += slot) {
    asan_unpoison(lo, kLinkBytes);
    link_of(lo) = span->free_list;
    span->free_list = lo;
  }
  if (!planted(Defect::kSpanNotListed)) {
    orders_[static_cast<size_t>(order)].partial.push_front(span, SpanList::kOrder);
  }
  return span;
}

uintptr_t ReferencePool::pool_take(int order) {
  SpanLinks& partial = orders_[static_cast<size_t>(order)].partial;
  Span* span = partial.front();
  if (span == nullptr) {
    span = carve_span(order);
    if (span == nullptr) return 0;
  } else if (span->out == 0) {
    kept_bytes_.fetch_sub(kPoolSpanBytes, std::memory_order_relaxed);  // a kept empty span is in use again
  }
  const uintptr_t lo = take_slot(*span);
  span->out = static_cast<uint16_t>(planted(Defect::kOutCountInverted) ? span->out - 1 : span->out + 1);
  // not reached by programs: only a planted defect leaves a span unlisted
  if (!span->has_free_slot() && span->list == SpanList::kOrder) partial.remove(span);
  return lo;
}

// A free slot of a span that has one: the last one linked, else the lowest that a Sweep gave back.
uintptr_t ReferencePool::take_slot(Span& span) {
  shared_write(span.free_list);
  uintptr_t lo = span.free_list;
  if (lo != 0) [[likely]] {
    span.free_list = link_of(lo);
    return lo;
  }
  lo = heap_.base_of(span) + static_cast<uintptr_t>(std::countr_zero(span.given_units)) * kMinStackBytes;
  span.given_units &= static_cast<uint16_t>(span.given_units - 1);
  return lo;
}

void ReferencePool::pool_give(uintptr_t lo, int order) {
  count_work();
  SpanLinks& partial = orders_[static_cast<size_t>(order)].partial;
  Span* span = heap_.span_of(lo);
  STACKDRAIN_CHECK(span != nullptr && span->current() == SpanState::kStack, "a freed slot is in no stack span");
  if (!span->has_free_slot()) partial.push_front(span, SpanList::kOrder);
  shared_write(span->free_list);
  link_of(lo) = span->free_list;
  span->free_list = lo;
  span->out = static_cast<uint16_t>(planted(Defect::kOutCountInverted) ? span->out + 1 : span->out - 1);
  if (span->out != 0) return;
  if (keep_empty_.load(std::memory_order_relaxed)) {
    kept_bytes_.fetch_add(kPoolSpanBytes, std::memory_order_relaxed);
    return;
  }
  // not reached by programs: only a planted defect leaves a span unlisted
  if (span->list == SpanList::kOrder) partial.remove(span);
  heap_.free(span);
}

Stack ReferencePool::allocate_large(size_t bytes) {
  // not reached by programs: who grows asks for no more
  if (bytes > params().max_stack_bytes && !planted(Defect::kGrowthLimitOnDelta)) return {};
  const uint32_t pages = pages_for(bytes);
  Span* span = take_reserved(pages);
  if (span == nullptr) {
    span = heap_.allocate(pages, {SpanState::kStack, kLargeOrder, static_cast<uint32_t>(bytes)});
    if (span == nullptr) return {};
  }
  shared_write(span->out);
  span->out = 1;
  const uintptr_t lo = heap_.base_of(*span);
  return {lo, lo + bytes};
}

void ReferencePool::give_large(Stack stack) {
  Span* span = heap_.span_of(stack.lo);
  STACKDRAIN_CHECK(span != nullptr, "a freed stack has no span");
  release_large(span);
}

void ReferencePool::release_large(Span* span) {
  count_work();
  shared_write(span->out);
  span->out = 0;
  if (!keep_empty_.load(std::memory_order_acquire)) {
    heap_.free(span);
    yield_point(Yield::kSpanFreed);
    if (planted(Defect::kFreeBeforeMetadata)) PageHeap::clear_metadata(*span);
    return;
  }
  kept_bytes_.fetch_add(span->slot_bytes, std::memory_order_relaxed);
  MutexLock lock(reserve_mutex_);
  count_locks(1);
  reserve_[reserve_class(span->page_count())].push_front(span, SpanList::kLargeReserve);
}

// A reserved large span of exactly that many pages, last freed first; B7: its size class is exact.
Span* ReferencePool::take_reserved(uint32_t pages) {
  if (kept_bytes() == 0 || planted(Defect::kLargeNotReusable)) return nullptr;
  MutexLock lock(reserve_mutex_);
  count_locks(1);
  SpanLinks& list = reserve_[reserve_class(pages)];
  Span* span = list.front();
  if (span == nullptr) return nullptr;
  list.remove(span);
  kept_bytes_.fetch_sub(span->slot_bytes, std::memory_order_relaxed);
  return span;
}

size_t ReferencePool::release_reserve() {
  size_t released = 0;
  MutexLock lock(reserve_mutex_);
  count_locks(1);
  for (SpanLinks& list : reserve_) {
    while (Span* span = list.front()) {
      count_work();
      list.remove(span);
      kept_bytes_.fetch_sub(span->slot_bytes, std::memory_order_relaxed);
      heap_.free(span);
      ++released;
    }
  }
  return released;
}

size_t ReferencePool::release_empty_of(int order) {
  size_t released = 0;
  MutexLock lock(lock_of(order));
  yield_point(Yield::kPoolLock);
  count_locks(1);
  SpanLinks& partial = orders_[static_cast<size_t>(order)].partial;
  for (Span* span = partial.front(); span != nullptr;) {
    count_work();
    Span* next = span->next;
    shared_read(span->free_list);
    if (span->out == 0 && !(planted(Defect::kQ7LastNodeSkipped) && next == nullptr)) {
      partial.remove(span);
      kept_bytes_.fetch_sub(kPoolSpanBytes, std::memory_order_relaxed);
      heap_.free(span);
      ++released;
    }
    span = next;
  }
  return released;
}

size_t ReferencePool::release_empty_spans() {
  size_t released = 0;
  for (int order = 0; order < params().orders; ++order) {
    released += release_empty_of(order);
    yield_point(Yield::kDrainStep);
  }
  return released + release_reserve();
}

uintptr_t ReferencePool::allocate_heap(uint32_t pages, bool zeroed) {
  Span* span = heap_.allocate(pages, {SpanState::kInUse, kNoOrder, 0});
  if (span == nullptr) return 0;
  const uintptr_t base = heap_.base_of(*span);
  if (zeroed && span->needs_zero) {
    std::memset(reinterpret_cast<void*>(base), 0, size_t{pages} << kPageShift);
    span->needs_zero = false;
  }
  return base;
}

void ReferencePool::free_heap(uintptr_t base) {
  Span* span = heap_.span_of(base);
  STACKDRAIN_CHECK(span != nullptr && span->current() == SpanState::kInUse && heap_.base_of(*span) == base,
                   "free_heap wants the base of an InUse span");
  if (const size_t bytes = size_t{span->page_count()} << kPageShift;
      planted(Defect::kFreePathBySize) && is_small(bytes) && bytes == order_bytes(order_of(bytes))) {
    return release(0, {base, base + bytes});
  }
  heap_.free(span);
}

// Which lock it holds depends on the stacks that come, so the analysis can't follow; Batch is the only place where a
// lock outlives a call, and its destructor gives it back.
void ReferencePool::Batch::release(Stack stack) SD_NO_ANALYSIS {
  asan_poison(stack.lo + kLinkBytes, stack.bytes() - kLinkBytes);
  if (!pool_.is_small(stack.bytes())) {
    finish();
    pool_.give_large(stack);
    return;
  }
  const int order = order_of(stack.bytes());
  const size_t wanted = pool_.lock_index(order);
  if ((held_ >> wanted & 1) == 0) {
    if (!planted(Defect::kThreeLockCycle)) finish();
    pool_.lock_at(wanted).lock();
    held_ |= 1u << wanted;
    pool_.count_locks(1);
  }
  if (planted(Defect::kQ9LockHeldIntoFree)) return pool_.release(kNoProc, stack);
  pool_.pool_give(stack.lo, order);
}

void ReferencePool::Sweep::unlist(Span* span) {
  MutexLock lock(pool_.lock_of(span->order));
  pool_.count_locks(1);
  pool_.orders_[span->order].partial.remove(span);
}

void ReferencePool::Sweep::finish() {
  for (int order = 0; order < kMaxOrders; ++order) {
    SpanChain& fresh = fresh_[static_cast<size_t>(order)];
    if (fresh.empty()) continue;
    MutexLock lock(pool_.lock_of(order));
    pool_.count_locks(1);
    pool_.orders_[static_cast<size_t>(order)].partial.splice_front(fresh);
  }
  pool_.heap_.free_runs(emptied_);
}

void ReferencePool::Batch::finish() SD_NO_ANALYSIS {
  for (; held_ != 0; held_ &= held_ - 1) pool_.lock_at(static_cast<size_t>(std::countr_zero(held_))).unlock();
}

}  // namespace stackdrain
