// Shelves (stack_cache.h), of the policy that has them: what they serve, to whom, how much they hold, and who empties
// them.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "target/drain/policies.h"
#include "target/stack_cache.h"
#include "target/testing.h"

namespace stackdrain {
namespace {

constexpr size_t kArenaBytes = size_t{64} << 20;
constexpr size_t kBytes = 8192;
constexpr int kOrder = order_of(kBytes);
constexpr size_t kBatch = kCacheFillBytes / kBytes;
constexpr size_t kCap = kCacheCapBytes / kBytes;

class ShelfTest : public testing::Test {
 protected:
  ShelfTest() : arena_(kArenaBytes), pool_(find_policy("bitmap")->make(arena_)) { pool_->reset(go119_preset()); }

  void take(size_t count, Proc proc = 0) {
    for (size_t i = 0; i < count; ++i) stacks_.push_back(pool_->allocate(proc, kBytes));
  }
  // The last taken first.
  void give(size_t count, Proc proc = 0) {
    for (size_t i = 0; i < count; ++i) {
      pool_->free(proc, stacks_.back());
      stacks_.pop_back();
    }
  }
  uint64_t locks() const { return pool_->stats().locks_taken; }
  size_t at(SlotPlace place) const { return CollectedWalk(*pool_).in(place); }
  size_t shelf_slots() const { return shelf_cap_bytes(pool_->params(), kArenaBytes, kOrder) / kBytes; }

  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
  std::vector<Stack> stacks_;
};

TEST_F(ShelfTest, WhoFreesManyAndTakesAsManyAgainTakesNoLockAndChangesNoSpan) {
  ASSERT_EQ(shelf_slots(), kShelfSlots);
  take(kShelfSlots);
  const PoolStats before = pool_->stats();
  for (int round = 0; round < 3; ++round) {
    std::vector<Stack> had = stacks_;
    give(kShelfSlots);
    EXPECT_EQ(at(SlotPlace::kCached) + at(SlotPlace::kShelved), kShelfSlots);
    EXPECT_EQ(pool_->stats().cached_bytes, kShelfSlots * kBytes);
    take(kShelfSlots);
    std::sort(had.begin(), had.end(), [](Stack a, Stack b) { return a.lo < b.lo; });
    std::vector<Stack> has = stacks_;
    std::sort(has.begin(), has.end(), [](Stack a, Stack b) { return a.lo < b.lo; });
    EXPECT_EQ(has, had) << "the same stacks serve again";
  }
  EXPECT_EQ(pool_->stats().locks_taken, before.locks_taken);
  EXPECT_EQ(pool_->stats().spans_taken, before.spans_taken);
  EXPECT_EQ(pool_->stats().spans_released, before.spans_released);
}

TEST_F(ShelfTest, TheBatchThatWasShelvedLastComesBackFirstAndAsItLay) {
  take(2 * kCap);
  give(kCap);
  std::vector<uintptr_t> lay;  // in the full cache, the hottest first
  for (const SlotView& view : CollectedWalk(*pool_).slots) {
    if (view.place == SlotPlace::kCached) lay.push_back(view.lo);
  }
  ASSERT_EQ(lay.size(), kCap);
  give(1);
  EXPECT_EQ(at(SlotPlace::kShelved), kBatch);
  take(1 + kCap - kBatch);  // what the cache has kept
  take(kBatch);
  EXPECT_EQ(at(SlotPlace::kShelved), 0u);
  for (size_t i = 0; i < kBatch; ++i) EXPECT_EQ(stacks_[stacks_.size() - kBatch + i].lo, lay[i]);
}

TEST_F(ShelfTest, AFullOneGivesItsColderHalfToThePoolUnderOneHold) {
  take(kShelfSlots + kCap + kBatch);
  give(kShelfSlots + kCap);
  ASSERT_EQ(at(SlotPlace::kShelved), kShelfSlots);
  std::vector<uintptr_t> shelved;  // the hottest first
  for (const SlotView& view : CollectedWalk(*pool_).slots) {
    if (view.place == SlotPlace::kShelved) shelved.push_back(view.lo);
  }
  const uint64_t before = locks();
  const uint64_t spans = pool_->stats().spans_released;
  give(1);
  const uint64_t left = pool_->stats().spans_released - spans;  // each by a hold of the page heap's lock
  EXPECT_EQ(locks() - before, 1 + left);
  EXPECT_EQ(at(SlotPlace::kShelved), kShelfSlots / 2 + kBatch);
  const CollectedWalk walk(*pool_);
  for (size_t i = 0; i < shelved.size(); ++i) {
    const bool stays = std::any_of(walk.slots.begin(), walk.slots.end(), [&](const SlotView& view) {
      return view.lo == shelved[i] && view.place == SlotPlace::kShelved;
    });
    EXPECT_EQ(stays, i < shelved.size() / 2) << i;
  }
}

TEST_F(ShelfTest, ServesNobodyButItsProcessorUntilItIsFlushed) {
  take(kShelfSlots);
  give(kShelfSlots);
  const size_t shelved = at(SlotPlace::kShelved);
  ASSERT_GT(shelved, kBatch);
  take(1, 1);
  take(1, kNoProc);
  EXPECT_EQ(at(SlotPlace::kShelved), shelved);
  for (const SlotView& view : CollectedWalk(*pool_).slots) {
    if (view.place == SlotPlace::kShelved) {
      EXPECT_EQ(view.proc, 0);
    }
  }
  pool_->flush_cache(0);
  EXPECT_EQ(at(SlotPlace::kShelved), 0u);
  give(2, kNoProc);
  pool_->flush_cache(1);
  EXPECT_EQ(pool_->stats().cached_bytes, 0u);
  EXPECT_EQ(pool_->stats().stack_bytes, 0u) << "what became empty outside of a mark has left";
}

TEST_F(ShelfTest, AllOfThemHoldAnEighthOfTheArenaAtMostInWholeBatches) {
  for (int orders = 2; orders <= kMaxOrders; ++orders) {
    for (const int procs : {1, 3, 4, kMaxProcs}) {
      for (size_t arena_bytes = size_t{64} << 10; arena_bytes <= kArenaBytes; arena_bytes *= 2) {
        PoolParams params = go119_preset();
        params.orders = orders;
        params.procs = procs;
        size_t all = 0;
        for (int order = 0; order < orders; ++order) {
          const size_t cap = shelf_cap_bytes(params, arena_bytes, order);
          EXPECT_EQ(cap % kCacheFillBytes, 0u);
          EXPECT_LE(cap, kShelfSlots * order_bytes(order));
          EXPECT_LE(shelf_excess_bytes(cap), cap);
          EXPECT_GE(shelf_excess_bytes(cap) * 2, cap);
          all += cap * static_cast<size_t>(procs);
        }
        EXPECT_LE(all, arena_bytes / 8);
      }
    }
  }
}

// ... and of no more than there is.
TEST_F(ShelfTest, PagesBeyondTheArenaGiveNoLargerShelf) {
  PoolParams params = go119_preset();
  params.arena_pages = static_cast<uint32_t>(16 * kArenaBytes >> kPageShift);
  pool_->reset(params);
  size_t shelved = 0;
  for (size_t bytes = kMinStackBytes; bytes <= order_bytes(kMaxOrders - 1); bytes *= 2) {
    std::vector<Stack> stacks(kArenaBytes / kMaxOrders / 2 / bytes);
    for (Stack& stack : stacks) stack = pool_->allocate(0, bytes);
    for (const Stack stack : stacks) pool_->free(0, stack);
    shelved += shelf_cap_bytes(go119_preset(), kArenaBytes, order_of(bytes));
  }
  EXPECT_LE(pool_->stats().cached_bytes, shelved + kMaxOrders * kCacheCapBytes);
}

// An arena that is too small for a batch an order and processor.
TEST_F(ShelfTest, ThereIsNoneWhereItsShareIsNoBatch) {
  PoolParams params = go119_preset();
  params.arena_pages = (uint32_t{1} << 20) >> kPageShift;
  pool_->reset(params);
  take(2 * kCap);
  const uint64_t before = locks();
  give(kCap + 1);
  EXPECT_EQ(at(SlotPlace::kShelved), 0u);
  EXPECT_GT(locks(), before);
}

TEST_F(ShelfTest, AResetLeavesNothingOnIt) {
  take(kShelfSlots);
  give(kShelfSlots);
  stacks_.clear();
  pool_->reset(go119_preset());
  EXPECT_EQ(pool_->stats(), PoolStats{});
  take(1);
  EXPECT_EQ(at(SlotPlace::kShelved), 0u);
}

}  // namespace
}  // namespace stackdrain
