// What the program alone says of memory: the caches' rule, and the most that spans of stacks can have needed.
#include "fuzz/demand.h"

#include <gtest/gtest.h>

namespace stackdrain {
namespace {

constexpr size_t k2K = kMinStackBytes;
constexpr size_t k64K = size_t{64} << 10;

class DemandTest : public testing::Test {
 protected:
  void SetUp() override { demand_.begin(4); }
  void allocate(Proc proc, size_t bytes, int count) {
    for (int i = 0; i < count; ++i) demand_.allocated(proc, bytes, false);
  }
  void free(Proc proc, size_t bytes, int count) {
    for (int i = 0; i < count; ++i) demand_.freed(proc, bytes);
  }
  Demand demand_;
};

TEST_F(DemandTest, AnEmptyCacheIsFilledToHalfBeforeAStackIsTaken) {
  allocate(0, k2K, 1);
  EXPECT_EQ(demand_.cached_bytes(), kCacheFillBytes - k2K);
  allocate(0, k2K, 7);
  EXPECT_EQ(demand_.cached_bytes(), 0u);
  allocate(1, k2K, 1);
  EXPECT_EQ(demand_.cached_bytes(), kCacheFillBytes - k2K);
  allocate(kNoProc, k2K, 1);
  EXPECT_EQ(demand_.cached_bytes(), kCacheFillBytes - k2K) << "a marker has no cache";
}

TEST_F(DemandTest, AFullCacheIsReleasedToHalfBeforeAStackIsPutIn) {
  allocate(0, k2K, 24);
  EXPECT_EQ(demand_.cached_bytes(), 0u);
  free(0, k2K, 16);
  EXPECT_EQ(demand_.cached_bytes(), kCacheCapBytes);
  free(0, k2K, 1);
  EXPECT_EQ(demand_.cached_bytes(), kCacheFillBytes + k2K);
  demand_.flushed(0);
  EXPECT_EQ(demand_.cached_bytes(), 0u);
}

// In 1 MiB a shelf of one processor and four orders holds 32 KiB: two batches of eight.
TEST_F(DemandTest, WhatLeavesACacheWaitsOnItsShelfAndIsTheNextFill) {
  PoolParams params = go119_preset();
  params.procs = 1;
  params.arena_pages = (uint32_t{1} << 20) >> kPageShift;
  demand_.keep_shelves(params);
  ASSERT_EQ(shelf_cap_bytes(params, size_t{1} << 20, 0), 2 * kCacheFillBytes);
  allocate(0, k2K, 48);
  const uint64_t most = demand_.most_bytes();
  free(0, k2K, 32);
  EXPECT_EQ(demand_.cached_bytes(), 32 * k2K) << "16 cached, 16 shelved";
  free(0, k2K, 1);
  EXPECT_EQ(demand_.cached_bytes(), 25 * k2K) << "one of two batches went to the pool, another came";
  demand_.settle(0);
  allocate(0, k2K, 25);
  EXPECT_FALSE(demand_.refilled()) << "nothing of that came from the pool";
  EXPECT_EQ(demand_.cached_bytes(), 0u);
  allocate(0, k2K, 1);
  EXPECT_TRUE(demand_.refilled());
  EXPECT_EQ(demand_.most_bytes(), most);
  free(0, k2K, 20);
  demand_.flushed(0);
  EXPECT_EQ(demand_.cached_bytes(), 0u);
}

// 16 stacks of 2 KiB fill a span; what was freed since is no part of the most, and what is cached or deferred is.
TEST_F(DemandTest, TheMostIsWhatWasThereAtOnceRoundedUpToSpans) {
  allocate(kNoProc, k2K, 16);
  EXPECT_EQ(demand_.most_bytes(), kPoolSpanBytes);
  free(kNoProc, k2K, 8);
  allocate(kNoProc, k2K, 8);
  EXPECT_EQ(demand_.most_bytes(), kPoolSpanBytes);
  allocate(0, k2K, 1);  // and seven that are cached
  EXPECT_EQ(demand_.most_bytes(), 2 * kPoolSpanBytes);
}

TEST_F(DemandTest, LargeStacksCountByTheirSizeAndKeptOnesUntilTheyAreGone) {
  allocate(0, k64K, 2);
  EXPECT_EQ(demand_.most_bytes(), 2 * k64K);
  free(0, k64K, 1);
  allocate(0, k64K, 1);
  EXPECT_EQ(demand_.most_bytes(), 2 * k64K);
  demand_.allocated(0, k64K, true);  // one that was given up, and kept for reuse
  EXPECT_EQ(demand_.most_bytes(), 2 * k64K);
  demand_.forget_kept(k64K);
  allocate(0, k64K, 1);
  EXPECT_EQ(demand_.most_bytes(), 2 * k64K);
  allocate(0, k64K, 1);
  EXPECT_EQ(demand_.most_bytes(), 3 * k64K);
}

TEST_F(DemandTest, AnExhaustedArenaFillsACacheAsFarAsItGoes) {
  allocate(0, k2K, 1);
  ASSERT_TRUE(demand_.refilled());
  demand_.settle(4 * k2K);
  EXPECT_EQ(demand_.cached_bytes(), kCacheFillBytes - 5 * k2K);
  EXPECT_TRUE(demand_.knows_caches());
  EXPECT_FALSE(demand_.refilled());
  allocate(1, k2K, 1);
  allocate(2, k2K, 1);
  demand_.settle(k2K);
  EXPECT_FALSE(demand_.knows_caches()) << "which of the two was not filled?";
}

TEST_F(DemandTest, NothingIsKnownBeforeItBeginsNorWhereOperationsOverlap) {
  EXPECT_FALSE(Demand().knows_caches());
  EXPECT_FALSE(Demand().knows_peak());
  EXPECT_TRUE(demand_.knows_peak());
  demand_.overlapped();
  EXPECT_FALSE(demand_.knows_peak());
  EXPECT_TRUE(demand_.knows_caches());
}

}  // namespace
}  // namespace stackdrain
