// Invariants that no planted defect breaks first: a small world that is as it should be, one thing in it that is not,
// and the name that the checker has for it.
#include "fuzz/checker.h"

#include <gtest/gtest.h>

#include <string_view>
#include <utility>

#include "fuzz/lying_pool.h"
#include "target/arena.h"

namespace stackdrain {
namespace {

// g0 lives on 8 KiB, g1 on 64 KiB; nothing runs.
class CheckerTest : public testing::Test {
 protected:
  void make(Lies lies) {
    const PolicyRow& serial = *find_policy("serial");
    pool_ = std::make_unique<LyingPool>(serial.make(arena_), std::move(lies));
    pool_->reset(seed_preset());
    for (uint32_t g = 0; g < kGoroutines; ++g) goroutines_[g].reset(g);
    collector_ = std::make_unique<Collector>(*pool_, goroutines_);
    model_.reset();
    checker_.reset({pool_.get(), collector_.get(), goroutines_, &model_, serial.claims});
    live(0, size_t{8} << 10);
    live(1, size_t{64} << 10);
  }
  void live(uint32_t g, size_t bytes) {
    ASSERT_TRUE(goroutines_[g].spawn(*pool_, 0, bytes, false));
    ModelGoroutine& expected = model_.goroutines[g];
    expected.status = GoStatus::kRunning;
    expected.generation = 1;
    expected.stack = goroutines_[g].stack();
    expected.frames = 1;
    expected.frame_bytes[0] = kFrameUnit;
    expected.values[0] = 0;
    expected.used = kFrameUnit;
    ++model_.live_stacks;
    model_.live_bytes += bytes;
  }
  // The invariant that a walk reports, or "none".
  std::string_view walked() {
    if (checker_.check_step(false)) checker_.check_walk();
    return reported();
  }
  std::string_view reported() const { return checker_.failed() ? id_of(checker_.violation().invariant) : "none"; }

  Arena arena_{size_t{8} << 20};
  std::unique_ptr<AnyPool> pool_;
  std::array<Goroutine, kGoroutines> goroutines_;
  std::unique_ptr<Collector> collector_;
  Model model_;
  Checker checker_;
};

TEST_F(CheckerTest, AWorldAsItShouldBe) {
  make({});
  EXPECT_EQ(walked(), "none") << checker_.violation().message.data();
}

TEST_F(CheckerTest, A6AdjacentFreeSpans) {
  make({.span = [](SpanView view) {
    if (view.order != kLargeOrder) return view;  // what is behind it is Free
    SpanView lie;
    lie.base = view.base;
    lie.pages = view.pages;
    lie.state = SpanState::kFree;
    return lie;
  }});
  EXPECT_EQ(walked(), "A6");
}

TEST_F(CheckerTest, B2AStackThatIsNoPowerOfTwo) {
  make({.allocate = [](Stack stack) { return stack.bytes() == 8192 ? Stack{stack.lo + 2048, stack.hi} : stack; }});
  checker_.check_goroutine(0);
  EXPECT_EQ(reported(), "B2");
}

TEST_F(CheckerTest, B7ALargeSpanOfAnotherSize) {
  make({.span = [](SpanView view) {
    if (view.order == kLargeOrder) view.slot_bytes /= 2;
    return view;
  }});
  EXPECT_EQ(walked(), "B7");
}

TEST_F(CheckerTest, D7BoundsThatNobodyChanged) {
  make({});
  model_.goroutines[1].stack.lo += 2048;
  EXPECT_EQ((checker_.check_goroutine(1), reported()), "D7");
}

TEST_F(CheckerTest, D8ADeferredStackThatChanged) {
  make({});
  collector_->begin({1, false});
  const Stack old = goroutines_[1].stack();
  const Location span = pool_->locate(old.lo);
  ASSERT_EQ(goroutines_[1].shrink(*pool_, 1), ShrinkResult::kShrunk);
  model_.deferred.add({old, span, 1, 1, kFrameUnit});
  model_.goroutines[1].stack = goroutines_[1].stack();
  model_.live_bytes -= old.bytes() / 2;
  EXPECT_EQ(walked(), "none") << checker_.violation().message.data();
  asan_unpoison(old.lo, old.bytes());
  *reinterpret_cast<uint64_t*>(old.hi - kFrameUnit) = 7;
  asan_poison(old.lo + kLinkBytes, old.bytes() - kLinkBytes);
  EXPECT_EQ(walked(), "D8");
}

TEST_F(CheckerTest, E2AFreeSlotTooMany) {
  make({.span = [](SpanView view) {
    if (view.slot_bytes == 8192) view.out = static_cast<uint16_t>(view.out - 1);
    return view;
  }});
  EXPECT_EQ(walked(), "E2");
}

TEST_F(CheckerTest, E6SomethingIsLeft) {
  make({});
  EXPECT_EQ((checker_.check_quiescent(true), reported()), "E6");
}

TEST_F(CheckerTest, F5ACachedStackThatAnybodyMayTouch) {
  if (!asan_enabled) return;  // without ASan nothing is poisoned
  make({});
  uintptr_t cached = 0;
  class Finder final : public WalkVisitor {
   public:
    explicit Finder(uintptr_t& lo) : lo_(lo) {}
    void span(const SpanView&) override {}
    void slot(const SlotView& view) override {
      if (view.place == SlotPlace::kCached) lo_ = view.lo;
    }
    void fault(WalkFault, uintptr_t) override {}

   private:
    uintptr_t& lo_;
  } finder(cached);
  pool_->walk(finder);
  ASSERT_NE(cached, 0u);
  asan_unpoison(cached, kMinStackBytes);
  EXPECT_EQ(walked(), "F5");
}

TEST_F(CheckerTest, G1ACanaryThatSomebodyWroteOver) {
  make({});
  *reinterpret_cast<uint64_t*>(goroutines_[0].stack().lo) = 7;
  EXPECT_EQ(walked(), "G1");
}

TEST_F(CheckerTest, C7HeldBytesThatNobodyHolds) {
  make({.stats = [](PoolStats stats) {
    stats.held_bytes += 8192;
    return stats;
  }});
  EXPECT_EQ(walked(), "C7");
}

}  // namespace
}  // namespace stackdrain
