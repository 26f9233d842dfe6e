// CachedPool: what every pool of ours shares: processors' caches, the orders' locks, and the counts of what callers do.
//
//   allocate ◀── cache (no lock) ◀──refill to 16 KiB──  pool_take   │ where free slots and spans are kept is the
//   free     ──▶ cache (no lock) ──release to 16 KiB──▶ pool_give   │ derived class's: ReferencePool (lists of spans,
//   what has no processor, or is large, goes there directly         │ like Go), or a policy's own
//
// A policy that has shelves (stack_cache.h) says so in its reset: then refill and release first come to the processor's
// own shelf, without a lock.
//
// The fast path is here, in the header: an allocation and a free that meet their cache are a few instructions, and no
// call is between them and the virtual one of AnyPool. A cache has no lock: its owner alone touches it, and the
// collector flushes it with the world stopped. Locks, in order: an order's (locks_[i]; locks_[0] alone under
// LockPlan::kOneLock), then whatever the derived class has.
//
// Invariants here: B4, E3. Source: Go commit 91e8554b8b (stack.c) and go1.19 (stack.go), in our own words.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "target/any_pool.h"
#include "target/defects.h"
#include "target/mutex.h"
#include "target/shared.h"
#include "target/stack_cache.h"
#include "target/yield.h"

namespace stackdrain {

class CachedPool {
 public:
  CachedPool() = default;
  virtual ~CachedPool() = default;
  CachedPool(const CachedPool&) = delete;
  CachedPool& operator=(const CachedPool&) = delete;

  Stack allocate(Proc proc, size_t bytes) {
    CacheList* const list = list_of(proc, order_of(bytes));
    if (list == nullptr || list->head == 0) [[unlikely]]
      return allocate_slow(proc, bytes);
    return take_cached(*list, bytes);
  }

  void free(Proc proc, Stack stack) {
    CacheList* const list = list_of(proc, order_of(stack.bytes()));
    if (list == nullptr || (list->bytes >= kCacheCapBytes && !planted(Defect::kCacheUnbounded))) [[unlikely]] {
      return free_slow(proc, stack);
    }
    ++list->given_back;
    asan_poison(stack.lo + kLinkBytes, stack.bytes() - kLinkBytes);
    push_cached(proc, *list, stack.lo, stack.bytes());
  }

  void flush_cache(Proc proc);
  void begin_cycle(CycleKind kind);
  const PoolParams& params() const { return params_; }

 protected:
  // Empty caches, counts of zero, no cycle, no shelves.
  void reset_caches(const PoolParams& params);
  // After that: there are shelves, in an arena of so many bytes.
  void put_up_shelves(size_t arena_bytes);

  // True while markers may hold pointers: from begin_cycle to mark_done. Any thread may ask.
  bool marking() const { return marking_.load(std::memory_order_acquire); }
  // Ends what begin_cycle began; every policy's end_mark calls it first.
  void mark_done() { marking_.store(false, std::memory_order_release); }
  const CycleKind& cycle() const { return cycle_; }

  // Counts a stack as given back by the caller; what becomes of it is the policy's.
  void count_given_back(Proc proc, size_t bytes);
  void count_many_given_back(size_t stacks, size_t bytes);
  // Counts the half that a stack lost where it is.
  void count_halved(size_t bytes);
  // Frees without counting: into proc's cache, the pool or the heap. What a drain and free() share.
  void release(Proc proc, Stack stack);

  // A slot of an order, from a new span if no old one has one; 0 when the arena is exhausted. Here and in the next two
  // the order's lock is held, which the analysis can't name because which one it is depends on LockPlan.
  virtual uintptr_t pool_take(int order) SD_NO_ANALYSIS = 0;
  virtual void pool_give(uintptr_t lo, int order) SD_NO_ANALYSIS = 0;
  // Fills a cache's list to kCacheFillBytes, or as far as the arena reaches.
  virtual void pool_fill(CacheList& list, int order) SD_NO_ANALYSIS;
  // The rest is called without a lock. A large stack, or an empty one when the arena is exhausted.
  virtual Stack allocate_large(size_t bytes) = 0;
  virtual void give_large(Stack stack) = 0;
  // The arena is exhausted for an order: gives up what is only kept for later. True if there is some now: then the
  // caller asks again.
  virtual bool spare([[maybe_unused]] int order) { return false; }
  // Does the address lie in a span that was issued?
  virtual bool in_span(uintptr_t address) const = 0;

