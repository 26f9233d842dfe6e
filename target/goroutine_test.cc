#include "target/goroutine.h"

#include <gtest/gtest.h>

#include <array>
#include <barrier>
#include <memory>
#include <thread>
#include <vector>

#include "target/arena.h"
#include "target/drain/policies.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

class GoroutineTest : public testing::Test {
 protected:
  GoroutineTest() : arena_(size_t{16} << 20), pool_(find_policy("serial")->make(arena_)) {
    params_ = go119_preset();
    pool_->reset(params_);
    goroutine_.reset(1);
  }

  void spawn(size_t bytes) { ASSERT_TRUE(goroutine_.spawn(*pool_, 0, bytes, false)); }
  bool call(size_t bytes) { return goroutine_.call(*pool_, 0, bytes, false); }
  uint64_t word(FrameWord which) const {
    return Goroutine::read(Goroutine::word_at(goroutine_.youngest_link(), which));
  }
  // Every word that points into the own stack, as distance from hi; the frames' other words as they are.
  std::vector<uint64_t> content() const {
    std::vector<uint64_t> words;
    const Stack stack = goroutine_.stack();
    for (uintptr_t at = stack.hi - goroutine_.used(); at < stack.hi; at += sizeof(uint64_t)) {
      const uint64_t value = Goroutine::read(at);
      words.push_back(stack.contains(value) ? stack.hi - value : value);
    }
    for (size_t kind = 0; kind < kRootKinds; ++kind) {
      const uintptr_t root = goroutine_.root(static_cast<RootKind>(kind));
      EXPECT_TRUE(root == 0 || stack.contains(root)) << kRootNames[kind];
      words.push_back(root == 0 ? 0 : stack.hi - root);
    }
    return words;
  }

  // What a life writes besides its frames' words: a pattern word a line of what is used, and the canary at the low end.
  void expect_pattern_and_canary() const {
    const Stack stack = goroutine_.stack();
    const StackPattern pattern(goroutine_.id(), goroutine_.generation());
    for (uintptr_t line = goroutine_.sp(); line < stack.hi; line += 64) {
      EXPECT_EQ(Goroutine::read(line), pattern.at(stack.hi - line));
    }
    EXPECT_EQ(Goroutine::read(stack.lo), pattern.canary(0));
    EXPECT_EQ(Goroutine::read(stack.lo + sizeof(uint64_t)), pattern.canary(1));
  }

  Arena arena_;
  PoolParams params_;
  std::unique_ptr<AnyPool> pool_;
  Goroutine goroutine_;
};

TEST_F(GoroutineTest, FramesComeAndGo) {
  spawn(8192);
  const size_t first = goroutine_.used();
  ASSERT_TRUE(call(256));
  ASSERT_TRUE(call(1024));
  EXPECT_EQ(goroutine_.used(), first + 256 + 1024);
  EXPECT_EQ(word(FrameWord::kSize), 1024u);
  EXPECT_TRUE(goroutine_.ret());
  EXPECT_EQ(word(FrameWord::kSize), 256u);
  EXPECT_TRUE(goroutine_.ret());
  EXPECT_FALSE(goroutine_.ret()) << "the oldest frame stays";
  EXPECT_EQ(goroutine_.used(), first);
}

TEST_F(GoroutineTest, ACallThatDoesNotFitGrows) {
  spawn(2048);
  ASSERT_TRUE(call(128));
  EXPECT_EQ(goroutine_.stack().bytes(), 2048u);
  ASSERT_TRUE(call(4096));
  EXPECT_EQ(goroutine_.stack().bytes(), 8192u) << "doubled until frame and guard fit";
}

