#include "target/goroutine.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "target/arena.h"
#include "target/drain/policies.h"

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
  EXPECT_FALSE(call(20000 / 128 * 128));
  EXPECT_EQ(content(), before);
  EXPECT_EQ(goroutine_.status(), GoStatus::kRunning);
}

}  // namespace
}  // namespace stackdrain
