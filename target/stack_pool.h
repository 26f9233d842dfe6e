// ReferencePool: what all of Go's policies share: under the caches (CachedPool), per-order span lists, large stacks.
//
//                 allocate                                  free / a policy's drain
//   page heap ──▶ span, carved into slots ──▶ order list ──▶ cache ──▶ live ──▶ cache ──▶ order list ──▶ page heap
//                 (a full span is on no list)   refill 16 KiB          release to 16 KiB   (span empty, unless kept)
//   Stacks above the last order have a span of their own: page heap ──▶ live ──▶ page heap (or the large reserve).
//
// Locks, in order: an order's lock, then the large reserve's, then the page heap's.
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
#include <bit>
#include <cstddef>
#include <cstdint>

#include "target/any_pool.h"
#include "target/arena.h"
#include "target/cached_pool.h"
#include "target/mutex.h"
#include "target/page_heap.h"
#include "target/shared.h"
#include "target/span.h"
#include "target/yield.h"

namespace stackdrain {

class ReferencePool : public CachedPool {
 public:
  explicit ReferencePool(Arena& arena) : heap_(arena) { ReferencePool::reset(PoolParams{}); }

  void reset(const PoolParams& params);
  uintptr_t allocate_heap(uint32_t pages, bool zeroed);
  void free_heap(uintptr_t base);
  uint64_t release_idle() { return heap_.release_idle(); }
  void note_written(uintptr_t lo, size_t bytes) { heap_.arena().note_written(lo, bytes); }
  Location locate(uintptr_t address) const { return heap_.locate(address); }
  PoolStats stats() const;
  void walk(WalkVisitor& visitor) const;
  uintptr_t arena_base() const { return heap_.arena().base(); }
  size_t arena_mapped() const { return heap_.mapped_bytes(); }

 protected:
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

  // Frees many without touching them, with the world stopped: nobody else allocates or frees. Several threads may have
  // one each, about different spans; an order's lock is only between them, for its list. finish() lists the spans that
  // have a free slot now and gives those that became empty back to the heap in one go. Not thread-safe itself.
  class Sweep {
   public:
    explicit Sweep(ReferencePool& pool) : pool_(pool) {}
    ~Sweep() { finish(); }
    Sweep(const Sweep&) = delete;
    Sweep& operator=(const Sweep&) = delete;
    // Gives back the stacks of a span: the slots at `units` (bit n: at n * kMinStackBytes), or a large span's only one.
    // Spans come in ascending addresses, each once.
    void give(Span* span, uint32_t units);
    void finish();

   private:
    void unlist(Span* span);

    ReferencePool& pool_;
    std::array<SpanChain, kMaxOrders> fresh_;  // had no free slot before
    FreeRuns emptied_;
  };

  // Makes pool frees leave empty spans in state Stack and large stacks in the reserve. World stopped.
  void keep_empty(bool keep) { keep_empty_.store(keep, std::memory_order_release); }
  // Gives every kept empty span and the large reserve back to the heap: a walk over all partial spans, one order at a
  // time under its lock, as Go does since 1.6. The spans given back.
  size_t release_empty_spans();
  // Bytes of empty spans and reserved large stacks that keep_empty() holds back.
  uint64_t kept_bytes() const { return kept_bytes_.load(std::memory_order_relaxed); }

  // How an order's free slots are kept: in lists of spans with links in the slots. A policy may keep them otherwise.
  uintptr_t pool_take(int order) override SD_NO_ANALYSIS;
  void pool_give(uintptr_t lo, int order) override SD_NO_ANALYSIS;
  // The rest is called without a lock.
  virtual size_t release_empty_of(int order);
  virtual void walk_orders(WalkVisitor& visitor) const;

  PageHeap heap_;

 private:
  static constexpr size_t kReserveLists = 32;

  // What one order's lock guards.
  struct alignas(128) Order {
    SpanLinks partial;  // spans with at least one free slot
  };

  uintptr_t take_slot(Span& span);
  Span* carve_span(int order) SD_NO_ANALYSIS;

  Stack allocate_large(size_t bytes) override;
  void give_large(Stack stack) override;
  bool in_span(uintptr_t address) const override { return heap_.span_of(address) != nullptr; }
  Span* take_reserved(uint32_t pages) SD_EXCLUDES(reserve_mutex_);
  void release_large(Span* span);
  size_t release_reserve() SD_EXCLUDES(reserve_mutex_);
  void walk_slots(const Span& span, WalkVisitor& visitor) const;
  void walk_reserve(WalkVisitor& visitor) const;

  std::array<Order, kMaxOrders> orders_;
  mutable Mutex reserve_mutex_;
  // Large stacks freed during a cycle, for reuse; [n]: of 2^n pages.
  std::array<SpanLinks, kReserveLists> reserve_ SD_GUARDED_BY(reserve_mutex_);
  std::atomic<uint64_t> kept_bytes_{0};
  Atomic<bool> keep_empty_{false};
};

inline void ReferencePool::Sweep::give(Span* span, uint32_t units) {
  count_work();
  if (span->order != kLargeOrder) {
    const bool was_full = !span->has_free_slot();
    span->out = static_cast<uint16_t>(span->out - std::popcount(units));
    if (span->out != 0) {
      span->given_units |= static_cast<uint16_t>(units);
      if (was_full) fresh_[span->order].push_front(span, SpanList::kOrder);
      return;
    }
    if (!was_full) unlist(span);
  }
  pool_.heap_.collect(span, emptied_);
}

}  // namespace stackdrain