TEST_F(GoroutineTest, MovesKeepEveryWordAndMoveEveryPointer) {
  spawn(8192);
  for (int depth = 0; depth < 5; ++depth) ASSERT_TRUE(call(128));
  goroutine_.push_record(RootKind::kPanic);
  goroutine_.push_record(RootKind::kDefer);
  goroutine_.block(WaitKind::kSelect);
  for (size_t kind = 0; kind < kRootKinds; ++kind) ASSERT_NE(goroutine_.root(static_cast<RootKind>(kind)), 0u);
  const std::vector<uint64_t> before = content();
  const Stack old = goroutine_.stack();
  ASSERT_TRUE(goroutine_.grow(*pool_, 0, 16384, false));
  EXPECT_NE(goroutine_.stack().lo, old.lo);
  EXPECT_EQ(goroutine_.stack().bytes(), 16384u);
  EXPECT_EQ(content(), before);
  EXPECT_EQ(goroutine_.status(), GoStatus::kWaiting);
  pool_->begin_cycle({});
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kShrunk);
  EXPECT_EQ(goroutine_.stack().bytes(), 8192u);
  EXPECT_EQ(content(), before);
}

TEST_F(GoroutineTest, ShrinksOnlyBelowAQuarterWithTheGuardAndOnceACycle) {
  spawn(8192);
  pool_->begin_cycle({});
  while (goroutine_.used() + params_.guard_bytes + 128 < 8192 / 4) ASSERT_TRUE(call(128));
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kShrunk);
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kAlready);
  EXPECT_EQ(goroutine_.shrink(*pool_, 2), ShrinkResult::kInUse);
  EXPECT_EQ(pool_->stats().held_bytes, 8192u) << "serial defers what was shrunk";
}

TEST_F(GoroutineTest, AtTheQuarterItStays) {
  spawn(8192);
  pool_->begin_cycle({});
  while (goroutine_.used() + params_.guard_bytes < 8192 / 4) ASSERT_TRUE(call(128));
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kInUse);
}

TEST_F(GoroutineTest, IsNotMovedInASystemCallOrWhileParking) {
  spawn(8192);
  pool_->begin_cycle({});
  for (const GoStatus status : {GoStatus::kSyscall, GoStatus::kParking}) {
    goroutine_.set_status(status);
    EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kRefused);
    EXPECT_FALSE(goroutine_.grow(*pool_, 0, 16384, true));
    EXPECT_EQ(goroutine_.status(), status);
  }
}

TEST_F(GoroutineTest, ASendWritesIntoTheWaitersFrameAndWakesIt) {
  spawn(4096);
  EXPECT_FALSE(goroutine_.send(7)) << "nobody waits";
  goroutine_.block(WaitKind::kReceive);
  EXPECT_EQ(goroutine_.root(RootKind::kElem), Goroutine::word_at(goroutine_.youngest_link(), FrameWord::kValue));
  EXPECT_TRUE(goroutine_.send(42));
  EXPECT_EQ(word(FrameWord::kValue), 42u);
  EXPECT_EQ(goroutine_.status(), GoStatus::kRunning);
  EXPECT_EQ(goroutine_.root(RootKind::kElem), 0u);
  goroutine_.block(WaitKind::kSleep);
  EXPECT_EQ(goroutine_.root(RootKind::kElem), 0u);
}

TEST_F(GoroutineTest, ReturningDropsRecordsOfTheFrame) {
  spawn(8192);
  goroutine_.push_record(RootKind::kDefer);
  const uintptr_t kept = goroutine_.root(RootKind::kDefer);
  ASSERT_TRUE(call(256));
  goroutine_.push_record(RootKind::kPanic);
  EXPECT_TRUE(goroutine_.ret());
  EXPECT_EQ(goroutine_.root(RootKind::kPanic), 0u);
  EXPECT_EQ(goroutine_.root(RootKind::kDefer), kept);
}

TEST_F(GoroutineTest, ADeadOneKeepsAStartStackAndReusesIt) {
  spawn(kStartStack);
  const Stack first = goroutine_.stack();
  const uint32_t life = goroutine_.generation();
  goroutine_.exit(*pool_, 0, false);
  EXPECT_EQ(goroutine_.stack(), first);
  spawn(kStartStack);
  EXPECT_EQ(goroutine_.stack(), first);
  EXPECT_NE(goroutine_.generation(), life);
  EXPECT_EQ(pool_->stats().allocations, 1u);
  ASSERT_TRUE(goroutine_.grow(*pool_, 0, 8192, false));
  goroutine_.exit(*pool_, 0, false);
  EXPECT_FALSE(static_cast<bool>(goroutine_.stack())) << "only a stack of start size stays";
  EXPECT_EQ(pool_->stats().live_stacks, 0u);
}

