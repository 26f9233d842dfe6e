// Invariants that no planted defect breaks first: a small world that is as it should be, one thing in it that is not,
// and the name that the checker has for it.
#include "fuzz/checker.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string_view>
#include <utility>

#include "fuzz/lying_pool.h"
#include "target/arena.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

// g0 lives on 8 KiB, g1 on 64 KiB; nothing runs.
class CheckerTest : public testing::Test {
 protected:
  void make(Lies lies, std::string_view policy = "serial", const PoolParams& params = seed_preset()) {
    const PolicyRow& row = *find_policy(policy);
    pool_ = std::make_unique<LyingPool>(row.make(arena_), std::move(lies));
    pool_->reset(params);
    for (uint32_t g = 0; g < kGoroutines; ++g) goroutines_[g].reset(g);
    collector_ = std::make_unique<Collector>(*pool_, goroutines_);
    model_.reset();
    checker_.reset({pool_.get(), collector_.get(), goroutines_, &model_, row.claims});
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
    ++model_.allocations;
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

// Finds the first slot at a place.
class Places final : public WalkVisitor {
 public:
  explicit Places(SlotPlace place) : place_(place) {}
  void span(const SpanView&) override {}
  void slot(const SlotView& view) override {
    if (view.place == place_ && first_ == 0) first_ = view.lo;
  }
  void fault(WalkFault, uintptr_t) override {}
  uintptr_t first() const { return first_; }

 private:
  SlotPlace place_;
  uintptr_t first_ = 0;
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
  const Stack last = goroutines_[1].stack();  // it looks as if nobody may touch it
  asan_poison(last.lo, kLinkBytes);
  asan_poison(last.hi - kLinkBytes, kLinkBytes);
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

// What an operation can't have written to is left to the walk.
TEST_F(CheckerTest, D2AWordOfAnOlderFrameIsTheWalks) {
  using Frames = Checker::Frames;
  make({});
  ASSERT_TRUE(goroutines_[0].call(*pool_, 0, 2 * kFrameUnit, false));
  ModelGoroutine& expected = model_.goroutines[0];
  expected.frame_bytes[expected.frames++] = 2 * kFrameUnit;
  expected.used += 2 * kFrameUnit;
  uint64_t& line = *reinterpret_cast<uint64_t*>(goroutines_[0].sp());
  uint64_t& oldest = *reinterpret_cast<uint64_t*>(goroutines_[0].stack().hi - kFrameUnit);
  ++oldest;
  EXPECT_TRUE(checker_.check_goroutine(0, Frames::kYoungest));
  ++line;
  EXPECT_TRUE(checker_.check_goroutine(0, Frames::kWords));
  EXPECT_FALSE(checker_.check_goroutine(0, Frames::kYoungest));
  EXPECT_EQ(reported(), "D2");
  --line;
  checker_.reset({pool_.get(), collector_.get(), goroutines_, &model_, find_policy("serial")->claims});
  EXPECT_EQ(walked(), "D2");
}

TEST_F(CheckerTest, D8ADeferredStackThatChanged) {
  make({});
  collector_->begin({1, false});
  const Stack old = goroutines_[1].stack();
  const Location span = pool_->locate(old.lo);
  ASSERT_EQ(goroutines_[1].shrink(*pool_, 1), ShrinkResult::kShrunk);
  model_.deferred.add({old, span, 1, 1, kFrameUnit});
  model_.goroutines[1].stack = goroutines_[1].stack();
  model_.goroutines[1].shrunk_cycle = 1;
  model_.live_bytes -= old.bytes() / 2;
  ++model_.allocations;
  EXPECT_EQ(walked(), "none") << checker_.violation().message.data();
  asan_unpoison(old.lo, old.bytes());
  *reinterpret_cast<uint64_t*>(old.hi - kFrameUnit) = 7;
  asan_poison(old.lo + kLinkBytes, old.bytes() - kLinkBytes);
  EXPECT_EQ(walked(), "D8");
}

TEST_F(CheckerTest, D9AnEarlierLifesHalving) {
  make({});
  EXPECT_TRUE(checker_.check_goroutine(1));
  model_.goroutines[1].shrunk_cycle = 1;
  EXPECT_FALSE(checker_.check_goroutine(1));
  EXPECT_EQ(reported(), "D9");
}

// g1's stack of 64 KiB is retired by a shrink, under the policy that frees in mark; as the machine tells the model.
class GraceCheckerTest : public CheckerTest {
 protected:
  void shrink(bool marker_reads, bool marker_works = false) {
    make({}, "quiescent");
    collector_->begin({2, false});
    if (marker_reads) model_.note_marker(0, true);
    if (marker_works) model_.note_job(0, true);
    const Stack old = goroutines_[1].stack();
    const ModelRetired retired{
        .stack = old, .span = pool_->locate(old.lo), .goroutine = 1, .life = 1, .at = model_.moment};
    ASSERT_EQ(goroutines_[1].shrink(*pool_, 1), ShrinkResult::kShrunk);
    model_.deferred.add(retired);
    model_.shrunk.add(retired);
    model_.goroutines[1].stack = goroutines_[1].stack();
    model_.goroutines[1].shrunk_cycle = 1;
    model_.live_bytes -= old.bytes() / 2;
    ++model_.allocations;
  }
};

TEST_F(GraceCheckerTest, A2FreedBeforeItsGrace) {
  shrink(true);
  EXPECT_TRUE(checker_.settle_graces(model_, true)) << "nobody freed it yet";
  EXPECT_EQ(pool_->reclaim(), 1u) << "the pool was not told that marker 0 reads";
  EXPECT_FALSE(checker_.settle_graces(model_, true));
  EXPECT_EQ(reported(), "A2");
}

// As a marker that is in a root job, and LOADed nothing that it keeps.
TEST_F(GraceCheckerTest, A2FreedWhileAMarkerIsInAJobFromBefore) {
  for (const bool before : {true, false}) {
    shrink(false, before);
    model_.note_job(1, true);
    EXPECT_EQ(pool_->reclaim(), 1u);
    EXPECT_EQ(checker_.settle_graces(model_, false), !before);
    EXPECT_EQ(reported(), before ? "A2" : "none");
  }
}

TEST_F(GraceCheckerTest, A2ItsSpanLeftStackBeforeItsGrace) {
  shrink(true);
  EXPECT_TRUE(checker_.check_step(true));
  EXPECT_EQ(pool_->reclaim(), 1u);
  EXPECT_FALSE(checker_.check_step(true));
  EXPECT_EQ(reported(), "A2");
}

TEST_F(GraceCheckerTest, FreedAfterItsGrace) {
  shrink(true);
  model_.note_marker(0, false);
  EXPECT_EQ(pool_->reclaim(), 1u);
  EXPECT_TRUE(checker_.settle_graces(model_, true)) << checker_.violation().message.data();
  EXPECT_EQ(model_.deferred.count, 0u);
  EXPECT_EQ(walked(), "none") << checker_.violation().message.data();
}

TEST_F(GraceCheckerTest, C7HeldBeyondTwoGraces) {
  shrink(false);
  EXPECT_FALSE(checker_.settle_graces(model_, true)) << "a job is over, nobody reads, and it is still there";
  EXPECT_EQ(reported(), "C7");
}

TEST_F(GraceCheckerTest, HeldForTwoGracesIsRight) {
  shrink(true);
  EXPECT_TRUE(checker_.settle_graces(model_, true));
  model_.note_marker(1, true);  // reads when the first grace is over: the second waits for it
  model_.note_marker(0, false);
  EXPECT_TRUE(checker_.settle_graces(model_, true));
  model_.note_marker(0, true);  // too late to count
  model_.note_marker(1, false);
  EXPECT_FALSE(checker_.settle_graces(model_, true));
  EXPECT_EQ(reported(), "C7");
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
  Places places(SlotPlace::kCached);
  pool_->walk(places);
  const uintptr_t cached = places.first();
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

TEST_F(CheckerTest, A1ASpanThatLeftWhileAMarkRuns) {
  make({.stats =
            [this](PoolStats stats) {
              if (collector_ != nullptr && collector_->phase() == Phase::kMark) ++stats.spans_released;
              return stats;
            }},
       "span-in-pause");
  collector_->begin({1, false});
  EXPECT_EQ((checker_.check_step(false), reported()), "A1");
}

TEST_F(CheckerTest, A2ASpanThatIsAnotherAtTheMarksEnd) {
  uintptr_t another = 0;
  make({.locate =
            [&another](uintptr_t address, Location at) {
              if (address == another) ++at.generation;
              return at;
            }},
       "span-in-pause");
  collector_->begin({1, false});
  checker_.note_mark_began(pool_->stats().spans_released);
  EXPECT_TRUE(checker_.check_mark_ended());
  another = pool_->locate(goroutines_[1].stack().lo).base;
  EXPECT_FALSE(checker_.check_mark_ended());
  EXPECT_EQ(reported(), "A2");
}

TEST_F(CheckerTest, A6AStackThatIsRefusedWhileThereIsRoom) {
  make({});
  EXPECT_TRUE(checker_.check_refused(2048, kLargeOrder, false)) << "no arena has so many pages";
  EXPECT_EQ((checker_.check_refused(4, 0, false), reported()), "A6");
}

TEST_F(CheckerTest, A6ASlotThatIsRefusedWhileThereIsOne) {
  make({});
  EXPECT_TRUE(checker_.check_refused(2048, 1, false)) << "nobody has stacks of 4 KiB";
  EXPECT_EQ((checker_.check_refused(2048, 2, false), reported()), "A6") << "two of four slots of 8 KiB are free";
}

// A pool of the policy bitmap after a pause, with one span of stacks of 4 KiB that was carved before it and is empty.
class ReserveTest : public CheckerTest {
 protected:
  void make_reserve() {
    make({.span =
              [this](SpanView view) {
                if (lies_ && view.out == 0) view.out = 1;
                return view;
              }},
         "bitmap");
    const Stack stack = pool_->allocate(kNoProc, size_t{4} << 10);
    pool_->begin_cycle({1, false});
    pool_->retire(kNoProc, stack, RetireWhy::kShrunk);
    pool_->end_mark();
    checker_.note_pause_ended();
    pool_->restarted();
  }
  bool lies_ = false;  // hides what is empty
};

TEST_F(ReserveTest, C4AReserveThatIsNotKept) {
  make_reserve();
  checker_.note_drain_begins();
  pool_->drain_step(0);
  EXPECT_TRUE(checker_.check_demand_kept(1, false)) << checker_.violation().message.data();
  lies_ = true;
  EXPECT_TRUE(checker_.check_demand_kept(1, false)) << "asked once a cycle";
  make_reserve();
  lies_ = false;
  checker_.note_drain_begins();
  lies_ = true;
  EXPECT_EQ((checker_.check_demand_kept(1, false), reported()), "C4");
}

TEST_F(ReserveTest, C4AReserveThatServedSomebodyInsideTheDrain) {
  make_reserve();
  checker_.note_drain_begins();
  lies_ = true;
  EXPECT_TRUE(checker_.check_demand_kept(1, true));
}

TEST_F(ReserveTest, A6WhoIsShortWhileThereIsAReserve) {
  make_reserve();
  pool_->drain_step(0);
  EXPECT_EQ((checker_.check_refused(2048, kLargeOrder, false), reported()), "A6");
}

TEST_F(CheckerTest, B3AFreeSlotWhoseLinkSomebodyWroteOver) {
  make({});
  Places free(SlotPlace::kPoolFree);
  pool_->walk(free);
  ASSERT_NE(free.first(), 0u);
  *reinterpret_cast<uintptr_t*>(free.first()) = free.first() + 8;
  EXPECT_EQ(walked(), "B3");
}

TEST_F(CheckerTest, B4ACacheThatWasNotFilledToHalf) {
  make({});
  model_.demand.begin(3);
  model_.demand.allocated(0, size_t{8} << 10, false);
  model_.demand.settle(0);
  EXPECT_EQ(walked(), "none") << checker_.violation().message.data();
  model_.demand.allocated(0, size_t{8} << 10, false);
  EXPECT_EQ(walked(), "B4");
}

// How far memory went is known at the end of the operation.
TEST_F(CheckerTest, B4ARefillIsNotJudgedBeforeItIsSettled) {
  make({});
  model_.demand.begin(3);
  model_.demand.allocated(0, size_t{4} << 10, false);
  EXPECT_EQ(walked(), "none") << checker_.violation().message.data();
  model_.demand.settle(0);
  EXPECT_EQ(walked(), "B4");
}

// Its share of an arena whose size nobody says is nothing.
TEST_F(CheckerTest, B4AShelfThatHoldsMoreThanItsShare) {
  make({}, "bitmap");
  for (int i = 0; i < 7; ++i) pool_->free(0, pool_->allocate(kNoProc, size_t{8} << 10));  // four fill the cache
  EXPECT_EQ((checker_.check_walk(), reported()), "B4");
}

TEST_F(CheckerTest, B5ACacheThatIsNotFlushedWhenMutatorsRun) {
  make({});
  collector_->begin({1, false});
  EXPECT_EQ((checker_.check_begun({1, false}, 1, pool_->stats().cached_bytes), reported()), "none");
  EXPECT_EQ((checker_.check_begun({1, false}, 1, 0), reported()), "B5");
}

// A hook that does one thing once, at the first of one kind of yield point, and tells the checker who is inside.
class Meddler final : public YieldHook {
 public:
  Meddler(Checker& checker, Yield where, std::function<void()> what)
      : checker_(checker), where_(where), what_(std::move(what)) {
#if STACKDRAIN_YIELDS
    yield_hook = this;
#endif
  }
  ~Meddler() {
#if STACKDRAIN_YIELDS
    yield_hook = nullptr;
#endif
  }
  Meddler(const Meddler&) = delete;
  Meddler& operator=(const Meddler&) = delete;
  void at(Yield point) override {
    if (point == where_ && what_) std::exchange(what_, nullptr)();
  }
  void entered(Proc proc) override { checker_.entered(proc); }
  void left() override { checker_.left(); }

 private:
  Checker& checker_;
  Yield where_;
  std::function<void()> what_;
};

// Go's caches give back what was freed last, which is still in the processor's cache; nobody of ours claims otherwise.
TEST_F(CheckerTest, B6AReleasedBatchThatIsTheHotHalf) {
#if STACKDRAIN_YIELDS
  make({});
  PolicyClaims claims = find_policy("serial")->claims;
  claims.releases_cold_half = true;
  checker_.reset({pool_.get(), collector_.get(), goroutines_, &model_, claims});
  std::array<Stack, 20> stacks;
  for (Stack& stack : stacks) stack = pool_->allocate(0, kMinStackBytes);
  Meddler meddler(checker_, Yield::kCacheRelease, [this] { checker_.note_cache_release(); });
  for (const Stack stack : stacks) pool_->free(0, stack);
  EXPECT_EQ((checker_.check_cache_release(), reported()), "B6");
#endif
}

TEST_F(CheckerTest, F2AnAllocatorThatIsEnteredAgain) {
#if STACKDRAIN_YIELDS
  make({});
  {
    Meddler another(checker_, Yield::kCacheRefill, [this] { pool_->allocate(1, kMinStackBytes); });
    pool_->allocate(0, kMinStackBytes);
  }
  EXPECT_EQ(reported(), "none") << "another processor is somebody else";
  pool_->flush_cache(0);
  Meddler again(checker_, Yield::kCacheRefill, [this] { pool_->allocate(0, kMinStackBytes); });
  pool_->allocate(0, kMinStackBytes);
  EXPECT_EQ(reported(), "F2");
#endif
}

TEST_F(CheckerTest, F3ACycleThatBeginsInsideTheAllocator) {
#if STACKDRAIN_YIELDS
  make({});
  Meddler meddler(checker_, Yield::kCacheRefill, [this] { collector_->begin({1, false}); });
  pool_->allocate(0, kMinStackBytes);
  EXPECT_EQ(reported(), "F3");
#endif
}

TEST_F(CheckerTest, F3ACycleThatIsNotTheOneThatWasBegun) {
  make({});
  collector_->begin({2, false});
  EXPECT_EQ((checker_.check_begun({1, false}, 1, pool_->stats().cached_bytes), reported()), "F3");
}

// Of a system that refuses nothing can be asked; of what is idle it can.
TEST_F(CheckerTest, A6MemoryThatIsRefusedBySystemAndIsThere) {
  make({});
  EXPECT_TRUE(checker_.check_refused(200, kLargeOrder, true)) << "only 128 are mapped";
  EXPECT_EQ((checker_.check_refused(1, kNoOrder, true), reported()), "A6") << "a page of what is mapped is idle";
}

// Of 96 pages the last 16 are idle: with 32 that are not mapped yet that is a run of 48.
TEST_F(CheckerTest, A6TheLastRunIsIdleAndTheArenaGoesOn) {
  for (const std::string_view policy : {"serial", "bitmap"}) {
    PoolParams params = seed_preset();
    params.arena_pages = 128;
    params.grow_chunk_bytes = kPageBytes;
    make({}, policy, params);
    pool_->reset(params);
    ASSERT_NE(pool_->allocate_heap(80, false), 0u);
    const uintptr_t last = pool_->allocate_heap(16, false);
    pool_->free_heap(last);
    checker_.reset({pool_.get(), collector_.get(), goroutines_, &model_, find_policy(policy)->claims});
    EXPECT_TRUE(checker_.check_refused(49, kNoOrder, false));
    EXPECT_TRUE(checker_.check_refused(48, kNoOrder, true)) << "the system refuses to map the rest";
    const bool serves = policy == "bitmap";  // Go's heap maps a span for it, and 32 pages are left
    EXPECT_EQ((checker_.check_refused(48, kNoOrder, false), reported()), serves ? "A6" : "none");
  }
}

TEST_F(CheckerTest, E5MoreIsMappedThanTheArenaMayHave) {
  uint64_t more = (size_t{1} << 20) - 1;  // of 2 MiB 1 is mapped
  PoolParams params = seed_preset();
  params.arena_pages = 256;
  make({.stats =
            [&more](PoolStats stats) {
              stats.system_bytes += more;
              stats.idle_bytes += more;
              return stats;
            },
        .mapped = [&more](size_t mapped) { return mapped + more; }},
       "serial", params);
  EXPECT_TRUE(checker_.check_step(false)) << checker_.violation().message.data();
  more += 2;
  EXPECT_EQ((checker_.check_step(false), reported()), "E5");
}

TEST_F(CheckerTest, E5MoreIsMappedThanIsWanted) {
  make({});
  const size_t chunk = pool_->params().grow_chunk_bytes;
  const size_t mapped = pool_->arena_mapped();
  ASSERT_GT(mapped, chunk / 2);
  EXPECT_TRUE(checker_.check_mapped(mapped - chunk / 2, 1)) << "less than a chunk";
  EXPECT_TRUE(checker_.check_mapped(0, static_cast<uint32_t>(mapped >> kPageShift))) << "what was asked for";
  EXPECT_EQ((checker_.check_mapped(mapped - chunk - kPageBytes, 1), reported()), "E5");
}

TEST_F(CheckerTest, C8WhatADrainMayDoUnderOneHold) {
  const auto bound = [this](std::string_view policy, DrainHold hold, size_t budget) {
    make({}, policy);
    PoolParams params = seed_preset();
    params.drain_hold = hold;
    params.drain_batch = 7;
    pool_->reset(params);
    return checker_.hold_bound(budget, 100, 1000);
  };
  EXPECT_EQ(bound("after-restart", DrainHold::kWhole, 0), 100u);
  EXPECT_EQ(bound("after-restart", DrainHold::kWhole, 3), 3u);
  EXPECT_EQ(bound("after-restart", DrainHold::kBatch, 0), 7u);
  EXPECT_EQ(bound("after-restart", DrainHold::kBatch, 9), 9u);
  EXPECT_EQ(bound("after-restart", DrainHold::kEach, 9), 1u);
  EXPECT_EQ(bound("quiescent", DrainHold::kEach, 9), 7u);
  EXPECT_EQ(bound("bitmap", DrainHold::kEach, 9), 9u);
  EXPECT_EQ(bound("bitmap", DrainHold::kEach, 0), 256u);
  EXPECT_EQ(bound("span-after-restart", DrainHold::kEach, 9), 1000u);
  EXPECT_EQ(bound("serial", DrainHold::kEach, 9), Checker::kUnbounded);
}

TEST_F(CheckerTest, C8AStepThatFreesLessThanItIsTold) {
  make({});
  EXPECT_TRUE(checker_.check_step_size(2, 2, 5));
  EXPECT_TRUE(checker_.check_step_size(9, 5, 5));
  EXPECT_EQ((checker_.check_step_size(2, 1, 5), reported()), "C8");
}

TEST_F(CheckerTest, E3AStackTooMany) {
  make({.stats = [](PoolStats stats) {
    ++stats.live_stacks;
    return stats;
  }});
  EXPECT_EQ(walked(), "E3");
}

TEST_F(CheckerTest, E6ARunThatBeginsWithSomethingInTheWorld) {
  make({});
  EXPECT_EQ((checker_.check_fresh(seed_preset()), reported()), "E6");
}

TEST_F(CheckerTest, E6ARunThatBeginsWithSomethingRemembered) {
  for (const bool remembers : {false, true}) {
    make({.remembers = remembers});
    pool_->reset(seed_preset());
    for (uint32_t g = 0; g < kGoroutines; ++g) goroutines_[g].reset(g);
    EXPECT_EQ(checker_.check_fresh(seed_preset()), !remembers);
  }
  EXPECT_EQ(reported(), "E6");
}

// 32 KiB for the spans of 8 KiB, 64 KiB for g1.
TEST_F(CheckerTest, E7MoreMemoryThanThereWasEverUseFor) {
  uint64_t more = 0;
  make({.stats = [&more](PoolStats stats) {
    stats.peak_stack_bytes += more;
    return stats;
  }});
  model_.demand.begin(3);
  model_.demand.allocated(0, size_t{8} << 10, false);
  model_.demand.allocated(kNoProc, size_t{64} << 10, false);
  EXPECT_EQ((checker_.check_quiescent(false), reported()), "none") << checker_.violation().message.data();
  more = 1;
  EXPECT_EQ((checker_.check_quiescent(false), reported()), "E7");
}

TEST_F(CheckerTest, E7APeakBelowWhatIsThere) {
  make({.stats = [](PoolStats stats) {
    --stats.peak_stack_bytes;
    return stats;
  }});
  EXPECT_EQ(walked(), "E7");
}

}  // namespace
}  // namespace stackdrain
