// SmallStackPool: the least that somebody's own pool must be able to do, and SmallPool, which makes a StackPool of it.
//
// A pool of this kind hands out stacks and takes them back; it knows no spans, no processors, no collections. SmallPool
// puts off for it what a mark may still hold a pointer into, as the seed does, and keeps book beside it: so a program
// can be run on it, and what the suite holds it to is what can be seen from outside:
//
//   issued stacks are what was asked for and never overlap (B2), keep their contents and canaries until they are freed
//   (D1, D2, D8, G1), as many live as the program says (E3), nothing is left at the end (C3, E6), and programs can't
//   tell it from any other pool (G2).
//
// A DeferringStackPool knows of collections, too, and puts off by itself; of it is seen besides whether it issues a
// stack again that a mark may still hold a pointer into (A2, A3).
//
// What it can't tell is not checked: kNeedsPlaces in fuzz/invariants.h. Its verdict names what was left out.
//
//   allocate ──▶ live ──free / retire outside a mark──▶ P::free
//                 └──retire in a mark──▶ waiting_ ──end_mark──▶ P::free
//                     (P defers: P::retire, too)   (P defers: off the book, then P::end_mark; then P::drain until 0)
//
// Thread-safety: mutex_ guards the book and every call into P. Without yield points (benchmarks) no book is kept, and a
// P that says kThreadSafe (or so in `static bool thread_safe()`) is called as it is, nothing being counted but what
// waits: a figure is then the pool's own.
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "target/any_pool.h"
#include "target/arena.h"
#include "target/mutex.h"
#include "target/yield.h"

namespace stackdrain {

// allocate(bytes): a stack of exactly `bytes` (a power of two from 2 KiB), 16-byte aligned at both ends; empty if there
// is no memory. free: no pointer into it is left. A P is made anew for each program, so it must be default
// constructible; its destructor frees what it took from the system. `static constexpr bool kThreadSafe = true;` says
// that both may be called by several threads.
template <class P>
concept SmallStackPool = std::default_initializable<P> && requires(P pool, size_t bytes, Stack stack) {
  { pool.allocate(bytes) } -> std::same_as<Stack>;
  { pool.free(stack) } -> std::same_as<void>;
};

// begin_mark and end_mark stop the world. retire: a stack that is given up while a mark runs; it is not issued again,
// and its memory stays, until end_mark at the least. drain: frees about `budget` stacks (0: as it likes) of what
// end_mark left; how many, 0: none is left. A P that can do so only sometimes says when in `static bool defers()`.
template <class P>
concept DeferringStackPool = SmallStackPool<P> && requires(P pool, Stack stack, bool concurrent, size_t budget) {
  { pool.begin_mark(concurrent) } -> std::same_as<void>;
  { pool.retire(stack) } -> std::same_as<void>;
  { pool.end_mark() } -> std::same_as<void>;
  { pool.drain(budget) } -> std::same_as<size_t>;
};

template <SmallStackPool P>
class SmallPool {
 public:
  // Nothing lies in the arena; its size bounds what is live at a time, so that no program asks for all memory there is.
  explicit SmallPool(Arena& arena) : most_bytes_(size_t{arena.pages()} * kPageBytes) { reset(PoolParams{}); }
  ~SmallPool() { give_all_back(); }
  SmallPool(const SmallPool&) = delete;
  SmallPool& operator=(const SmallPool&) = delete;

  // With nobody else at work.
  void reset(const PoolParams& params) SD_NO_ANALYSIS {
    give_all_back();
    pool_ = nullptr;  // the old one's memory goes before the new one takes some
    pool_ = std::make_unique<P>();
    params_ = params;
    bound_ = params.arena_pages == 0 ? most_bytes_ : std::min(most_bytes_, size_t{params.arena_pages} * kPageBytes);
    stats_ = {};
    generations_ = 0;
    marking_.store(false, std::memory_order_relaxed);
    drain_pending_.store(false, std::memory_order_relaxed);
  }

  Stack allocate(Proc, size_t bytes) SD_EXCLUDES(mutex_) {
    if (is_direct()) return direct().allocate(bytes);
    MutexLock lock(mutex_);
    if (stats_.stack_bytes + stats_.heap_bytes + bytes > bound_) return {};
    const Stack stack = pool_->allocate(bytes);
    if (!stack) return stack;
    forget_waiting_in(stack);
    note_issued(stack.lo, stack.bytes(), SpanState::kStack);
    ++stats_.allocations;
    ++stats_.live_stacks;
    stats_.live_bytes += bytes;
    stats_.stack_bytes += bytes;
    stats_.peak_stack_bytes = std::max(stats_.peak_stack_bytes, stats_.stack_bytes);
    return stack;
  }