TEST_F(GoroutineTest, WithoutMemoryEverythingIsAsBefore) {
  params_.arena_pages = 4;
  pool_->reset(params_);
  spawn(16384);
  const std::vector<uint64_t> before = content();
  EXPECT_FALSE(goroutine_.grow(*pool_, 0, 32768, false));
  EXPECT_FALSE(call(size_t{156} * 128));
  EXPECT_EQ(content(), before);
  EXPECT_EQ(goroutine_.status(), GoStatus::kRunning);
}

TEST_F(GoroutineTest, PatternAndCanaryMoveWithTheStack) {
  spawn(8192);
  expect_pattern_and_canary();
  ASSERT_TRUE(call(256));
  expect_pattern_and_canary();
  ASSERT_TRUE(goroutine_.grow(*pool_, 0, 32768, false));
  expect_pattern_and_canary();
  pool_->begin_cycle({});
  ASSERT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kShrunk);
  expect_pattern_and_canary();
}

TEST_F(GoroutineTest, TheLinkChainNamesEveryFrameAfterAMove) {
  spawn(4096);
  const std::vector<size_t> sizes = {256, 128, 512};
  for (const size_t bytes : sizes) ASSERT_TRUE(call(bytes));
  ASSERT_TRUE(goroutine_.grow(*pool_, 0, 16384, false));
  uintptr_t high = goroutine_.sp();
  size_t frames = 0;
  for (uintptr_t link = goroutine_.youngest_link(); link != 0; link = Goroutine::read(link)) {
    ASSERT_TRUE(goroutine_.stack().contains(link));
    high += Goroutine::read(Goroutine::word_at(link, FrameWord::kSize));
    EXPECT_EQ(link, high - sizeof(uint64_t));
    const uintptr_t caller = Goroutine::read(link);
    EXPECT_EQ(Goroutine::read(Goroutine::word_at(link, FrameWord::kSlot)), caller != 0 ? caller : link);
    ++frames;
  }
  EXPECT_EQ(frames, sizes.size() + 1);
  EXPECT_EQ(high, goroutine_.stack().hi);
}

TEST_F(GoroutineTest, AtTheSeedTheShrinkRuleCountsNoGuard) {
  params_ = seed_preset();
  pool_->reset(params_);
  spawn(8192);
  pool_->begin_cycle({});
  while (goroutine_.used() + 128 < 8192 / 4) ASSERT_TRUE(call(128));
  ASSERT_GT(goroutine_.used() + params_.guard_bytes, 8192u / 4);
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kShrunk);
  spawn(8192);
  while (goroutine_.used() < 8192 / 4) ASSERT_TRUE(call(128));
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kInUse);
}

TEST_F(GoroutineTest, ANewLifeMayBeHalvedInTheSameCycle) {
  spawn(8192);
  pool_->begin_cycle({1, true});
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kShrunk);
  goroutine_.exit(*pool_, 0, true);
  ASSERT_TRUE(goroutine_.spawn(*pool_, 0, 8192, true));
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kShrunk);
}

TEST_F(GoroutineTest, TheSmallestStackStays) {
  params_ = seed_preset();  // its guard would not forbid it: 128 of 2048 bytes are used
  pool_->reset(params_);
  spawn(kMinStackBytes);
  pool_->begin_cycle({});
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kMinimum);
  EXPECT_EQ(goroutine_.stack().bytes(), kMinStackBytes);
}

