#include "target/stack_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "target/testing.h"

namespace stackdrain {
namespace {

constexpr size_t kArena = size_t{8} << 20;

// The class under test with what policies may call opened, and nothing added.
class OpenPool : public ReferencePool {
 public:
  using ReferencePool::Batch;
  using ReferencePool::count_many_given_back;
  using ReferencePool::heap_;
  using ReferencePool::keep_empty;
  using ReferencePool::kept_bytes;
  using ReferencePool::mark_done;
  using ReferencePool::marking;
  using ReferencePool::ReferencePool;
  using ReferencePool::release_empty_spans;
  using ReferencePool::Sweep;
};

struct Shape {
  const char* name;
  int orders;
  LockPlan locks;
};

class StackPoolTest : public testing::TestWithParam<Shape> {
 protected:
  StackPoolTest() : arena_(kArena), pool_(arena_) {
    params_ = go119_preset();
    params_.orders = GetParam().orders;
    params_.locks = GetParam().locks;
    params_.grow_chunk_bytes = size_t{128} << 10;
    pool_.reset(params_);
  }

  std::vector<Stack> take(Proc proc, size_t bytes, size_t count) {
    std::vector<Stack> stacks(count);
    for (Stack& stack : stacks) stack = pool_.allocate(proc, bytes);
    return stacks;
  }

  // All a pool tells of itself, but the locks it took: a refused allocation takes some too.
  PoolStats stats_but_locks() const {
    PoolStats stats = pool_.stats();
    stats.locks_taken = 0;
    return stats;
  }

  uint64_t locks_of(const auto& action) {
    const uint64_t before = pool_.stats().locks_taken;
    action();
    return pool_.stats().locks_taken - before;
  }

  std::set<uintptr_t> cached_by(Proc proc) const {
    std::set<uintptr_t> cached;
    for (const SlotView& view : CollectedWalk(pool_).slots) {
      if (view.place == SlotPlace::kCached && view.proc == proc) cached.insert(view.lo);
    }
    return cached;
  }

  static void expect_healthy_span(const SpanView& view) {
    EXPECT_LE(view.out, view.capacity);
    if (view.order == kLargeOrder) {
      EXPECT_EQ(view.capacity, 1u);
      EXPECT_FALSE(view.has_free_list);
      return;
    }
    EXPECT_EQ(view.list, view.out < view.capacity ? SpanList::kOrder : SpanList::kNone);
    EXPECT_EQ(view.has_free_list, view.out < view.capacity);
    EXPECT_EQ(view.slot_bytes, order_bytes(view.order));
  }

  // Each slot is in one place; each cache is within its cap; counts agree.
  void expect_healthy() const {
    const CollectedWalk walk(pool_);
    EXPECT_EQ(walk.faults, "");
    const PoolStats stats = pool_.stats();
    EXPECT_EQ(stats.system_bytes, stats.heap_bytes + stats.stack_bytes + stats.idle_bytes);
    EXPECT_EQ(stats.live_stacks, stats.allocations - stats.frees);
    size_t slots = 0;
    uint64_t slot_bytes = 0;
    for (const SpanView& view : walk.spans) {
      if (view.state != SpanState::kStack) continue;
      slots += view.capacity;
      slot_bytes += uint64_t{view.capacity} * view.slot_bytes;
      expect_healthy_span(view);
    }
    EXPECT_EQ(slots, walk.slots.size() + stats.live_stacks) << "a slot is live, cached or free, and nothing else";
    std::set<uintptr_t> seen;
    std::map<std::pair<Proc, size_t>, size_t> cached;
    uint64_t cached_bytes = 0;
    for (const SlotView& view : walk.slots) {
      EXPECT_TRUE(seen.insert(view.lo).second) << "a slot in two places";
      slot_bytes -= view.bytes;
      if (view.place != SlotPlace::kCached) continue;
      cached_bytes += view.bytes;
      EXPECT_LE(cached[std::pair(view.proc, view.bytes)] += view.bytes, kCacheCapBytes);
    }
    EXPECT_EQ(slot_bytes, stats.live_bytes);
    EXPECT_EQ(cached_bytes, stats.cached_bytes);
  }

