#include "target/cached_pool.h"

namespace stackdrain {

void CachedPool::reset_caches(const PoolParams& params) {
  STACKDRAIN_CHECK(params.orders >= 1 && params.orders <= kMaxOrders, "orders must be 1..4");
  STACKDRAIN_CHECK(params.procs >= 1 && params.procs <= kMaxProcs, "procs must be 1..64");
  // Only the caches that the old or the new parameters use can hold anything.
  const int procs = params_.procs > params.procs ? params_.procs : params.procs;
  for (int p = 0; p < procs; ++p) caches_[static_cast<size_t>(p)] = StackCache{};
  params_ = params;
  for (std::atomic<uint64_t>* counter :
       {&other_allocations_, &other_allocated_bytes_, &other_given_back_, &other_given_back_bytes_, &locks_taken_}) {
    counter->store(0, std::memory_order_relaxed);
  }
  mark_done();
  cycle_ = {};
}

Stack CachedPool::allocate_slow(Proc proc, size_t bytes) {
  const int order = order_of(bytes);
  CacheList* list = list_of(proc, order);
  if (list == nullptr) return allocate_uncached(proc, bytes);
  refill(*list, order);
  if (list->head == 0 && spare()) refill(*list, order);
  return list->head != 0 ? take_cached(*list, bytes) : Stack{};
}

Stack CachedPool::allocate_uncached(Proc proc, size_t bytes) {
  Stack stack;
  if (!is_small(bytes)) {
    stack = allocate_large(bytes);
    if (!stack) return stack;
  } else {
    const int order = order_of(bytes);
    stack.lo = take_uncached(order);
    // not reached by programs: who has no cache is a marker, and while it marks nothing is spared
    if (stack.lo == 0 && spare()) stack.lo = take_uncached(order);
    if (stack.lo == 0) return {};
    stack.hi = stack.lo + bytes;
  }
  asan_unpoison(stack.lo, bytes);
  if (StackCache* cache = cache_of(proc)) {
    ++cache->allocations;
    cache->allocated_bytes += bytes;
  } else {
    other_allocations_.fetch_add(1, std::memory_order_relaxed);
    other_allocated_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
  return stack;
}

uintptr_t CachedPool::take_uncached(int order) {
  MutexLock lock(lock_of(order));
  yield_point(Yield::kPoolLock);
  count_locks(1);
  return pool_take(order);
}

void CachedPool::count_given_back(Proc proc, size_t bytes) {
  if (StackCache* cache = cache_of(proc)) {
    ++cache->given_back;
    cache->given_back_bytes += bytes;
  } else {
    other_given_back_.fetch_add(1, std::memory_order_relaxed);
    other_given_back_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
}

void CachedPool::count_many_given_back(size_t stacks, size_t bytes) {
  other_given_back_.fetch_add(stacks, std::memory_order_relaxed);
  other_given_back_bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

void CachedPool::count_halved(size_t bytes) {
  other_given_back_bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

void CachedPool::free_slow(Proc proc, Stack stack) {
  const size_t bytes = stack.bytes();
  const int order = order_of(bytes);
  CacheList* list = list_of(proc, order);
  if (list == nullptr) {
    count_given_back(proc, bytes);
    release(proc, stack);
    return;
  }
  ++list->given_back;
  asan_poison(stack.lo + kLinkBytes, bytes - kLinkBytes);
  make_room(*list, order);
  push_cached(proc, *list, stack.lo, bytes);
}

void CachedPool::make_room(CacheList& list, int order) {
  yield_point(Yield::kCacheRelease);
  release_down_to(list, order, kCacheFillBytes);
}

void CachedPool::release(Proc proc, Stack stack) {
  const size_t bytes = stack.bytes();
  asan_poison(stack.lo + kLinkBytes, bytes - kLinkBytes);
  // not reached by programs: planted defects alone; what has a processor is freed through its list
  if (cache_of(proc) != nullptr && (is_small(bytes) || planted(Defect::kLargeInCache))) {
    release_into_cache(proc, stack);
    return;
  }
  if (!is_small(bytes)) {
    give_large(stack);
    return;
  }
  const int order = order_of(bytes);
  MutexLock lock(lock_of(order));
  yield_point(Yield::kPoolLock);
  count_locks(1);
  pool_give(stack.lo, order);
}

// not reached by programs: planted defects alone
void CachedPool::release_into_cache(Proc proc, Stack stack) {
  const int order = is_small(stack.bytes()) ? order_of(stack.bytes()) : params_.orders - 1;
  CacheList& list = cache_of(proc)->lists[static_cast<size_t>(order)];
  if (list.bytes >= kCacheCapBytes) make_room(list, order);
  push_cached(proc, list, stack.lo, order_bytes(order));
}

void CachedPool::refill(CacheList& list, int order) {
  yield_point(Yield::kCacheRefill);
  MutexLock lock(lock_of(order));
  yield_point(Yield::kPoolLock);
  count_locks(1);
  pool_fill(list, order);
}

void CachedPool::pool_fill(CacheList& list, int order) {
  while (list.bytes < kCacheFillBytes) {
    const uintptr_t lo = pool_take(order);
    if (lo == 0) return;  // the arena is exhausted: what was taken so far serves
    list.push(lo, order_bytes(order));
  }
}

void CachedPool::release_down_to(CacheList& list, int order, size_t keep_bytes) {
  MutexLock lock(lock_of(order));
  yield_point(Yield::kPoolLock);
  count_locks(1);
  while (list.bytes > keep_bytes) pool_give(list.pop(order_bytes(order)), order);
}

void CachedPool::flush_cache(Proc proc) {
  yield_point(Yield::kFlush);
  StackCache& cache = caches_[static_cast<size_t>(proc)];
  for (int order = 0; order < params_.orders; ++order) {
    CacheList& list = cache.lists[static_cast<size_t>(order)];
    shared_write(list.head);
    if (list.head == 0) continue;
    CacheList taken = list;  // its owner is stopped: nobody uses the list while it is given back
    yield_point(Yield::kFlushList);
    release_down_to(taken, order, 0);
    shared_write(list.head);
    list.head = 0;
    list.bytes = 0;
  }
}

void CachedPool::begin_cycle(CycleKind kind) {
  cycle_ = kind;
  marking_.store(true, std::memory_order_release);
}

}  // namespace stackdrain