TEST_F(GoroutineTest, AShrinkWithoutMemoryChangesNothingAndMayBeTriedAgain) {
  params_.arena_pages = 8;
  pool_->reset(params_);
  spawn(32768);
  const uintptr_t object = pool_->allocate_heap(4, false);
  ASSERT_NE(object, 0u);
  goroutine_.block(WaitKind::kSelect);
  const std::vector<uint64_t> before = content();
  const Stack stack = goroutine_.stack();
  pool_->begin_cycle({});
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kNoMemory);
  EXPECT_EQ(goroutine_.stack(), stack);
  EXPECT_EQ(goroutine_.status(), GoStatus::kWaiting);
  EXPECT_EQ(content(), before);
  pool_->free_heap(object);
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kShrunk);
  EXPECT_EQ(content(), before);
}

TEST_F(GoroutineTest, GrowsToTheMaximumAndNotBeyond) {
  params_.max_stack_bytes = 16384;
  pool_->reset(params_);
  spawn(8192);
  ASSERT_TRUE(goroutine_.grow(*pool_, 0, 16384, false));
  const PoolStats before = pool_->stats();
  EXPECT_FALSE(goroutine_.grow(*pool_, 0, 32768, false));
  EXPECT_FALSE(call(16384));
  EXPECT_EQ(pool_->stats(), before) << "the pool isn't even asked";
  EXPECT_EQ(goroutine_.status(), GoStatus::kRunning);
}

TEST_F(GoroutineTest, WhatAMutatorGivesUpInAMarkIsRetired) {
  Goroutine kept;
  kept.reset(2);
  ASSERT_TRUE(kept.spawn(*pool_, 0, kStartStack, false));
  kept.exit(*pool_, 0, false);
  spawn(8192);
  pool_->begin_cycle({1, true});
  ASSERT_TRUE(goroutine_.grow(*pool_, 0, 16384, true));
  EXPECT_EQ(pool_->stats().held_bytes, 8192u) << "grown away from";
  goroutine_.exit(*pool_, 0, true);
  EXPECT_EQ(pool_->stats().held_bytes, 8192u + 16384u) << "dead";
  ASSERT_TRUE(kept.spawn(*pool_, 0, 4096, true));
  EXPECT_EQ(pool_->stats().held_bytes, 8192u + 16384u + kStartStack) << "of the last life";
  EXPECT_EQ(pool_->stats().held_stacks, 3u);
}

TEST_F(GoroutineTest, WhatAMutatorGivesUpOutsideAMarkIsFreed) {
  spawn(8192);
  ASSERT_TRUE(goroutine_.grow(*pool_, 0, 16384, false));
  goroutine_.exit(*pool_, 0, false);
  EXPECT_EQ(pool_->stats().live_stacks, 0u);
  EXPECT_EQ(pool_->stats().held_stacks, 0u);
}

TEST_F(GoroutineTest, ADeadOneHasNoRecordsAndDropsItsStackOnce) {
  spawn(kStartStack);
  for (const RootKind kind : {RootKind::kPanic, RootKind::kDefer, RootKind::kContext}) goroutine_.push_record(kind);
  goroutine_.exit(*pool_, 0, false);
  EXPECT_FALSE(goroutine_.alive());
  for (size_t kind = 0; kind < kRootKinds; ++kind) EXPECT_EQ(goroutine_.root(static_cast<RootKind>(kind)), 0u);
  EXPECT_TRUE(goroutine_.drop_dead_stack(*pool_));
  EXPECT_EQ(pool_->stats().live_stacks, 0u);
  EXPECT_FALSE(goroutine_.drop_dead_stack(*pool_));
  EXPECT_EQ(pool_->stats().frees, 1u);
}

