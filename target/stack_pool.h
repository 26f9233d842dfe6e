// ReferencePool: what all of Go's policies share: per-order span lists, processors' caches, large stacks.
//
//                 allocate                                  free / a policy's drain
//   page heap ──▶ span, carved into slots ──▶ order list ──▶ cache ──▶ live ──▶ cache ──▶ order list ──▶ page heap
//                 (a full span is on no list)   refill 16 KiB          release to 16 KiB   (span empty, unless kept)
//   Stacks above the last order have a span of their own: page heap ──▶ live ──▶ page heap (or the large reserve).
//
// Locks, in order: an order's lock (locks_[i]; locks_[0] alone under LockPlan::kOneLock), then the large reserve's,
// then the page heap's. A cache has no lock: its owner alone touches it, and the collector flushes it with the world
// stopped.
//
// A policy is a class derived from this one that adds retire, end_mark, restarted, drain_step and drain_pending (see
// drain/policies.h) and may call the protected parts. keep_empty_ is how a policy keeps spans that become empty
// in state Stack; it is written with the world stopped and read under an order's lock.
//
// Invariants here: A4, A5, B1..B4, B7, E1..E3. Source: Go commit 91e8554b8b (stack.c) and go1.19 (stack.go), in our own
// words.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "target/any_pool.h"
#include "target/arena.h"
#include "target/mutex.h"
#include "target/page_heap.h"
#include "target/span.h"
#include "target/stack_cache.h"

namespace stackdrain {

class ReferencePool {
 public:
  explicit ReferencePool(Arena& arena) : heap_(arena) { ReferencePool::reset(PoolParams{}); }
  virtual ~ReferencePool() = default;
  ReferencePool(const ReferencePool&) = delete;
  ReferencePool& operator=(const ReferencePool&) = delete;

  void reset(const PoolParams& params);
  Stack allocate(Proc proc, size_t bytes);
  void free(Proc proc, Stack stack);
  void flush_cache(Proc proc);
  void begin_cycle(CycleKind kind);
  uintptr_t allocate_heap(uint32_t pages, bool zeroed);
  void free_heap(uintptr_t base);
  uint64_t release_idle() { return heap_.release_idle(); }
  void note_written(uintptr_t lo, size_t bytes) { heap_.note_written(lo, bytes); }
  Location locate(uintptr_t address) const { return heap_.locate(address); }
  PoolStats stats() const;
  void walk(WalkVisitor& visitor) const;
  const PoolParams& params() const { return params_; }
  uintptr_t arena_base() const { return heap_.arena().base(); }
  size_t arena_mapped() const { return heap_.mapped_bytes(); }

 protected:
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

  // Frees many with few lock operations: takes the lock that the next stack needs and keeps it until another is needed
  // or finish() is called. Not thread-safe itself; one on each thread.
  class Batch {
   public:
    explicit Batch(ReferencePool& pool) : pool_(pool) {}
    ~Batch() { finish(); }
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;
    void release(Stack stack);
    void finish();

   private:
    ReferencePool& pool_;
    uint32_t held_ = 0;  // bit i: locks_[i]; one at most, because no order's lock goes before another's
  };

  // Frees many without touching them. Begun with every order's lock and ended with finish(), which gives the spans
  // that became empty back to the heap in one go. Not thread-safe itself.
  class Sweep {
   public:
    explicit Sweep(ReferencePool& pool);
    ~Sweep() { finish(); }
    Sweep(const Sweep&) = delete;
    Sweep& operator=(const Sweep&) = delete;
    // Gives back the stacks of a span: the slots at `units` (bit n: at n * kMinStackBytes), or a large span's only one.
    // Spans come in ascending addresses, each once.
    void give(Span* span, uint32_t units);
    void finish();

   private:
    ReferencePool& pool_;
    Span* first_ = nullptr;  // became empty, in ascending addresses
    Span* last_ = nullptr;
    bool held_ = true;
  };

