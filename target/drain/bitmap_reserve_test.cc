// What bitmap keeps of the spans that a drain finds empty, and gives back a cycle later: word by word, or a word of
// pages at once where all of it leaves.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <tuple>
#include <vector>

#include "target/drain/policies.h"
#include "target/mutex.h"
#include "target/testing.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

constexpr size_t kSpans = 40;  // two and a half words of pages

constexpr size_t kSpansAWord = 64 * kMinStackBytes / kPoolSpanBytes;

// The bytes of a stack, the words of a drain step (0: as many as it takes), and which spans keep a stack: each n-th.
class ReserveTest : public testing::TestWithParam<std::tuple<size_t, size_t, size_t>> {
 protected:
  ReserveTest() : arena_(size_t{16} << 20), pool_(find_policy("bitmap")->make(arena_)) { pool_->reset(go119_preset()); }

  static uintptr_t span_of(Stack stack) { return stack.lo & ~uintptr_t{kPoolSpanBytes - 1}; }
  std::set<uintptr_t> stack_spans() const {
    std::set<uintptr_t> bases;
    const CollectedWalk walk(*pool_);
    EXPECT_EQ(walk.faults, "");
    for (const SpanView& span : walk.spans) {
      if (span.state == SpanState::kStack) bases.insert(span.base);
    }
    return bases;
  }
  void cycle(const std::vector<Stack>& retired, size_t budget) {
    pool_->flush_cache(0);
    pool_->begin_cycle({});
    for (const Stack stack : retired) pool_->retire(kNoProc, stack, RetireWhy::kShrunk);
    pool_->end_mark();
    pool_->restarted();
    while (pool_->drain_pending()) pool_->drain_step(budget);
  }

  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
};

TEST_P(ReserveTest, WhatWasKeptLeavesACycleLaterButForSpansWithStacks) {
  const auto [bytes, budget, each] = GetParam();
  std::vector<Stack> stacks(kSpans * (kPoolSpanBytes / bytes));
  for (Stack& stack : stacks) stack = pool_->allocate(0, bytes);
  const std::set<uintptr_t> all = stack_spans();
  ASSERT_EQ(all.size(), kSpans);
  std::set<uintptr_t> stay;
  size_t number = 0;
  for (const uintptr_t base : all) {
    if (each != 0 && number++ % each == 0) stay.insert(base);
  }
  // One stack of each span that stays is not retired: the first of its that comes.
  std::set<uintptr_t> owed = stay;
  std::vector<Stack> retired;
  for (const Stack stack : stacks) {
    if (owed.erase(span_of(stack)) == 0) retired.push_back(stack);
  }

  cycle(retired, budget);
  EXPECT_EQ(stack_spans(), all) << "as many spans as were put to use stay";
  EXPECT_EQ(pool_->stats().held_stacks, 0u);
  const uint64_t work = work_so_far();
  cycle({}, budget);
  EXPECT_EQ(stack_spans(), stay);
  if (kCountsWork && each == 0) {
    EXPECT_GE(work_so_far() - work, kSpans / kSpansAWord) << "a unit for each word that is looked at";
  }
  EXPECT_EQ(pool_->stats().spans_released, kSpans - stay.size());
  EXPECT_EQ(pool_->stats().live_stacks, stay.size());
  EXPECT_EQ(pool_->stats().stack_bytes, stay.size() * kPoolSpanBytes);

  // All that left serves again, and each stack once.
  std::set<uintptr_t> again;
  for (size_t i = 0; i < retired.size(); ++i) again.insert(pool_->allocate(0, bytes).lo);
  EXPECT_EQ(again.size(), retired.size());
  EXPECT_EQ(pool_->stats().live_stacks, stacks.size());
  EXPECT_GE(stack_spans().size(), kSpans) << "a cache was filled from one more at the most";
  EXPECT_LE(stack_spans().size(), kSpans + 1);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ReserveTest,
                         testing::Combine(testing::Values(2048, 4096, 8192, 16384), testing::Values(0, 1, 3, 6),
                                          testing::Values(0, 1, 2, 7, 39)));

