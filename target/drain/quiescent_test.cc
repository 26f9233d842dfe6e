// The policy whose stacks go back while the mark runs: which of them, and when.
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "target/drain/policies.h"
#include "target/testing.h"

namespace stackdrain {
namespace {

constexpr size_t kBytes = size_t{64} << 10;  // a span of its own

class QuiescentTest : public testing::Test {
 protected:
  QuiescentTest() : arena_(size_t{64} << 20), pool_(find_policy("quiescent")->make(arena_)) {
    pool_->reset(go119_preset());
    pool_->begin_cycle({2, true});
  }
  Stack retired() {
    const Stack stack = pool_->allocate(kNoProc, kBytes);
    pool_->retire(kNoProc, stack, RetireWhy::kShrunk);
    return stack;
  }
  bool is_free(Stack stack) const { return pool_->locate(stack.lo).state == SpanState::kFree; }

  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
};

TEST_F(QuiescentTest, WaitsForWhoReadsAndForNobodyElse) {
  pool_->reading(marker_reader(0));
  const Stack stack = retired();
  pool_->reading(marker_reader(1));  // in the snapshot, because the batch is closed after this
  EXPECT_EQ(pool_->reclaim(), 0u);
  pool_->quiescent(marker_reader(0));
  EXPECT_EQ(pool_->reclaim(), 0u);
  EXPECT_EQ(pool_->stats().held_bytes, kBytes);
  pool_->quiescent(marker_reader(1));
  pool_->reading(marker_reader(1));  // again: what it LOADs now is no address of the stack
  EXPECT_EQ(pool_->reclaim(), 1u);
  EXPECT_TRUE(is_free(stack));
  EXPECT_EQ(pool_->stats().held_bytes, 0u);
}

TEST_F(QuiescentTest, WhatIsRetiredDuringAGraceHasItsOwn) {
  pool_->reading(marker_reader(0));
  const Stack first = retired();
  EXPECT_EQ(pool_->reclaim(), 0u);
  pool_->reading(marker_reader(1));
  const Stack second = retired();
  pool_->quiescent(marker_reader(0));
  EXPECT_EQ(pool_->reclaim(), 1u);
  EXPECT_TRUE(is_free(first));
  EXPECT_FALSE(is_free(second)) << "marker 1 may hold a pointer into it";
  pool_->quiescent(marker_reader(1));
  EXPECT_EQ(pool_->reclaim(), 1u);
  EXPECT_TRUE(is_free(second));
}

TEST_F(QuiescentTest, AWriteBufferIsAReader) {
  pool_->reading(buffer_reader(3));
  const Stack stack = retired();
  pool_->reading(marker_reader(0));
  pool_->quiescent(marker_reader(0));
  EXPECT_EQ(pool_->reclaim(), 0u);
  pool_->quiescent(buffer_reader(3));
  EXPECT_EQ(pool_->reclaim(), 1u);
  EXPECT_TRUE(is_free(stack));
}

TEST_F(QuiescentTest, WhatIsLeftIsHandedOverAndDrainedAfterTheRestart) {
  pool_->reading(buffer_reader(0));
  const Stack waits = retired();
  EXPECT_EQ(pool_->reclaim(), 0u);
  const Stack queued = retired();
  pool_->quiescent(buffer_reader(0));
  pool_->end_mark();
  pool_->restarted();
  EXPECT_TRUE(pool_->drain_pending());
  EXPECT_FALSE(is_free(waits));
  EXPECT_EQ(pool_->drain_step(1), 1u);
  EXPECT_EQ(pool_->drain_step(1), 1u);
  EXPECT_FALSE(pool_->drain_pending());
  EXPECT_TRUE(is_free(waits) && is_free(queued));
}

TEST_F(QuiescentTest, WhoWasReadingAtTheEndOfACycleIsNotWaitedForInTheNext) {
  for (int marker = 0; marker < kMaxMarkers; ++marker) pool_->reading(marker_reader(marker));
  pool_->end_mark();
  pool_->restarted();
  pool_->begin_cycle({1, false});
  retired();
  EXPECT_EQ(pool_->reclaim(), 1u);
}

TEST_F(QuiescentTest, WhoWasReadingBeforeAResetIsNotWaitedFor) {
  pool_->reading(buffer_reader(3));
  pool_->reset(go119_preset());
  pool_->begin_cycle({1, true});
  retired();
  EXPECT_EQ(pool_->reclaim(), 1u);
}

// 64 stacks of an order are freed under one hold of its lock; taking them off the queue is one more.
TEST_F(QuiescentTest, AStepTakesFewLocks) {
  constexpr size_t kStacks = 200;
  const size_t at_once = pool_->params().drain_batch;
  pool_->reading(marker_reader(0));
  for (size_t i = 0; i < kStacks; ++i) {
    pool_->retire(kNoProc, pool_->allocate(kNoProc, kMinStackBytes), RetireWhy::kShrunk);
  }
  pool_->end_mark();
  pool_->restarted();
  const auto locks_of_orders = [this] {
    const PoolStats stats = pool_->stats();
    return stats.locks_taken - stats.spans_released;  // each span that becomes empty takes the page heap's
  };
  const uint64_t before = locks_of_orders();
  EXPECT_EQ(pool_->drain_step(kStacks), kStacks);
  EXPECT_EQ(locks_of_orders() - before, 1 + (kStacks + at_once - 1) / at_once);
}

// Readers that come and go beside markers that retire and reclaim: each writes into what it holds, which nobody else
// may do to a stack that is free. For TSan.
TEST_F(QuiescentTest, ReadersAndReclaimersRunTogether) {
  constexpr int kRounds = kSlowBuild ? 500 : 3000;
  std::atomic<uintptr_t> word{0};  // the one that a reader LOADs
  word.store(pool_->allocate(kNoProc, kBytes).lo);
  std::vector<std::thread> threads;
  for (int marker = 1; marker < 3; ++marker) {
    threads.emplace_back([&, marker] {
      for (int round = 0; round < kRounds; ++round) {
        pool_->reading(marker_reader(marker));
        const uintptr_t lo = word.load(std::memory_order_acquire);
        EXPECT_EQ(pool_->locate(lo).state, SpanState::kStack);
        pool_->quiescent(marker_reader(marker));
        if (round % 8 == 0) pool_->reclaim();
      }
    });
  }
  for (int round = 0; round < kRounds; ++round) {
    pool_->reading(marker_reader(0));
    const Stack old{word.load(), word.load() + kBytes};
    word.store(pool_->allocate(kNoProc, kBytes).lo, std::memory_order_release);
    pool_->retire(kNoProc, old, RetireWhy::kShrunk);
    pool_->quiescent(marker_reader(0));
    pool_->reclaim();
  }
  for (std::thread& thread : threads) thread.join();
  pool_->reclaim();
  EXPECT_EQ(pool_->stats().held_stacks, 0u);
  EXPECT_EQ(pool_->stats().live_stacks, 1u);
  EXPECT_EQ(CollectedWalk(*pool_).faults, "");
}

}  // namespace
}  // namespace stackdrain
