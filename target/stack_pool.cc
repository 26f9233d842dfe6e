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
  STACKDRAIN_CHECK(params.orders >= 1 && params.orders <= kMaxOrders, "orders must be 1..4");
  STACKDRAIN_CHECK(params.procs >= 1 && params.procs <= kMaxProcs, "procs must be 1..64");
  // Only the caches that the old or the new parameters use can hold anything.
  const int procs = params_.procs > params.procs ? params_.procs : params.procs;
  for (int p = 0; p < procs; ++p) caches_[static_cast<size_t>(p)] = StackCache{};
  params_ = params;
  heap_.reset(params.arena_pages, params.grow_chunk_bytes);
  for (Order& order : orders_) order.partial.clear();
  {
    MutexLock lock(reserve_mutex_);
    for (SpanLinks& list : reserve_) list.clear();
  }
  for (std::atomic<uint64_t>* counter : {&other_allocations_, &other_allocated_bytes_, &other_given_back_,
                                         &other_given_back_bytes_, &locks_taken_, &kept_bytes_}) {
    counter->store(0, std::memory_order_relaxed);
  }
  keep_empty(false);
  mark_done();
  cycle_ = {};
}

StackCache* ReferencePool::cache_of(Proc proc) {
  if (planted(Defect::kMarkerUsesFlushedCache) && proc == kNoProc && marking()) return &caches_[0];
  return proc == kNoProc ? nullptr : &caches_[static_cast<size_t>(proc)];
}