TEST_F(GoroutineTest, WakingClearsWhatWaitedAndNothingElse) {
  for (const WaitKind wait : {WaitKind::kReceive, WaitKind::kSelect, WaitKind::kSend, WaitKind::kSleep}) {
    spawn(8192);
    goroutine_.push_record(RootKind::kDefer);
    const uintptr_t record = goroutine_.root(RootKind::kDefer);
    goroutine_.block(wait);
    EXPECT_EQ(goroutine_.status(), GoStatus::kWaiting);
    EXPECT_EQ(goroutine_.root(RootKind::kElem) != 0, wait != WaitKind::kSleep);
    EXPECT_EQ(goroutine_.root(RootKind::kSelectDone) != 0, wait == WaitKind::kSelect);
    EXPECT_EQ(goroutine_.root(RootKind::kContext), goroutine_.youngest_link());
    EXPECT_TRUE(goroutine_.wake());
    EXPECT_FALSE(goroutine_.wake()) << "it waits no more";
    EXPECT_EQ(goroutine_.status(), GoStatus::kRunning);
    for (const RootKind kind : {RootKind::kElem, RootKind::kSelectDone, RootKind::kContext}) {
      EXPECT_EQ(goroutine_.root(kind), 0u) << kRootNames[static_cast<size_t>(kind)];
    }
    EXPECT_EQ(goroutine_.root(RootKind::kDefer), record);
    goroutine_.exit(*pool_, 0, false);
  }
}

TEST_F(GoroutineTest, OneScanACycleIsClaimed) {
  EXPECT_TRUE(goroutine_.claim_scan(1));
  EXPECT_FALSE(goroutine_.claim_scan(1));
  EXPECT_TRUE(goroutine_.claim_scan(2));
}

TEST_F(GoroutineTest, AResetForgetsTheLife) {
  spawn(8192);
  goroutine_.block(WaitKind::kSelect);
  goroutine_.reset(9);
  EXPECT_EQ(goroutine_.id(), 9u);
  EXPECT_EQ(goroutine_.generation(), 0u);
  EXPECT_FALSE(goroutine_.alive());
  EXPECT_FALSE(static_cast<bool>(goroutine_.stack()));
  for (size_t kind = 0; kind < kRootKinds; ++kind) EXPECT_EQ(goroutine_.root(static_cast<RootKind>(kind)), 0u);
}

#if STACKDRAIN_YIELDS
// Runs an action at each yield point of the goroutine's own, and keeps which those were.
class AtYields final : public YieldHook {
 public:
  explicit AtYields(void (*action)(AtYields&), Goroutine& goroutine, AnyPool& pool, Yield too = Yield::kSendElem)
      : goroutine(goroutine), pool(pool), action_(action), too_(too) {
    yield_hook = this;
  }
  ~AtYields() { yield_hook = nullptr; }
  void at(Yield point) override {
    const bool own = point <= Yield::kSendElem || point == too_;
    if (!own || inside_) return;
    inside_ = true;
    points.push_back(point);
    action_(*this);
    inside_ = false;
  }

  Goroutine& goroutine;
  AnyPool& pool;
  std::vector<Yield> points;

 private:
  void (*action_)(AtYields&);
  Yield too_;
  bool inside_ = false;
};

TEST_F(GoroutineTest, InsideAMoveNobodyWritesAndNobodyElseMoves) {
  spawn(16384);
  goroutine_.block(WaitKind::kReceive);
  const std::vector<uint64_t> before = content();
  pool_->begin_cycle({});
  AtYields hook(
      [](AtYields& at) {
        EXPECT_EQ(at.goroutine.status(), GoStatus::kCopying);
        EXPECT_FALSE(at.goroutine.send(7));
        EXPECT_EQ(at.goroutine.shrink(at.pool, 2), ShrinkResult::kRefused);
        EXPECT_FALSE(at.goroutine.grow(at.pool, 0, 32768, true));
      },
      goroutine_, *pool_);
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kShrunk);
  const std::vector<Yield> seeds_order = {Yield::kCopyAlloc, Yield::kCopyAdjust, Yield::kCopyCopy, Yield::kCopySwap,
                                          Yield::kCopyFree};
  EXPECT_EQ(hook.points, seeds_order);
  EXPECT_EQ(content(), before);
  EXPECT_EQ(goroutine_.status(), GoStatus::kWaiting);
}

