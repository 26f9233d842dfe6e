#include "target/stack_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "target/drain/policies.h"
#include "target/testing.h"

namespace stackdrain {
namespace {

constexpr size_t kArena = size_t{8} << 20;

struct Shape {
  int orders;
  LockPlan locks;
};

class StackPoolTest : public testing::TestWithParam<Shape> {
 protected:
  StackPoolTest() : arena_(kArena), pool_(find_policy("immediate")->make(arena_)) {
    params_ = go119_preset();
    params_.orders = GetParam().orders;
    params_.locks = GetParam().locks;
    params_.grow_chunk_bytes = size_t{128} << 10;
    pool_->reset(params_);
  }

  void expect_healthy() {
    CollectedWalk walk(*pool_);
    EXPECT_EQ(walk.faults, "");
    const PoolStats stats = pool_->stats();
    EXPECT_EQ(stats.system_bytes, stats.heap_bytes + stats.stack_bytes + stats.idle_bytes);
    EXPECT_EQ(stats.live_stacks, stats.allocations - stats.frees);
    size_t slots = 0;
    for (const SpanView& view : walk.spans) slots += view.state == SpanState::kStack ? view.capacity : 0;
    EXPECT_EQ(slots, walk.slots.size() + stats.live_stacks) << "a slot is live, cached or free, and nothing else";
  }