#if STACKDRAIN_YIELDS
// While a thread that is short of memory waits for the drain's lock, whoever has it gives all of it back.
class GivesBackFirst final : public LockHook {
 public:
  explicit GivesBackFirst(AnyPool& pool) : pool_(pool) { lock_hook = this; }
  ~GivesBackFirst() { lock_hook = nullptr; }
  bool acquires(const void*) override {
    if (++locks_ != 2) return true;  // the first is the heap's, which has nothing
    while (pool_.drain_pending()) given_back_ += pool_.drain_step(0);
    return true;
  }
  bool releases(const void*) override { return true; }
  size_t given_back() const { return given_back_; }

 private:
  AnyPool& pool_;
  int locks_ = 0;
  size_t given_back_ = 0;
};

TEST_F(ReserveTest, WhatAnotherGaveBackMeanwhileIsNotRefused) {
  PoolParams params = go119_preset();
  params.arena_pages = 64;
  pool_->reset(params);
  std::vector<Stack> all;
  while (const Stack stack = pool_->allocate(kNoProc, 16384)) all.push_back(stack);
  ASSERT_FALSE(all.empty());
  cycle({}, 0);  // no span is put to use in the next, so none is kept
  pool_->begin_cycle({2, true});
  for (const Stack stack : all) pool_->retire(kNoProc, stack, RetireWhy::kShrunk);
  pool_->end_mark();
  pool_->restarted();
  GivesBackFirst hook(*pool_);
  EXPECT_NE(pool_->allocate_heap(1, false), 0u);
  EXPECT_NE(hook.given_back(), 0u);
}
#endif

// "0 when none": a cycle that leaves nothing to look at asks for no drain.
TEST_F(ReserveTest, WhereNothingWaitsNoDrainIsDue) {
  const auto due = [this](const std::vector<Stack>& retired) {
    pool_->begin_cycle({});
    for (const Stack stack : retired) pool_->retire(kNoProc, stack, RetireWhy::kShrunk);
    pool_->end_mark();
    pool_->restarted();
    const bool is_due = pool_->drain_pending();
    while (pool_->drain_pending()) pool_->drain_step(0);
    return is_due;
  };
  EXPECT_FALSE(due({}));
  const Stack large = pool_->allocate(kNoProc, size_t{64} << 10);
  const Stack first = pool_->allocate(kNoProc, kMinStackBytes);
  const Stack second = pool_->allocate(kNoProc, kMinStackBytes);
  EXPECT_FALSE(due({})) << "stacks that live are nothing to look at";
  EXPECT_TRUE(due({first}));
  EXPECT_FALSE(due({})) << "its span has a stack, and was looked at";
  EXPECT_TRUE(due({large}));
  EXPECT_FALSE(due({})) << "a large stack leaves at once";
  const Stack third = pool_->allocate(kNoProc, 4096);
  EXPECT_TRUE(due({second, third}));
  EXPECT_TRUE(due({})) << "a span that was put to use is kept a cycle";
  EXPECT_FALSE(due({}));
  EXPECT_EQ(pool_->stats().stack_bytes, 0u);
}

// A word of pages of which something is pending is none that leaves at once: what is pending is counted when it leaves.
TEST_F(ReserveTest, WhatIsPendingIsSettledFirst) {
  std::vector<Stack> stacks(kSpans * (kPoolSpanBytes / 4096));
  for (Stack& stack : stacks) stack = pool_->allocate(0, 4096);
  cycle(stacks, 0);
  const Stack last = pool_->allocate(0, 4096);  // of a span that was kept, which is put to use again
  cycle({last}, 0);
  EXPECT_EQ(pool_->stats().live_stacks, 0u);
  EXPECT_EQ(pool_->stats().held_stacks, 0u);
  EXPECT_EQ(stack_spans().size(), 1u) << "it was put to use since the cycle before";
  cycle({}, 0);
  EXPECT_EQ(stack_spans().size(), 0u);
}

}  // namespace
}  // namespace stackdrain