  void free(Proc, Stack stack) SD_EXCLUDES(mutex_) {
    if (is_direct()) {
      direct().free(stack);
      return;
    }
    MutexLock lock(mutex_);
    count_given_up(stack);
    give_back(stack);
  }

  void retire(Proc proc, Stack stack, RetireWhy why) SD_EXCLUDES(mutex_) {
    yield_point(Yield::kRetire);
    if (!marking_.load(std::memory_order_acquire) || (why != RetireWhy::kShrunk && !cycle_.concurrent)) {
      free(proc, stack);
      return;
    }
    MutexLock lock(mutex_);
    count_given_up(stack);
    ++stats_.held_stacks;
    stats_.held_bytes += stack.bytes();
    if (kKeepsBook || !defers()) waiting_.push_back({stack, true});
    if constexpr (DeferringStackPool<P>) {
      if (defers()) pool_->retire(stack);
    }
  }

  void flush_cache(Proc) { yield_point(Yield::kFlush); }

  void begin_cycle(CycleKind kind) SD_EXCLUDES(mutex_) {
    cycle_ = kind;
    if constexpr (DeferringStackPool<P>) {
      MutexLock lock(mutex_);
      if (defers()) pool_->begin_mark(kind.concurrent);
    }
    marking_.store(true, std::memory_order_release);
  }

  void end_mark() SD_EXCLUDES(mutex_) {
    marking_.store(false, std::memory_order_release);
    yield_point(Yield::kHandOff);
    MutexLock lock(mutex_);
    for (const Waiting& waiting : waiting_) {
      count_work();
      count_given_back(waiting.stack);
      if (waiting.on_book) book_.erase(waiting.stack.lo);
      if (!defers()) pool_->free(waiting.stack);
    }
    waiting_.clear();
    if constexpr (DeferringStackPool<P>) {
      if (defers()) {
        pool_->end_mark();
        drain_pending_.store(true, std::memory_order_release);
        if (!kKeepsBook) return;  // what is held is P's until it is drained
      }
    }
    stats_.held_stacks = stats_.held_bytes = 0;
  }

  void restarted() {}
  // Where a book is kept, what P drains is off it since the mark's end.
  size_t drain_step([[maybe_unused]] size_t budget) SD_EXCLUDES(mutex_) {
    if constexpr (DeferringStackPool<P>) {
      // What P has may be of the mark that runs: it drains after a restart (c_pool.h).
      if (marking_.load(std::memory_order_acquire) || !drain_pending()) return 0;
      const size_t freed = is_direct() ? direct().drain(budget) : drain_locked(budget);
      MutexLock lock(mutex_);
      if (freed == 0) drain_pending_.store(false, std::memory_order_release);
      if (kKeepsBook) return 0;
      count_drained(freed);
      return freed;
    }
    return 0;
  }
  bool drain_pending() const { return drain_pending_.load(std::memory_order_acquire); }

  uintptr_t allocate_heap(uint32_t pages, bool zeroed) SD_EXCLUDES(mutex_) {
    const size_t bytes = size_t{pages} << kPageShift;
    MutexLock lock(mutex_);
    if (stats_.stack_bytes + stats_.heap_bytes + bytes > bound_) return 0;
    void* memory = std::aligned_alloc(kPageBytes, bytes);
    if (memory == nullptr) return 0;
    const auto base = reinterpret_cast<uintptr_t>(memory);
    if (zeroed) std::fill_n(static_cast<uint8_t*>(memory), bytes, uint8_t{0});
    note_issued(base, bytes, SpanState::kInUse);
    stats_.heap_bytes += bytes;
    heap_[base] = bytes;
    return base;
  }

  void free_heap(uintptr_t base) SD_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const auto found = heap_.find(base);
    STACKDRAIN_CHECK(found != heap_.end(), "a freed heap block was never issued");
    stats_.heap_bytes -= found->second;
    heap_.erase(found);
    book_.erase(base);
    std::free(reinterpret_cast<void*>(base));
  }

  uint64_t release_idle() { return 0; }