  Arena arena_;
  PoolParams params_;
  std::unique_ptr<AnyPool> pool_;
};

INSTANTIATE_TEST_SUITE_P(Shapes, StackPoolTest,
                         testing::Values(Shape{3, LockPlan::kOneLock}, Shape{4, LockPlan::kPerOrder},
                                         Shape{4, LockPlan::kOneLock}));

TEST_P(StackPoolTest, StacksAreAlignedDisjointAndInStackSpans) {
  std::set<uintptr_t> units;
  for (size_t bytes = kMinStackBytes; bytes <= size_t{128} << 10; bytes *= 2) {
    for (int i = 0; i < 20; ++i) {
      const Stack stack = pool_->allocate(i % params_.procs, bytes);
      ASSERT_TRUE(static_cast<bool>(stack));
      EXPECT_EQ(stack.bytes(), bytes);
      EXPECT_EQ((stack.lo - pool_->locate(stack.lo).base) % bytes, 0u);
      EXPECT_EQ(pool_->locate(stack.hi - 1).state, SpanState::kStack);
      EXPECT_EQ(pool_->locate(stack.hi - 1).base, pool_->locate(stack.lo).base);
      for (uintptr_t at = stack.lo; at < stack.hi; at += kMinStackBytes) EXPECT_TRUE(units.insert(at).second);
    }
  }
  expect_healthy();
}

TEST_P(StackPoolTest, AnEmptyCacheIsFilledToHalfAndAFullOneEmptiedToHalf) {
  for (int order = 0; order < params_.orders; ++order) {
    pool_->reset(params_);
    const size_t bytes = order_bytes(order);
    std::vector<Stack> stacks = {pool_->allocate(0, bytes)};
    EXPECT_EQ(pool_->stats().cached_bytes, kCacheFillBytes - bytes);
    while (stacks.size() < 3 * kCacheCapBytes / bytes) stacks.push_back(pool_->allocate(0, bytes));
    pool_->flush_cache(0);
    uint64_t most = 0;
    uint64_t before = 0;
    for (const Stack stack : stacks) {
      pool_->free(0, stack);
      const uint64_t now = pool_->stats().cached_bytes;
      if (before == kCacheCapBytes) EXPECT_EQ(now, kCacheFillBytes + bytes) << "the hottest half went back first";
      most = std::max(most, now);
      before = now;
    }
    EXPECT_EQ(most, kCacheCapBytes);
    expect_healthy();
  }
}

TEST_P(StackPoolTest, FlushedAndDeadMeansNothingLeft) {
  std::mt19937 random(3);
  std::vector<std::pair<Proc, Stack>> live;
  for (int step = 0; step < 4000; ++step) {
    const Proc proc = static_cast<Proc>(random() % 5) - 1;  // kNoProc too
    if (live.empty() || random() % 100 < 52) {
      const Stack stack = pool_->allocate(proc, kMinStackBytes << random() % 7);
      if (stack) live.emplace_back(proc, stack);
    } else {
      std::swap(live[random() % live.size()], live.back());
      pool_->free(proc, live.back().second);
      live.pop_back();
    }
    if (step % 100 == 0) expect_healthy();
  }
  for (const auto& [proc, stack] : live) pool_->free(proc, stack);
  for (Proc proc = 0; proc < params_.procs; ++proc) pool_->flush_cache(proc);
  const PoolStats stats = pool_->stats();
  EXPECT_EQ(stats.live_stacks, 0u);
  EXPECT_EQ(stats.live_bytes, 0u);
  EXPECT_EQ(stats.cached_bytes, 0u);
  EXPECT_EQ(stats.stack_bytes, 0u);
  EXPECT_EQ(stats.spans_taken, stats.spans_released);
  EXPECT_EQ(CollectedWalk(*pool_).spans.size(), 1u);
}

TEST_P(StackPoolTest, LargeStacksHaveASpanOfTheirOwn) {
  const size_t bytes = order_bytes(params_.orders);
  const Stack a = pool_->allocate(0, bytes);
  const Stack b = pool_->allocate(0, bytes);
  EXPECT_NE(pool_->locate(a.lo).base, pool_->locate(b.lo).base);
  EXPECT_EQ(pool_->locate(a.lo).base, a.lo);
  EXPECT_EQ(pool_->stats().cached_bytes, 0u);
  pool_->free(0, a);
  EXPECT_EQ(pool_->locate(a.lo).state, SpanState::kFree) << "no cache for large ones";
  pool_->free(0, b);
  EXPECT_EQ(pool_->stats().stack_bytes, 0u);
}

TEST_P(StackPoolTest, ExhaustionLeavesEverythingAsItWas) {
  params_.arena_pages = 16;
  pool_->reset(params_);
  std::vector<Stack> stacks;
  while (const Stack stack = pool_->allocate(0, kMinStackBytes)) stacks.push_back(stack);
  EXPECT_EQ(stacks.size(), 16 * kPageBytes / kMinStackBytes);
  const PoolStats full = pool_->stats();
  EXPECT_FALSE(static_cast<bool>(pool_->allocate(kNoProc, kMinStackBytes)));
  EXPECT_FALSE(static_cast<bool>(pool_->allocate(0, size_t{64} << 10)));
  EXPECT_EQ(pool_->allocate_heap(1, false), 0u);
  EXPECT_EQ(pool_->stats().live_stacks, full.live_stacks);
  EXPECT_EQ(pool_->stats().stack_bytes, full.stack_bytes);
  expect_healthy();
  pool_->free(0, stacks.back());
  EXPECT_EQ(pool_->allocate(0, kMinStackBytes), stacks.back());
}

TEST_P(StackPoolTest, WhatIsNotLiveIsPoisonedButItsLinks) {
  for (const size_t bytes : {kMinStackBytes, order_bytes(params_.orders - 1), order_bytes(params_.orders)}) {
    for (const Proc proc : {Proc{0}, kNoProc}) {
      const Stack stack = pool_->allocate(proc, bytes);
      for (uintptr_t at = stack.lo; at < stack.hi; at += 512) EXPECT_FALSE(asan_is_poisoned(at));
      pool_->free(proc, stack);
      EXPECT_EQ(asan_is_poisoned(stack.lo + kLinkBytes), asan_enabled);
      EXPECT_EQ(asan_is_poisoned(stack.hi - 1), asan_enabled);
    }
  }
}

TEST_P(StackPoolTest, HeapSpansAreZeroWhenAsked) {
  const uintptr_t dirty = pool_->allocate_heap(2, false);
  ASSERT_NE(dirty, 0u);
  for (size_t i = 0; i < 2 * kPageBytes; i += 8) *reinterpret_cast<uint64_t*>(dirty + i) = ~uint64_t{0};
  pool_->free_heap(dirty);
  const uintptr_t again = pool_->allocate_heap(2, true);
  ASSERT_EQ(again, dirty);
  for (size_t i = 0; i < 2 * kPageBytes; i += 8) ASSERT_EQ(*reinterpret_cast<const uint64_t*>(again + i), 0u);
  EXPECT_EQ(pool_->locate(again).state, SpanState::kInUse);
}

}  // namespace
}  // namespace stackdrain