  bool is_small(size_t bytes) const { return order_of(bytes) < params_.orders; }
  size_t lock_index(int order) const { return params_.locks == LockPlan::kOneLock ? 0 : static_cast<size_t>(order); }
  Mutex& lock_of(int order) const { return locks_[lock_index(order)]; }
  Mutex& lock_at(size_t index) const { return locks_[index]; }
  void count_locks(uint64_t n) { locks_taken_.fetch_add(n, std::memory_order_relaxed); }

  // Adds what callers did and what caches hold.
  void count_into(PoolStats& stats) const;
  void walk_caches(WalkVisitor& visitor) const;

 private:
  // False: the caller's small stacks come from the pool and go there.
  bool has_cache(Proc proc) const { return proc != kNoProc || (planted(Defect::kMarkerUsesFlushedCache) && marking()); }
  static size_t cache_index(Proc proc) {
    return planted(Defect::kMarkerUsesFlushedCache) && proc == kNoProc ? 0 : static_cast<size_t>(proc);
  }
  StackCache* cache_of(Proc proc) { return has_cache(proc) ? &caches_[cache_index(proc)] : nullptr; }
  Shelf& shelf_of(Proc proc, int order) { return shelves_[cache_index(proc)].lists[static_cast<size_t>(order)]; }
  // The list that serves a caller's stacks of an order; nullptr if that is the pool or the heap.
  CacheList* list_of(Proc proc, int order) {
    if (!has_cache(proc) || order >= params_.orders) [[unlikely]]
      return nullptr;
    return &caches_[cache_index(proc)].lists[static_cast<size_t>(order)];
  }
  static Stack take_cached(CacheList& list, size_t bytes) {
    const uintptr_t lo = list.pop(bytes);
    ++list.allocations;
    asan_unpoison(lo, bytes);
    return {lo, lo + bytes};
  }
  void push_cached(Proc proc, CacheList& list, uintptr_t lo, size_t slot_bytes) {
    list.link(lo);
    const Proc now = yield_and_resume(Yield::kCachePush, proc);
    const auto order = static_cast<size_t>(order_of(slot_bytes));
    CacheList& head = planted(Defect::kPreemptedInCachePush) ? cache_of(now)->lists[order] : list;
    head.store_head(lo, slot_bytes);
  }
  // What does not meet a list that can serve it.
  Stack allocate_slow(Proc proc, size_t bytes);
  Stack allocate_refilled(CacheList& list, int order);
  Stack allocate_uncached(Proc proc, size_t bytes);
  uintptr_t take_uncached(int order);
  void free_slow(Proc proc, Stack stack);
  void free_uncached(Proc proc, Stack stack);
  void free_past_shelf(Proc proc, uintptr_t lo, CacheList& list, int order);
  void make_room(Proc proc, CacheList& list, int order);
  void release_into_cache(Proc proc, Stack stack);
  void refill(CacheList& list, int order);
  void release_down_to(CacheList& list, int order, size_t keep_bytes);
  bool fits(const Shelf& shelf, const CacheList& list, int order) const;
  static void shelve(Shelf& shelf, CacheList& list, int order);
  static Stack take_shelved(Shelf& shelf, CacheList& list, int order);
  void release_coldest(Shelf& shelf, int order, uint32_t stacks);

  PoolParams params_;
  mutable std::array<Mutex, kMaxOrders> locks_;
  std::array<StackCache, kMaxProcs> caches_;
  std::array<StackShelves, kMaxProcs> shelves_;
  std::array<uint32_t, kMaxOrders> shelf_slots_{};  // what a shelf of each order may hold; 0: there are none
  // Events of callers without a processor (markers, drainers).
  std::atomic<uint64_t> other_allocations_{0};
  std::atomic<uint64_t> other_allocated_bytes_{0};
  std::atomic<uint64_t> other_given_back_{0};
  std::atomic<uint64_t> other_given_back_bytes_{0};
  std::atomic<uint64_t> locks_taken_{0};
  Atomic<bool> marking_{false};
  CycleKind cycle_;
};

}  // namespace stackdrain
