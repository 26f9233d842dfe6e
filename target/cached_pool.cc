#include "target/cached_pool.h"

#include <algorithm>

namespace stackdrain {
namespace {

// How many stacks a full cache has above half.
uint32_t excess_of(const CacheList& list, int order) {
  return static_cast<uint32_t>(slots_in(list.bytes - std::min(list.bytes, kCacheFillBytes), order));
}

}  // namespace

void CachedPool::reset_caches(const PoolParams& params) {
  STACKDRAIN_CHECK(params.orders >= 2 && params.orders <= kMaxOrders, "orders must be 2..4");
  STACKDRAIN_CHECK(params.max_stack_bytes <= kMostStackBytes, "max_stack_bytes must be 2 GiB at most");
  STACKDRAIN_CHECK(params.procs >= 1 && params.procs <= kMaxProcs, "procs must be 1..64");
  // Only the caches that the old or the new parameters use can hold anything.
  const int procs = params_.procs > params.procs ? params_.procs : params.procs;
  for (int p = 0; p < procs; ++p) {
    caches_[static_cast<size_t>(p)] = StackCache{};
    for (Shelf& shelf : shelves_[static_cast<size_t>(p)].lists) shelf.count = 0;
  }
  shelf_slots_ = {};
  params_ = params;
  for (std::atomic<uint64_t>* counter :
       {&other_allocations_, &other_allocated_bytes_, &other_given_back_, &other_given_back_bytes_, &locks_taken_}) {
    counter->store(0, std::memory_order_relaxed);
  }
  mark_done();
  cycle_ = {};
}

void CachedPool::put_up_shelves(size_t arena_bytes) {
  for (int order = 0; order < params_.orders; ++order) {
    shelf_slots_[static_cast<size_t>(order)] =
        static_cast<uint32_t>(slots_in(shelf_cap_bytes(params_, arena_bytes, order), order));
  }
}

// Cold is to say: for size. A batch is one to eight stacks, and a loop over it that is unrolled costs more than it
// saves.
[[gnu::cold]] Stack CachedPool::allocate_slow(Proc proc, size_t bytes) {
  const int order = order_of(bytes);
  CacheList* list = list_of(proc, order);
  if (list == nullptr) return allocate_uncached(proc, bytes);
  yield_point(Yield::kCacheRefill);
  Shelf& shelf = shelf_of(proc, order);
  shared_read(shelf.count);
  return shelf.count != 0 ? take_shelved(shelf, *list, order) : allocate_refilled(*list, order);
}

// Out of line, as what else takes a lock here: who is served from a shelf needs no frame.
[[gnu::noinline]] Stack CachedPool::allocate_refilled(CacheList& list, int order) {
  refill(list, order);
  if (list.head == 0 && spare(order)) {
    yield_point(Yield::kCacheRefill);
    refill(list, order);
  }
  return list.head != 0 ? take_cached(list, order_bytes(order)) : Stack{};
}

// The batch on top of a shelf goes back into an empty cache, in the order in which it lay there; its hottest is taken.
[[gnu::cold]] Stack CachedPool::take_shelved(Shelf& shelf, CacheList& list, int order) {
  const size_t slot = order_bytes(order);
  const uint32_t batch = std::min(shelf.count, static_cast<uint32_t>(slots_in(kCacheFillBytes, order)));
  shared_write(shelf.count);
  shared_write(list.head);
  ++list.allocations;  // apart from the count of bytes: added to in one step, both would wait for their last stores
  shelf.count -= batch;
  const uintptr_t* const stacks = &shelf.stacks[shelf.count];
  uintptr_t head = list.head;
  for (uint32_t i = batch - 1; i > 0; --i) {
    link_of(stacks[i]) = head;
    head = stacks[i];
  }
  list.head = head;
  list.bytes += (batch - 1) * slot;
  asan_unpoison(stacks[0], slot);
  return {stacks[0], stacks[0] + slot};
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
    if (stack.lo == 0 && spare(order)) stack.lo = take_uncached(order);
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

[[gnu::cold]] void CachedPool::free_slow(Proc proc, Stack stack) {
  const size_t bytes = stack.bytes();
  const int order = order_of(bytes);
  CacheList* list = list_of(proc, order);
  if (list == nullptr) return free_uncached(proc, stack);
  ++list->given_back;
  asan_poison(stack.lo + kLinkBytes, bytes - kLinkBytes);
  yield_point(Yield::kCacheRelease);
  Shelf& shelf = shelf_of(proc, order);
  shared_read(shelf.count);
  if (!fits(shelf, *list, order)) return free_past_shelf(proc, stack.lo, *list, order);
  shelve(shelf, *list, order);
  push_cached(proc, *list, stack.lo, bytes);
}

[[gnu::noinline]] void CachedPool::free_uncached(Proc proc, Stack stack) {
  count_given_back(proc, stack.bytes());
  release(proc, stack);
}

[[gnu::noinline]] void CachedPool::free_past_shelf(Proc proc, uintptr_t lo, CacheList& list, int order) {
  make_room(proc, list, order);
  push_cached(proc, list, lo, order_bytes(order));
}

// Has the shelf room for a full cache's excess? It has not where there are no shelves.
bool CachedPool::fits(const Shelf& shelf, const CacheList& list, int order) const {
  return shelf.count + excess_of(list, order) <= shelf_slots_[static_cast<size_t>(order)];
}

// Of a full cache, whose excess does not fit on the shelf.
void CachedPool::make_room(Proc proc, CacheList& list, int order) {
  Shelf& shelf = shelf_of(proc, order);
  const uint32_t most = shelf_slots_[static_cast<size_t>(order)];
  if (most == 0) return release_down_to(list, order, kCacheFillBytes);
  const auto leave = static_cast<uint32_t>(slots_in(shelf_excess_bytes(most * order_bytes(order)), order));
  release_coldest(shelf, order, std::min(shelf.count, leave));
  shelve(shelf, list, order);
}

// A full cache's excess, its hottest, goes on the shelf.
[[gnu::cold]] void CachedPool::shelve(Shelf& shelf, CacheList& list, int order) {
  const uint32_t batch = std::min(excess_of(list, order), static_cast<uint32_t>(kShelfSlots) - shelf.count);
  shared_write(shelf.count);
  shared_write(list.head);
  uintptr_t* const stacks = &shelf.stacks[shelf.count];
  uintptr_t head = list.head;
  for (uint32_t i = 0; i < batch; ++i) {
    stacks[i] = head;
    head = link_of(head);
  }
  list.head = head;
  list.bytes -= batch * order_bytes(order);
  shelf.count += batch;
}

// Gives a shelf's coldest to the pool, under one hold.
void CachedPool::release_coldest(Shelf& shelf, int order, uint32_t stacks) {
  shared_write(shelf.count);
  const uint32_t left = shelf.count - stacks;
  {
    MutexLock lock(lock_of(order));
    yield_point(Yield::kPoolLock);
    count_locks(1);
    for (uint32_t i = 0; i < stacks; ++i) pool_give(shelf.stacks[i], order);
  }
  std::copy_n(&shelf.stacks[stacks], left, shelf.stacks.begin());
  shelf.count = left;
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
  if (list.bytes >= kCacheCapBytes) {
    yield_point(Yield::kCacheRelease);
    if (Shelf& shelf = shelf_of(proc, order); fits(shelf, list, order)) {
      shelve(shelf, list, order);
    } else {
      make_room(proc, list, order);
    }
  }
  push_cached(proc, list, stack.lo, order_bytes(order));
}

void CachedPool::refill(CacheList& list, int order) {
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
    Shelf& shelf = shelf_of(proc, order);
    shared_read(shelf.count);
    if (shelf.count != 0) release_coldest(shelf, order, shelf.count);
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
  STACKDRAIN_CHECK(threads_are_watched() || !marking(), "a cycle begins when the mark of the one before has ended");
  cycle_ = kind;
  marking_.store(true, std::memory_order_release);
}

}  // namespace stackdrain