  // Live stacks can be used, all else faults but the links of what is cached or free.
  void expect_poisoned_but(const std::vector<Stack>& live) const {
    for (const Stack stack : live) {
      for (uintptr_t at = stack.lo; at < stack.hi; at += 8) ASSERT_FALSE(asan_is_poisoned(at));
    }
    const CollectedWalk walk(pool_);
    for (const SlotView& view : walk.slots) {
      for (uintptr_t at = view.lo; at < view.lo + view.bytes; at += 8) {
        const bool link = at < view.lo + kLinkBytes;
        ASSERT_EQ(asan_is_poisoned(at), asan_enabled && !link) << "byte " << at - view.lo << " of " << view.bytes;
      }
      ASSERT_EQ(asan_is_poisoned(view.lo + view.bytes - 1), asan_enabled);
    }
    for (const SpanView& view : walk.spans) {
      if (view.state != SpanState::kFree) continue;
      const uintptr_t end = view.base + view.pages * kPageBytes;
      for (uintptr_t at = view.base; at < end; at += 8) ASSERT_EQ(asan_is_poisoned(at), asan_enabled);
    }
  }

  Arena arena_;
  PoolParams params_;
  OpenPool pool_;
};

INSTANTIATE_TEST_SUITE_P(Shapes, StackPoolTest,
                         testing::Values(Shape{"ThreeOneLock", 3, LockPlan::kOneLock},
                                         Shape{"ThreePerOrder", 3, LockPlan::kPerOrder},
                                         Shape{"FourOneLock", 4, LockPlan::kOneLock},
                                         Shape{"FourPerOrder", 4, LockPlan::kPerOrder}),
                         [](const auto& shape) { return std::string(shape.param.name); });

TEST_P(StackPoolTest, ASpanThatBecomesFreeIsStampedOnce) {
  static int64_t asked;
  params_.idle_clock = +[] { return ++asked; };
  pool_.reset(params_);
  const Stack stack = pool_.allocate(0, 64 << 10);
  asked = 0;
  pool_.free(0, stack);
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(pool_.heap_.release_idle(1), 0u) << "it is idle since then";
  EXPECT_NE(pool_.heap_.release_idle(2), 0u);
}

TEST_P(StackPoolTest, StacksAreAlignedDisjointAndInStackSpans) {
  std::set<uintptr_t> units;
  for (size_t bytes = kMinStackBytes; bytes <= size_t{128} << 10; bytes *= 2) {
    for (int i = 0; i < 20; ++i) {
      const Stack stack = pool_.allocate(i % params_.procs, bytes);
      ASSERT_TRUE(static_cast<bool>(stack));
      EXPECT_EQ(stack.bytes(), bytes);
      EXPECT_EQ((stack.lo - pool_.locate(stack.lo).base) % bytes, 0u);
      EXPECT_EQ(pool_.locate(stack.hi - 1).state, SpanState::kStack);
      EXPECT_EQ(pool_.locate(stack.hi - 1).base, pool_.locate(stack.lo).base);
      for (uintptr_t at = stack.lo; at < stack.hi; at += kMinStackBytes) EXPECT_TRUE(units.insert(at).second);
    }
  }
  expect_healthy();
}

TEST_P(StackPoolTest, AnEmptyCacheIsRefilledToHalf) {
  for (int order = 0; order < params_.orders; ++order) {
    pool_.reset(params_);
    const size_t bytes = order_bytes(order);
    const size_t half = kCacheFillBytes / bytes;
    EXPECT_EQ(locks_of([&] { take(0, bytes, 1); }), 2u) << "the order's, and the heap's for a span";
    EXPECT_EQ(pool_.stats().cached_bytes, kCacheFillBytes - bytes);
    CollectedWalk walk(pool_);
    EXPECT_EQ(walk.in(SlotPlace::kCached), half - 1);
    EXPECT_EQ(walk.in(SlotPlace::kPoolFree), kPoolSpanBytes / bytes - half);
    EXPECT_EQ(locks_of([&] { take(0, bytes, half - 1); }), 0u) << "what is cached needs no lock";
    EXPECT_EQ(pool_.stats().cached_bytes, 0u);
    EXPECT_EQ(locks_of([&] { take(0, bytes, 1); }), 1u) << "the other half of the span";
    EXPECT_EQ(pool_.stats().cached_bytes, kCacheFillBytes - bytes);
    EXPECT_EQ(pool_.stats().spans_taken, 1u);
    expect_healthy();
  }
}

TEST_P(StackPoolTest, AFullCacheReleasesItsHottestHalf) {
  for (int order = 0; order < params_.orders; ++order) {
    pool_.reset(params_);
    const size_t bytes = order_bytes(order);
    const size_t cap = kCacheCapBytes / bytes;
    const std::vector<Stack> stacks = take(0, bytes, cap + 1);
    pool_.flush_cache(0);
    std::set<uintptr_t> expected;
    for (size_t i = 0; i < cap; ++i) {
      EXPECT_EQ(locks_of([&] { pool_.free(0, stacks[i]); }), 0u);
      EXPECT_EQ(pool_.stats().cached_bytes, (i + 1) * bytes);
      if (i < cap / 2) expected.insert(stacks[i].lo);
    }
    EXPECT_EQ(pool_.stats().cached_bytes, kCacheCapBytes);
    pool_.free(0, stacks[cap]);
    expected.insert(stacks[cap].lo);
    EXPECT_EQ(pool_.stats().cached_bytes, kCacheFillBytes + bytes);
    EXPECT_EQ(cached_by(0), expected) << "the first freed stay, the last freed went back";
    expect_healthy();
  }
}

TEST_P(StackPoolTest, CachesAreApart) {
  for (int order = 0; order < params_.orders; ++order) {
    const size_t bytes = order_bytes(order);
    for (Proc proc = 0; proc < params_.procs; ++proc) pool_.free(proc, pool_.allocate(proc, bytes));
  }
  const uint64_t each = static_cast<uint64_t>(params_.orders) * kCacheFillBytes;
  for (Proc proc = 0; proc < params_.procs; ++proc) {
    EXPECT_EQ(pool_.stats().cached_bytes, each * static_cast<uint64_t>(params_.procs - proc));
    EXPECT_FALSE(cached_by(proc).empty());
    pool_.flush_cache(proc);
    EXPECT_TRUE(cached_by(proc).empty());
    expect_healthy();
  }
  EXPECT_EQ(pool_.stats().cached_bytes, 0u);
  EXPECT_EQ(pool_.stats().stack_bytes, 0u) << "all spans were empty";
  EXPECT_EQ(locks_of([&] { pool_.flush_cache(0); }), 0u) << "nothing to flush, nothing to lock";
}

TEST_P(StackPoolTest, WhoHasNoProcessorUsesNoCache) {
  for (int order = 0; order < params_.orders; ++order) {
    const Stack stack = pool_.allocate(kNoProc, order_bytes(order));
    EXPECT_EQ(pool_.stats().cached_bytes, 0u);
    EXPECT_EQ(CollectedWalk(pool_).in(SlotPlace::kPoolFree), kPoolSpanBytes / order_bytes(order) - 1);
    pool_.free(kNoProc, stack);
    EXPECT_EQ(pool_.stats().cached_bytes, 0u);
    EXPECT_EQ(pool_.stats().stack_bytes, 0u);
  }
}

TEST_P(StackPoolTest, AnEmptySpanGoesBackToTheHeapAtOnce) {
  for (int order = 0; order < params_.orders; ++order) {
    pool_.reset(params_);
    const size_t bytes = order_bytes(order);
    const std::vector<Stack> stacks = take(kNoProc, bytes, kPoolSpanBytes / bytes);
    const uintptr_t base = pool_.locate(stacks[0].lo).base;
    for (const Stack stack : stacks) EXPECT_EQ(pool_.locate(stack.lo).base, base) << "one span holds them all";
    expect_healthy();
    for (size_t i = 0; i < stacks.size(); ++i) {
      EXPECT_EQ(pool_.locate(base).state, SpanState::kStack);
      EXPECT_EQ(pool_.stats().spans_released, 0u);
      pool_.free(kNoProc, stacks[i]);
      expect_healthy();
    }
    EXPECT_EQ(pool_.locate(base).state, SpanState::kFree);
    EXPECT_EQ(pool_.stats().spans_released, 1u);
    EXPECT_EQ(pool_.stats().stack_bytes, 0u);
    EXPECT_EQ(pool_.stats().idle_bytes, pool_.stats().system_bytes);
  }
}

TEST_P(StackPoolTest, FlushedAndDeadMeansNothingLeft) {
  std::mt19937 random(3);
  std::vector<Stack> live;
  uint64_t live_bytes = 0;
  for (int step = 0; step < 4000; ++step) {
    const Proc proc = static_cast<Proc>(random() % 5) - 1;  // kNoProc too; a stack is freed by whoever comes
    if (live.empty() || random() % 100 < 52) {
      const size_t bytes = kMinStackBytes << random() % 7;
      const PoolStats before = stats_but_locks();
      const Stack stack = pool_.allocate(proc, bytes);
      if (!stack) {
        EXPECT_EQ(stats_but_locks(), before);
        continue;
      }
      live.push_back(stack);
      live_bytes += bytes;
      std::memset(reinterpret_cast<void*>(stack.lo), 0x5a, bytes);  // ASan says whether all of it is ours
    } else {
      std::swap(live[random() % live.size()], live.back());
      live_bytes -= live.back().bytes();
      pool_.free(proc, live.back());
      live.pop_back();
    }
    EXPECT_EQ(pool_.stats().live_stacks, live.size());
    EXPECT_EQ(pool_.stats().live_bytes, live_bytes);
    if (step % 50 == 0) expect_healthy();
    if (step % 1000 == 0) expect_poisoned_but(live);
    if (HasFailure()) return;
  }
  for (const Stack stack : live) pool_.free(kNoProc, stack);
  for (Proc proc = 0; proc < params_.procs; ++proc) pool_.flush_cache(proc);
  const PoolStats stats = pool_.stats();
  EXPECT_EQ(stats.live_stacks, 0u);
  EXPECT_EQ(stats.live_bytes, 0u);
  EXPECT_EQ(stats.cached_bytes, 0u);
  EXPECT_EQ(stats.stack_bytes, 0u);
  EXPECT_EQ(stats.spans_taken, stats.spans_released);
  EXPECT_EQ(CollectedWalk(pool_).spans.size(), 1u);
}

TEST_P(StackPoolTest, LargeStacksHaveASpanOfTheirOwn) {
  for (size_t bytes = order_bytes(params_.orders); bytes <= size_t{256} << 10; bytes *= 2) {
    const Stack a = pool_.allocate(0, bytes);
    const Stack b = pool_.allocate(0, bytes);
    for (const Stack stack : {a, b}) {
      EXPECT_EQ(pool_.locate(stack.lo).base, stack.lo);
      EXPECT_EQ(pool_.locate(stack.lo).pages, bytes / kPageBytes);
      EXPECT_EQ(pool_.locate(stack.hi - 1).base, stack.lo);
    }
    EXPECT_EQ(pool_.stats().cached_bytes, 0u);
    expect_healthy();
    pool_.free(0, a);
    EXPECT_NE(pool_.locate(a.lo).state, SpanState::kStack) << "no cache for large ones";
    EXPECT_EQ(pool_.stats().stack_bytes, bytes);
    pool_.free(0, b);
    EXPECT_EQ(pool_.stats().stack_bytes, 0u);
    expect_healthy();
  }
}

TEST_P(StackPoolTest, AStackBeyondTheMaximumIsRefused) {
  params_.max_stack_bytes = size_t{64} << 10;
  pool_.reset(params_);
  const PoolStats before = pool_.stats();
  EXPECT_FALSE(static_cast<bool>(pool_.allocate(0, size_t{128} << 10)));
  EXPECT_EQ(pool_.stats(), before) << "not even a lock";
  EXPECT_TRUE(static_cast<bool>(pool_.allocate(0, size_t{64} << 10)));
}

TEST_P(StackPoolTest, ExhaustionLeavesEverythingAsItWas) {
  params_.arena_pages = 16;
  for (int order = 0; order < params_.orders; ++order) {
    pool_.reset(params_);
    std::vector<Stack> stacks;
    while (const Stack stack = pool_.allocate(0, order_bytes(order))) stacks.push_back(stack);
    EXPECT_EQ(stacks.size(), 16 * kPageBytes / order_bytes(order));
    const PoolStats full = stats_but_locks();
    for (const Proc proc : {kNoProc, Proc{0}, Proc{1}}) {
      for (size_t bytes = kMinStackBytes; bytes <= size_t{256} << 10; bytes *= 2) {
        EXPECT_FALSE(static_cast<bool>(pool_.allocate(proc, bytes)));
      }
    }
    EXPECT_EQ(pool_.allocate_heap(1, false), 0u);
    EXPECT_EQ(stats_but_locks(), full);
    expect_healthy();
    pool_.free(0, stacks.back());
    EXPECT_EQ(pool_.allocate(0, order_bytes(order)), stacks.back());
  }
}

TEST_P(StackPoolTest, ARefillTakesWhatIsLeft) {
  params_.arena_pages = kPoolSpanPages;
  pool_.reset(params_);
  const size_t slots = kPoolSpanBytes / kMinStackBytes;
  take(kNoProc, kMinStackBytes, slots - 3);
  EXPECT_TRUE(static_cast<bool>(pool_.allocate(0, kMinStackBytes)));
  EXPECT_EQ(pool_.stats().cached_bytes, 2 * kMinStackBytes);
  EXPECT_FALSE(static_cast<bool>(pool_.allocate(1, kMinStackBytes))) << "another's cache is out of reach";
  expect_healthy();
}

TEST_P(StackPoolTest, WhatIsNotLiveIsPoisonedButItsLinks) {
  std::vector<Stack> live;
  for (size_t bytes = kMinStackBytes; bytes <= order_bytes(params_.orders); bytes *= 2) {
    for (const Proc proc : {Proc{0}, kNoProc}) {
      const Stack stack = pool_.allocate(proc, bytes);
      live.push_back(pool_.allocate(proc, bytes));
      live.push_back(stack);
      ASSERT_NO_FATAL_FAILURE(expect_poisoned_but(live));
      live.pop_back();
      pool_.free(proc, stack);
      ASSERT_NO_FATAL_FAILURE(expect_poisoned_but(live));
    }
  }
  pool_.flush_cache(0);
  expect_poisoned_but(live);
}

TEST_P(StackPoolTest, AHeldLockServesAllThatItGuards) {
  std::vector<Stack> stacks;  // one of each order, another of its span stays live
  stacks.reserve(static_cast<size_t>(params_.orders));
  for (int order = 0; order < params_.orders; ++order) stacks.push_back(take(kNoProc, order_bytes(order), 2)[0]);
  const uint64_t locks = locks_of([&] {
    OpenPool::Batch batch(pool_);
    for (const Stack stack : stacks) batch.release(stack);
  });
  EXPECT_EQ(locks, params_.locks == LockPlan::kOneLock ? 1u : static_cast<uint64_t>(params_.orders));
  EXPECT_EQ(CollectedWalk(pool_).faults, "");
  // Each lock was given back: else this would never return.
  for (int order = 0; order < params_.orders; ++order) {
    EXPECT_TRUE(static_cast<bool>(pool_.allocate(kNoProc, order_bytes(order))));
  }
}

// One of each order's two slots is given back unseen; the span stays, its free slot is issued again, and given back the
// ordinary way.
TEST_P(StackPoolTest, ASweepFreesSlotsWithoutTouchingThem) {
  for (int order = 0; order < params_.orders; ++order) {
    const size_t bytes = order_bytes(order);
    const std::vector<Stack> stacks = take(kNoProc, bytes, kPoolSpanBytes / bytes);  // a full span
    Span* span = pool_.heap_.span_of(stacks[0].lo);
    const Stack victim = stacks[stacks.size() / 2];
    const uint64_t word = *reinterpret_cast<const uint64_t*>(victim.lo);
    asan_poison(victim.lo + kLinkBytes, bytes - kLinkBytes);  // what whoever put it off has done
    const uint64_t locks = locks_of([&] {
      OpenPool::Sweep sweep(pool_);
      sweep.give(span, 1u << ((victim.lo - pool_.heap_.base_of(*span)) / kMinStackBytes));
      sweep.finish();  // and once more when it ends, with nothing left to do
    });
    pool_.count_many_given_back(1, bytes);
    EXPECT_EQ(locks, 1u) << "its order's, for the list";
    EXPECT_EQ(*reinterpret_cast<const uint64_t*>(victim.lo), word);
    expect_healthy();
    EXPECT_EQ(pool_.allocate(kNoProc, bytes), victim) << "the only free slot of the order";
    expect_healthy();
    for (const Stack stack : stacks) pool_.free(kNoProc, stack);
    expect_healthy();
  }
  EXPECT_EQ(pool_.stats().stack_bytes, 0u);
}

TEST_P(StackPoolTest, ASweepGivesEmptySpansBack) {
  const size_t large = order_bytes(params_.orders);
  const std::vector<Stack> stacks = take(kNoProc, kMinStackBytes, 2 * kPoolSpanBytes / kMinStackBytes);
  const Stack big = pool_.allocate(kNoProc, large);
  std::map<uintptr_t, Span*> spans;
  for (const Stack stack : stacks) spans[stack.lo & ~(kPageBytes - 1)] = pool_.heap_.span_of(stack.lo);
  std::set<Span*> ascending_once;
  {
    OpenPool::Sweep sweep(pool_);
    for (const auto& [page, span] : spans) {
      if (ascending_once.insert(span).second) sweep.give(span, 0xffff);
    }
    sweep.give(pool_.heap_.span_of(big.lo), 1);
  }
  pool_.count_many_given_back(stacks.size() + 1, 2 * kPoolSpanBytes + large);
  EXPECT_EQ(ascending_once.size(), 2u);
  EXPECT_EQ(pool_.stats().stack_bytes, 0u);
  EXPECT_EQ(pool_.stats().spans_released, 3u);
  EXPECT_EQ(pool_.stats().live_stacks, 0u);
  expect_healthy();
}

TEST_P(StackPoolTest, KeptSpansStayStackUntilTheyAreReleased) {
  const size_t large = order_bytes(params_.orders);
  std::vector<Stack> stacks = {pool_.allocate(0, large)};
  for (int order = 0; order < params_.orders; ++order) stacks.push_back(pool_.allocate(kNoProc, order_bytes(order)));
  const PoolStats before = pool_.stats();
  pool_.keep_empty(true);
  for (const Stack stack : stacks) {
    const Location was = pool_.locate(stack.lo);
    pool_.free(kNoProc, stack);
    const Location is = pool_.locate(stack.lo);
    EXPECT_EQ(is.state, SpanState::kStack);
    EXPECT_EQ(is.generation, was.generation);
  }
  const uint64_t kept = static_cast<uint64_t>(params_.orders) * kPoolSpanBytes + large;
  EXPECT_EQ(pool_.kept_bytes(), kept);
  EXPECT_EQ(pool_.stats().held_bytes, kept);
  EXPECT_EQ(pool_.stats().stack_bytes, before.stack_bytes);
  expect_healthy();
  pool_.keep_empty(false);
  EXPECT_EQ(pool_.release_empty_spans(), static_cast<size_t>(params_.orders) + 1);
  EXPECT_EQ(pool_.kept_bytes(), 0u);
  EXPECT_EQ(pool_.stats().stack_bytes, 0u);
  EXPECT_EQ(pool_.release_empty_spans(), 0u);
  expect_healthy();
}

TEST_P(StackPoolTest, KeptSpansAreUsedAgainAtTheirOwnSizeOnly) {
  const size_t large = order_bytes(params_.orders);
  const Stack small = pool_.allocate(kNoProc, kMinStackBytes);
  const Stack two = pool_.allocate(0, 2 * large);
  pool_.keep_empty(true);
  pool_.free(kNoProc, small);
  pool_.free(0, two);
  EXPECT_EQ(pool_.kept_bytes(), kPoolSpanBytes + 2 * large);
  const Stack one = pool_.allocate(0, large);
  EXPECT_NE(one.lo, two.lo);
  EXPECT_EQ(pool_.kept_bytes(), kPoolSpanBytes + 2 * large) << "half of it won't do";
  EXPECT_EQ(pool_.allocate(0, 2 * large), two);
  EXPECT_EQ(pool_.kept_bytes(), kPoolSpanBytes);
  EXPECT_EQ(pool_.allocate(kNoProc, kMinStackBytes), small);
  EXPECT_EQ(pool_.kept_bytes(), 0u);
  pool_.keep_empty(false);
  EXPECT_EQ(pool_.release_empty_spans(), 0u) << "none is empty any more";
  expect_healthy();
}

TEST_P(StackPoolTest, MarkingLastsFromBeginToDone) {
  EXPECT_FALSE(pool_.marking());
  pool_.begin_cycle({1, false});
  EXPECT_TRUE(pool_.marking());
  pool_.mark_done();
  EXPECT_FALSE(pool_.marking());
}

TEST_P(StackPoolTest, HeapSpansAreZeroWhenAsked) {
  const uintptr_t dirty = pool_.allocate_heap(2, false);
  ASSERT_NE(dirty, 0u);
  pool_.note_written(dirty, 2 * kPageBytes);
  std::memset(reinterpret_cast<void*>(dirty), 0xff, 2 * kPageBytes);
  pool_.free_heap(dirty);
  const uintptr_t again = pool_.allocate_heap(2, true);
  ASSERT_EQ(again, dirty);
  for (size_t i = 0; i < 2 * kPageBytes; i += 8) ASSERT_EQ(*reinterpret_cast<const uint64_t*>(again + i), 0u);
  EXPECT_EQ(pool_.locate(again).state, SpanState::kInUse);
}

TEST_P(StackPoolTest, AHeapBlockIsFreedByItsBaseAlone) {
  const uintptr_t base = pool_.allocate_heap(4, false);
  ASSERT_NE(base, 0u);
  EXPECT_DEATH(pool_.free_heap(base + 2 * kPageBytes), "wants the base of an InUse span");
}

TEST_P(StackPoolTest, WhatParametersCanBeIsChecked) {
  for (const int orders : {0, 1, kMaxOrders + 1}) {
    PoolParams params = params_;
    params.orders = orders;
    EXPECT_DEATH(pool_.reset(params), "orders must be 2..4");
  }
  PoolParams params = params_;
  params.max_stack_bytes = 2 * kMostStackBytes;
  EXPECT_DEATH(pool_.reset(params), "2 GiB at most");
}

TEST_P(StackPoolTest, WhatWasAStackIsZeroForTheHeap) {
  for (const size_t bytes : {kMinStackBytes, order_bytes(params_.orders)}) {
    const Stack stack = pool_.allocate(kNoProc, bytes);
    std::memset(reinterpret_cast<void*>(stack.lo), 0x5a, bytes);
    const Location span = pool_.locate(stack.lo);
    pool_.free(kNoProc, stack);
    const uintptr_t base = pool_.allocate_heap(span.pages, true);
    ASSERT_EQ(base, span.base);
    for (size_t i = 0; i < span.pages * kPageBytes; i += 8) {
      ASSERT_EQ(*reinterpret_cast<const uint64_t*>(base + i), 0u);
    }
    pool_.free_heap(base);
  }
}

TEST_P(StackPoolTest, AResetGivesTheSameStacksAgain) {
  const auto life = [this] {
    std::mt19937 random(17);
    std::vector<Stack> live;
    std::vector<uintptr_t> seen;
    for (int step = 0; step < 500; ++step) {
      const Proc proc = static_cast<Proc>(random() % 5) - 1;
      if (live.empty() || random() % 100 < 60) {
        live.push_back(pool_.allocate(proc, kMinStackBytes << random() % 6));
        seen.push_back(live.back().lo);
        if (!live.back()) live.pop_back();
      } else {
        std::swap(live[random() % live.size()], live.back());
        pool_.free(proc, live.back());
        live.pop_back();
      }
    }
    return std::pair(seen, pool_.stats());
  };
  const auto first = life();
  pool_.reset(params_);
  EXPECT_EQ(pool_.stats(), PoolStats{});
  EXPECT_EQ(life(), first);
}

}  // namespace
}  // namespace stackdrain