// Between a marker's look and its claim the goroutine is woken, calls, and waits again: the status is what it was, and
// what it uses is not.
TEST_F(GoroutineTest, WhatCountsIsHowItIsWhenItIsClaimed) {
  spawn(16384);
  goroutine_.block(WaitKind::kReceive);
  pool_->begin_cycle({1, true});
  {
    AtYields hook(
        [](AtYields& at) {
          if (at.points.size() > 1) return;
          ASSERT_EQ(at.points.front(), Yield::kClaim);
          at.goroutine.wake();
          for (int i = 0; i < 9; ++i) ASSERT_TRUE(at.goroutine.call(at.pool, 0, 1024, true));
          at.goroutine.block(WaitKind::kReceive);
        },
        goroutine_, *pool_, Yield::kClaim);
    EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kInUse);
  }
  EXPECT_EQ(goroutine_.stack().bytes(), 16384u);
  EXPECT_EQ(goroutine_.status(), GoStatus::kWaiting);
  EXPECT_GE(goroutine_.sp(), goroutine_.stack().lo);
  expect_pattern_and_canary();
}

TEST_F(GoroutineTest, InsideASendNobodyMoves) {
  spawn(16384);
  goroutine_.block(WaitKind::kReceive);
  pool_->begin_cycle({});
  const Stack stack = goroutine_.stack();
  {
    AtYields hook(
        [](AtYields& at) {
          EXPECT_EQ(at.goroutine.shrink(at.pool, 1), ShrinkResult::kRefused);
          EXPECT_FALSE(at.goroutine.grow(at.pool, 0, 32768, true));
          EXPECT_EQ(at.goroutine.status(), GoStatus::kWaiting) << "and it is as it was";
        },
        goroutine_, *pool_);
    EXPECT_TRUE(goroutine_.send(7));
    EXPECT_EQ(hook.points, std::vector<Yield>{Yield::kSendElem});
  }
  EXPECT_EQ(goroutine_.stack(), stack);
  EXPECT_EQ(word(FrameWord::kValue), 7u);
  EXPECT_EQ(goroutine_.shrink(*pool_, 1), ShrinkResult::kShrunk) << "after it, it can be moved";
}
#endif

// With real threads, for TSan: whoever comes first, the value arrives, the waiter wakes and no word is lost. Every
// other round wakes it without a value.
TEST_F(GoroutineTest, AWakeupAndShrinksAtOnceLoseNothing) {
  constexpr uint64_t kRounds = 3000;
  std::barrier round(3);
  std::thread sender([&] {
    for (uint64_t i = 1; i <= kRounds; ++i) {
      round.arrive_and_wait();
      while (!(i % 2 == 0 ? goroutine_.send(i) : goroutine_.wake())) {
      }
      round.arrive_and_wait();
    }
  });
  std::thread marker([&] {
    for (uint32_t i = 1; i <= kRounds; ++i) {
      round.arrive_and_wait();
      for (uint32_t halving = 0; halving < 4; ++halving) goroutine_.shrink(*pool_, 4 * i + halving);
      round.arrive_and_wait();
    }
  });
  uint64_t lost = 0;
  for (uint64_t i = 1; i <= kRounds; ++i) {
    const bool spawned = goroutine_.spawn(*pool_, 0, 32768, false);
    EXPECT_TRUE(spawned && call(256));
    goroutine_.block(WaitKind::kSelect);
    pool_->begin_cycle({});
    round.arrive_and_wait();
    round.arrive_and_wait();
    pool_->end_mark();
    pool_->restarted();
    const bool woken = goroutine_.status() == GoStatus::kRunning && goroutine_.root(RootKind::kElem) == 0 &&
                       goroutine_.root(RootKind::kSelectDone) == 0 && goroutine_.root(RootKind::kContext) == 0;
    lost += woken ? 0 : 1;
    EXPECT_EQ(word(FrameWord::kValue), i % 2 == 0 ? i : 0);
    expect_pattern_and_canary();
    goroutine_.exit(*pool_, 0, false);
  }
  sender.join();
  marker.join();
  EXPECT_EQ(lost, 0u) << "a wakeup";
}

}  // namespace
}  // namespace stackdrain