Stack ReferencePool::allocate(Proc proc, size_t bytes) {
  Stack stack;
  const int order = order_of(bytes);
  StackCache* cache = cache_of(proc);
  if (order >= params_.orders) [[unlikely]] {
    stack = allocate_large(bytes);
    if (!stack) return stack;
  } else if (cache != nullptr) {
    CacheList& list = cache->lists[static_cast<size_t>(order)];
    if (list.head == 0) [[unlikely]] {
      refill(list, order);
      if (list.head == 0) return {};
    }
    stack.lo = list.pop(bytes);
  } else {
    MutexLock lock(lock_of(order));
    yield_point(Yield::kPoolLock);
    count_locks(1);
    stack.lo = pool_take(order);
    if (stack.lo == 0) return {};
  }
  stack.hi = stack.lo + bytes;
  asan_unpoison(stack.lo, bytes);
  if (cache != nullptr) {
    ++cache->allocations;
    cache->allocated_bytes += bytes;
  } else {
    other_allocations_.fetch_add(1, std::memory_order_relaxed);
    other_allocated_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
  return stack;
}

void ReferencePool::count_given_back(Proc proc, size_t bytes) {
  if (StackCache* cache = cache_of(proc)) {
    ++cache->given_back;
    cache->given_back_bytes += bytes;
  } else {
    other_given_back_.fetch_add(1, std::memory_order_relaxed);
    other_given_back_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
}

void ReferencePool::count_many_given_back(size_t stacks, size_t bytes) {
  other_given_back_.fetch_add(stacks, std::memory_order_relaxed);
  other_given_back_bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

void ReferencePool::free(Proc proc, Stack stack) {
  count_given_back(proc, stack.bytes());
  release(proc, stack);
}

void ReferencePool::release(Proc proc, Stack stack) {
  const size_t bytes = stack.bytes();
  asan_poison(stack.lo + kLinkBytes, bytes - kLinkBytes);
  StackCache* cache = cache_of(proc);
  const bool small = is_small(bytes) || (planted(Defect::kLargeInCache) && cache != nullptr);
  if (!small) [[unlikely]] {
    Span* span = heap_.span_of(stack.lo);
    STACKDRAIN_CHECK(span != nullptr, "a freed stack has no span");
    release_large(span);
    return;
  }
  // not reached by programs: only a planted defect lets a large stack come here
  const int order = is_small(bytes) ? order_of(bytes) : params_.orders - 1;
  if (cache == nullptr) {
    MutexLock lock(lock_of(order));
    yield_point(Yield::kPoolLock);
    count_locks(1);
    pool_give(stack.lo, order);
    return;
  }
  CacheList& list = cache->lists[static_cast<size_t>(order)];
  push_cached(proc, list, stack.lo, order);
}

void ReferencePool::push_cached(Proc proc, CacheList& list, uintptr_t lo, int order) {
  if (list.bytes >= kCacheCapBytes && !planted(Defect::kCacheUnbounded)) [[unlikely]] {
    yield_point(Yield::kCacheRelease);
    release_down_to(list, order, kCacheFillBytes);
  }
  list.link(lo);
  const Proc now = yield_and_resume(Yield::kCachePush, proc);
  CacheList& head = planted(Defect::kPreemptedInCachePush) ? cache_of(now)->lists[static_cast<size_t>(order)] : list;
  head.store_head(lo, order_bytes(order));
}

void ReferencePool::refill(CacheList& list, int order) {
  yield_point(Yield::kCacheRefill);
  MutexLock lock(lock_of(order));
  yield_point(Yield::kPoolLock);
  count_locks(1);
  while (list.bytes < kCacheFillBytes) {
    const uintptr_t lo = pool_take(order);
    if (lo == 0) return;  // the arena is exhausted: what was taken so far serves
    list.push(lo, order_bytes(order));
  }
}

void ReferencePool::release_down_to(CacheList& list, int order, size_t keep_bytes) {
  MutexLock lock(lock_of(order));
  yield_point(Yield::kPoolLock);
  count_locks(1);
  while (list.bytes > keep_bytes) pool_give(list.pop(order_bytes(order)), order);
}

void ReferencePool::flush_cache(Proc proc) {
  yield_point(Yield::kFlush);
  StackCache& cache = caches_[static_cast<size_t>(proc)];
  for (int order = 0; order < params_.orders; ++order) {
    CacheList& list = cache.lists[static_cast<size_t>(order)];
    if (list.head == 0) continue;
    CacheList taken = list;  // its owner is stopped: nobody uses the list while it is given back
    yield_point(Yield::kFlushList);
    release_down_to(taken, order, 0);
    list = {};
  }
}

void ReferencePool::begin_cycle(CycleKind kind) {
  cycle_ = kind;
  marking_.store(true, std::memory_order_release);
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
  if (bytes > params_.max_stack_bytes && !planted(Defect::kGrowthLimitOnDelta)) return {};
  const uint32_t pages = pages_for(bytes);
  Span* span = take_reserved(pages);
  if (span == nullptr) {
    span = heap_.allocate(pages, {SpanState::kStack, kLargeOrder, static_cast<uint32_t>(bytes)});
    if (span == nullptr) return {};
  }
  span->out = 1;
  const uintptr_t lo = heap_.base_of(*span);
  return {lo, lo + bytes};
}

void ReferencePool::release_large(Span* span) {
  count_work();
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
    if (span->out == 0) {
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
  for (int order = 0; order < params_.orders; ++order) {
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
  STACKDRAIN_CHECK(span != nullptr && span->current() == SpanState::kInUse,
                   "free_heap wants the base of an InUse span");
  if (const size_t bytes = size_t{span->page_count()} << kPageShift;
      planted(Defect::kFreePathBySize) && is_small(bytes) && bytes == order_bytes(order_of(bytes))) {
    return release(0, {base, base + bytes});
  }
  heap_.free(span);
}

void ReferencePool::count_halved(size_t bytes) {
  other_given_back_bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

// Which lock it holds depends on the stacks that come, so the analysis can't follow; Batch is the only place where a
// lock outlives a call, and its destructor gives it back.
void ReferencePool::Batch::release(Stack stack) SD_NO_ANALYSIS {
  asan_poison(stack.lo + kLinkBytes, stack.bytes() - kLinkBytes);
  if (!pool_.is_small(stack.bytes())) {
    finish();
    pool_.release_large(pool_.heap_.span_of(stack.lo));
    return;
  }
  const int order = order_of(stack.bytes());
  const size_t wanted = pool_.lock_index(order);
  if ((held_ >> wanted & 1) == 0) {
    if (!planted(Defect::kThreeLockCycle)) finish();
    pool_.locks_[wanted].lock();
    held_ |= 1u << wanted;
    pool_.count_locks(1);
  }
  if (planted(Defect::kQ9LockHeldIntoFree)) return pool_.release(kNoProc, stack);
  pool_.pool_give(stack.lo, order);
}

void ReferencePool::lock_all() SD_NO_ANALYSIS {
  for (size_t i = 0; i < lock_count(); ++i) locks_[i].lock();
  count_locks(lock_count());
}

void ReferencePool::unlock_all() SD_NO_ANALYSIS {
  for (size_t i = lock_count(); i-- > 0;) locks_[i].unlock();
}

ReferencePool::Sweep::Sweep(ReferencePool& pool) SD_NO_ANALYSIS : pool_(pool) {
  pool.lock_all();
}

void ReferencePool::Sweep::give(Span* span, uint32_t units) {
  count_work();
  if (span->order != kLargeOrder) {
    SpanLinks& partial = pool_.orders_[span->order].partial;
    const bool was_full = !span->has_free_slot();
    span->out = static_cast<uint16_t>(span->out - std::popcount(units));
    if (span->out != 0) {
      span->given_units |= static_cast<uint16_t>(units);
      if (was_full) partial.push_front(span, SpanList::kOrder);
      return;
    }
    if (!was_full) partial.remove(span);
  }
  span->next = nullptr;
  (first_ == nullptr ? first_ : last_->next) = span;
  last_ = span;
}

void ReferencePool::Sweep::finish() SD_NO_ANALYSIS {
  // not reached by programs: finished by its destructor only
  if (!held_) return;
  if (first_ != nullptr) pool_.heap_.free_ascending(first_);
  pool_.unlock_all();
  held_ = false;
}

void ReferencePool::Batch::finish() SD_NO_ANALYSIS {
  for (; held_ != 0; held_ &= held_ - 1) pool_.locks_[static_cast<size_t>(std::countr_zero(held_))].unlock();
}

}  // namespace stackdrain
