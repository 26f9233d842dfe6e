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
// What it can't tell is not checked: kNeedsPlaces in fuzz/invariants.h. Its verdict names what was left out.
//
//   allocate ──▶ live ──free / retire outside a mark──▶ P::free
//                 └──retire in a mark──▶ waiting_ ──end_mark──▶ P::free
//
// Thread-safety: mutex_ guards the book and every call into P. Without yield points (benchmarks) no book is kept, and a
// P that says kThreadSafe is called as it is, nothing being counted but what waits: a figure is then the pool's own.
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
    bound_ = params.arena_pages == 0 ? most_bytes_ : size_t{params.arena_pages} * kPageBytes;
    stats_ = {};
    generations_ = 0;
    marking_.store(false, std::memory_order_relaxed);
  }

  Stack allocate(Proc, size_t bytes) SD_EXCLUDES(mutex_) {
    if constexpr (kDirect) return direct().allocate(bytes);
    MutexLock lock(mutex_);
    if (stats_.stack_bytes + stats_.heap_bytes + bytes > bound_) return {};
    const Stack stack = pool_->allocate(bytes);
    if (!stack) return stack;
    note_issued(stack.lo, stack.bytes(), SpanState::kStack);
    ++stats_.allocations;
    ++stats_.live_stacks;
    stats_.live_bytes += bytes;
    stats_.stack_bytes += bytes;
    stats_.peak_stack_bytes = std::max(stats_.peak_stack_bytes, stats_.stack_bytes);
    return stack;
  }

  void free(Proc, Stack stack) SD_EXCLUDES(mutex_) {
    if constexpr (kDirect) {
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
    waiting_.push_back(stack);
    ++stats_.held_stacks;
    stats_.held_bytes += stack.bytes();
  }

  void flush_cache(Proc) { yield_point(Yield::kFlush); }

  void begin_cycle(CycleKind kind) {
    cycle_ = kind;
    marking_.store(true, std::memory_order_release);
  }

  void end_mark() SD_EXCLUDES(mutex_) {
    marking_.store(false, std::memory_order_release);
    yield_point(Yield::kHandOff);
    MutexLock lock(mutex_);
    for (const Stack stack : waiting_) {
      count_work();
      give_back(stack);
    }
    waiting_.clear();
    stats_.held_stacks = stats_.held_bytes = 0;
  }

  void restarted() {}
  size_t drain_step(size_t) { return 0; }
  bool drain_pending() const { return false; }

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
  static constexpr bool kDirect = [] {
    if constexpr (requires { P::kThreadSafe; }) return P::kThreadSafe && !kKeepsBook;
    return false;
  }();
  struct Entry {
    size_t bytes = 0;
    SpanState state = SpanState::kDead;
    uint32_t generation = 0;
  };
  P& direct() SD_NO_ANALYSIS { return *pool_; }
  void note_issued(uintptr_t base, size_t bytes, SpanState state) SD_REQUIRES(mutex_) {
    if constexpr (kKeepsBook) book_[base] = {bytes, state, ++generations_};
  }
  void count_given_up(Stack stack) SD_REQUIRES(mutex_) {
    --stats_.live_stacks;
    stats_.live_bytes -= stack.bytes();
  }
  void give_back(Stack stack) SD_REQUIRES(mutex_) {
    ++stats_.frees;
    stats_.stack_bytes -= stack.bytes();
    book_.erase(stack.lo);
    pool_->free(stack);
  }
  // What a program that was cut short left behind; where no book is kept P's destructor sees to it.
  void give_all_back() SD_NO_ANALYSIS {
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
  mutable Mutex mutex_;
  std::unique_ptr<P> pool_ SD_GUARDED_BY(mutex_);
  std::map<uintptr_t, Entry> book_ SD_GUARDED_BY(mutex_);
  std::map<uintptr_t, size_t> heap_ SD_GUARDED_BY(mutex_);
  std::vector<Stack> waiting_ SD_GUARDED_BY(mutex_);
  PoolStats stats_ SD_GUARDED_BY(mutex_);
  uint32_t generations_ SD_GUARDED_BY(mutex_) = 0;
};

}  // namespace stackdrain