  // Makes pool frees leave empty spans in state Stack and large stacks in the reserve. World stopped.
  void keep_empty(bool keep) { keep_empty_.store(keep, std::memory_order_release); }
  // Gives every kept empty span and the large reserve back to the heap: a walk over all partial spans, one order at a
  // time under its lock, as Go does since 1.6. The spans given back.
  size_t release_empty_spans();
  // Bytes of empty spans and reserved large stacks that keep_empty() holds back.
  uint64_t kept_bytes() const { return kept_bytes_.load(std::memory_order_relaxed); }

  // How an order's free slots are kept: here in lists of spans with links in the slots. A policy may keep them
  // otherwise; these are off the caches' fast path. Under the order's lock, which the analysis can't name because which
  // one it is depends on LockPlan. A free slot, from a new span if there is none; 0 when the arena is exhausted.
  virtual uintptr_t pool_take(int order) SD_NO_ANALYSIS;
  virtual void pool_give(uintptr_t lo, int order) SD_NO_ANALYSIS;
  // The rest is called without a lock.
  virtual size_t release_empty_of(int order);
  virtual void walk_orders(WalkVisitor& visitor) const;

  bool is_small(size_t bytes) const { return order_of(bytes) < params_.orders; }
  // Every order's lock, in ascending order; nobody else takes two.
  void lock_all() SD_NO_ANALYSIS;
  void unlock_all() SD_NO_ANALYSIS;

  PageHeap heap_;

 private:
  static constexpr size_t kReserveLists = 32;

  // What one order's lock guards.
  struct alignas(128) Order {
    SpanLinks partial;  // spans with at least one free slot
  };

  size_t lock_index(int order) const { return params_.locks == LockPlan::kOneLock ? 0 : static_cast<size_t>(order); }
  Mutex& lock_of(int order) const { return locks_[lock_index(order)]; }
  StackCache* cache_of(Proc proc);
  void count_locks(uint64_t n) { locks_taken_.fetch_add(n, std::memory_order_relaxed); }

  uintptr_t take_slot(Span& span);
  size_t lock_count() const { return params_.locks == LockPlan::kOneLock ? 1 : static_cast<size_t>(params_.orders); }
  Span* carve_span(int order) SD_NO_ANALYSIS;

  Stack allocate_large(size_t bytes);
  Span* take_reserved(uint32_t pages) SD_EXCLUDES(reserve_mutex_);
  void release_large(Span* span);
  size_t release_reserve() SD_EXCLUDES(reserve_mutex_);
  void push_cached(Proc proc, CacheList& list, uintptr_t lo, int order);
  void refill(CacheList& list, int order);
  void release_down_to(CacheList& list, int order, size_t keep_bytes);
  void walk_slots(const Span& span, WalkVisitor& visitor) const;
  void walk_caches(WalkVisitor& visitor) const;
  void walk_reserve(WalkVisitor& visitor) const;

  PoolParams params_;
  mutable std::array<Mutex, kMaxOrders> locks_;
  std::array<Order, kMaxOrders> orders_;
  std::array<StackCache, kMaxProcs> caches_;
  // Events of callers without a processor (markers, drainers).
  std::atomic<uint64_t> other_allocations_{0};
  std::atomic<uint64_t> other_allocated_bytes_{0};
  std::atomic<uint64_t> other_given_back_{0};
  std::atomic<uint64_t> other_given_back_bytes_{0};
  std::atomic<uint64_t> locks_taken_{0};
  mutable Mutex reserve_mutex_;
  // Large stacks freed during a cycle, for reuse; [n]: of 2^n pages.
  std::array<SpanLinks, kReserveLists> reserve_ SD_GUARDED_BY(reserve_mutex_);
  std::atomic<uint64_t> kept_bytes_{0};
  std::atomic<bool> keep_empty_{false};
  std::atomic<bool> marking_{false};
  CycleKind cycle_;
};

}  // namespace stackdrain