  // Of what is live or waits; Unmapped for everything else, and always where no book is kept.
  Location locate(uintptr_t address) const SD_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    auto above = book_.upper_bound(address);
    if (above == book_.begin()) return {};
    const auto& [base, entry] = *--above;
    if (address - base >= entry.bytes) return {};
    return {entry.state, entry.generation, base, pages_for(entry.bytes)};
  }

  PoolStats stats() const SD_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    PoolStats stats = stats_;
    stats.system_bytes = stats.stack_bytes + stats.heap_bytes;
    return stats;
  }

  void walk(WalkVisitor&) const {}
  const PoolParams& params() const { return params_; }
  uintptr_t arena_base() const { return 0; }
  size_t arena_mapped() const { return stats().system_bytes; }

 private:
  static constexpr bool kKeepsBook = STACKDRAIN_YIELDS != 0;
  static bool is_direct() {
    if constexpr (kKeepsBook) return false;
    if constexpr (requires { P::kThreadSafe; }) return P::kThreadSafe;
    if constexpr (requires { P::thread_safe(); }) return P::thread_safe();
    return false;
  }
  static bool defers() {
    if constexpr (requires { P::defers(); }) return P::defers();
    return DeferringStackPool<P>;
  }
  struct Entry {
    size_t bytes = 0;
    SpanState state = SpanState::kDead;
    uint32_t generation = 0;
  };
  struct Waiting {
    Stack stack;
    bool on_book = false;
  };
  P& direct() SD_NO_ANALYSIS { return *pool_; }
  void note_issued(uintptr_t base, size_t bytes, SpanState state) SD_REQUIRES(mutex_) {
    if constexpr (kKeepsBook) book_[base] = {bytes, state, ++generations_};
  }
  void count_given_up(Stack stack) SD_REQUIRES(mutex_) {
    if (is_direct()) return;
    --stats_.live_stacks;
    stats_.live_bytes -= stack.bytes();
  }
  void count_given_back(Stack stack) SD_REQUIRES(mutex_) {
    if (is_direct()) return;
    ++stats_.frees;
    stats_.stack_bytes -= stack.bytes();
  }
  void give_back(Stack stack) SD_REQUIRES(mutex_) {
    count_given_back(stack);
    book_.erase(stack.lo);
    pool_->free(stack);
  }
  // A stack that is issued over one that waits: what a mark holds into that is from now on a pointer into nothing.
  void forget_waiting_in(Stack stack) SD_REQUIRES(mutex_) {
    if (!kKeepsBook) return;
    for (Waiting& waiting : waiting_) {
      if (!waiting.on_book || waiting.stack.hi <= stack.lo || stack.hi <= waiting.stack.lo) continue;
      book_.erase(waiting.stack.lo);
      waiting.on_book = false;
    }
  }
  size_t drain_locked(size_t budget) SD_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return pool_->drain(budget);
  }
  // P says how many, not which: as many bytes as they have on average. 0: that was all.
  void count_drained(size_t freed) SD_REQUIRES(mutex_) {
    const uint64_t stacks = freed == 0 ? stats_.held_stacks : std::min<uint64_t>(freed, stats_.held_stacks);
    if (stacks == 0) return;
    const uint64_t bytes = stats_.held_bytes / stats_.held_stacks * stacks;
    stats_.held_stacks -= stacks;
    stats_.held_bytes = stats_.held_stacks == 0 ? 0 : stats_.held_bytes - bytes;
    if (is_direct()) return;
    stats_.frees += stacks;
    stats_.stack_bytes -= bytes;
  }
  // What a program that was cut short left behind; where no book is kept P's destructor sees to it.
  void give_all_back() SD_NO_ANALYSIS {
    if (defers()) {  // P has them already
      for (const Waiting& waiting : waiting_) {
        if (waiting.on_book) book_.erase(waiting.stack.lo);
      }
    }
    for (const auto& [base, entry] : book_) {
      if (entry.state == SpanState::kStack) pool_->free({base, base + entry.bytes});
    }
    for (const auto& [base, bytes] : heap_) std::free(reinterpret_cast<void*>(base));
    book_.clear();
    heap_.clear();
    waiting_.clear();
  }

  const size_t most_bytes_;
  size_t bound_ = 0;
  PoolParams params_;
  CycleKind cycle_;
  std::atomic<bool> marking_{false};
  std::atomic<bool> drain_pending_{false};  // P may have something left to drain
  mutable Mutex mutex_;
  std::unique_ptr<P> pool_ SD_GUARDED_BY(mutex_);
  std::map<uintptr_t, Entry> book_ SD_GUARDED_BY(mutex_);
  std::map<uintptr_t, size_t> heap_ SD_GUARDED_BY(mutex_);
  std::vector<Waiting> waiting_ SD_GUARDED_BY(mutex_);
  PoolStats stats_ SD_GUARDED_BY(mutex_);
  uint32_t generations_ SD_GUARDED_BY(mutex_) = 0;
};

}  // namespace stackdrain
