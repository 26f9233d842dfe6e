// What sorted-batch adds to what policies_test.cc asks of each policy: notes by thread, shares, spans on two regions.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <tuple>
#include <vector>

#include "target/drain/policies.h"
#include "target/testing.h"

namespace stackdrain {
namespace {

constexpr size_t kSizes[] = {2048, 4096, 8192, 16384, 32768, 131072};

// 64 regions of 1 MiB; one page of heap first, so that spans lie across the regions' ends.
class SortedBatchTest : public testing::Test {
 protected:
  SortedBatchTest() : arena_(size_t{64} << 20), pool_(find_policy("sorted-batch")->make(arena_)) { begin(*pool_); }

  static void begin(AnyPool& pool, const PoolParams& params = go119_preset()) {
    pool.reset(params);
    EXPECT_NE(pool.allocate_heap(1, false), 0u);
  }
  // About 45 MiB in stacks of all sizes, the same in each pool.
  static std::vector<Stack> take(AnyPool& pool, std::mt19937& random) {
    std::vector<Stack> stacks(kSlowBuild ? 1500 : 6000);
    for (Stack& stack : stacks) {
      const size_t roll = random() % 64;
      stack = pool.allocate(0, kSizes[roll == 0 ? 5 : roll < 8 ? 4 : roll % 4]);
    }
    std::erase_if(stacks, [](Stack stack) { return !stack; });
    std::shuffle(stacks.begin(), stacks.end(), random);
    return stacks;
  }
  // The spans and what is out of them, which is what a drain decides.
  static auto tiles(AnyPool& pool) {
    const CollectedWalk walk(pool);
    EXPECT_EQ(walk.faults, "");
    std::vector<std::tuple<uintptr_t, uint32_t, SpanState, uint16_t>> tiles;
    tiles.reserve(walk.spans.size());
    for (const SpanView& span : walk.spans) {
      tiles.emplace_back(span.base - pool.arena_base(), span.pages, span.state, span.out);
    }
    return tiles;
  }
  static void expect_what_serial_leaves(AnyPool& sorted, size_t arena_bytes, const PoolParams& params);

  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
};

// Whichever of the stacks it is, with the same ones given up the arena looks as if they had been freed one by one.
void SortedBatchTest::expect_what_serial_leaves(AnyPool& sorted, size_t arena_bytes, const PoolParams& params) {
  Arena arena(arena_bytes);
  const std::unique_ptr<AnyPool> serial = find_policy("serial")->make(arena);
  for (const size_t kept_of_16 : {size_t{0}, size_t{1}, size_t{4}, size_t{15}}) {
    for (AnyPool* pool : {serial.get(), &sorted}) {
      begin(*pool, params);
      std::mt19937 random(static_cast<uint32_t>(kept_of_16));
      const std::vector<Stack> stacks = take(*pool, random);
      pool->flush_cache(0);
      pool->begin_cycle({});
      for (size_t i = 0; i < stacks.size(); ++i) {
        if (i % 16 >= kept_of_16) pool->retire(kNoProc, stacks[i], RetireWhy::kShrunk);
      }
      pool->end_mark();
      pool->restarted();
      EXPECT_EQ(pool->stats().held_stacks, 0u);
    }
    EXPECT_EQ(tiles(sorted), tiles(*serial)) << kept_of_16 << " of 16 kept";
    EXPECT_EQ(sorted.stats().live_bytes, serial->stats().live_bytes);
    EXPECT_EQ(sorted.stats().spans_released, serial->stats().spans_released);
  }
}

// ... whether all notes are in chunks side by side, in rows of their regions, or in both.
TEST_F(SortedBatchTest, LeavesWhatSerialLeaves) {
  PoolParams params = go119_preset();
  for (const uint32_t first_chunks : {256u, 4u, 0u}) {
    params.first_chunks = first_chunks;
    expect_what_serial_leaves(*pool_, size_t{64} << 20, params);
  }
}

TEST_F(SortedBatchTest, HasRoomForSoManyFirstChunks) {
  PoolParams params = go119_preset();
  for (const uint32_t first_chunks : {260u, 6u}) {
    params.first_chunks = first_chunks;
    EXPECT_DEATH(pool_->reset(params), "a multiple of 4 up to 256");
  }
}

TEST_F(SortedBatchTest, AShareIsAPowerOfTwo) {
  PoolParams params = go119_preset();
  for (const size_t bytes : {size_t{0}, size_t{64} << 10, size_t{3} << 18, size_t{2} << 20}) {
    params.least_share_bytes = bytes;
    EXPECT_DEATH(pool_->reset(params), "a power of two from 128 KiB to 1 MiB");
  }
}

// As in fuzzers' worlds: shares of one word of marks each; and a pool that had larger ones before.
TEST_F(SortedBatchTest, LeavesWhatSerialLeavesInSmallShares) {
  constexpr size_t kArena = size_t{8} << 20;
  Arena arena(kArena);
  const std::unique_ptr<AnyPool> small = find_policy("sorted-batch")->make(arena);
  PoolParams params = go119_preset();
  for (const size_t least_share_bytes : {size_t{1} << 20, size_t{128} << 10}) {
    params.least_share_bytes = least_share_bytes;
    expect_what_serial_leaves(*small, kArena, params);
  }
}

// Three markers give up stacks at once; then one of them leads and the others, who are done, help. What is in nobody's
// hands when end_mark returns must be free, every time, and be seen so by the leader.
TEST_F(SortedBatchTest, MarkersThatAreDoneShareTheDrain) {
  constexpr size_t kMarkers = 3;
  std::mt19937 random(7);
  std::atomic<size_t> freed_by_helpers{0};
  // More cycles than usual only where the machine is so busy that no helper ever ran during a pause.
  for (int cycle = 0; cycle < (kSlowBuild ? 20 : 40) || (freed_by_helpers.load() == 0 && cycle < 1000); ++cycle) {
    const std::vector<Stack> stacks = take(*pool_, random);
    pool_->flush_cache(0);
    std::atomic<size_t> marking{kMarkers};
    std::atomic<bool> over{false};
    pool_->begin_cycle({.markers = kMarkers, .concurrent = false});
    const auto marker = [&](size_t number) {
      for (size_t i = number; i < stacks.size(); i += kMarkers) {
        pool_->retire(kNoProc, stacks[i], RetireWhy::kShrunk);
      }
      marking.fetch_sub(1);
      while (marking.load() != 0) std::this_thread::yield();
      if (number == 0) {
        pool_->end_mark();
        EXPECT_EQ(pool_->stats().held_stacks, 0u);
        EXPECT_EQ(pool_->stats().stack_bytes, 0u) << "a share is still in somebody's hands";
        EXPECT_FALSE(pool_->drain_pending());
        over.store(true);
        return;
      }
      while (!over.load()) {
        freed_by_helpers += pool_->help();
        std::this_thread::yield();
      }
    };
    std::vector<std::thread> threads;
    threads.reserve(kMarkers);
    for (size_t number = 0; number < kMarkers; ++number) threads.emplace_back(marker, number);
    for (std::thread& thread : threads) thread.join();
    pool_->restarted();
    EXPECT_EQ(CollectedWalk(*pool_).faults, "");
    EXPECT_EQ(pool_->stats().stack_bytes, 0u);
    EXPECT_EQ(pool_->stats().live_stacks, 0u);
  }
  EXPECT_GT(freed_by_helpers.load(), 0u);
}

// A thread that gives up stacks to two pools in turn keeps them apart.
TEST_F(SortedBatchTest, AThreadServesTwoPools) {
  Arena arena(size_t{64} << 20);
  const std::unique_ptr<AnyPool> other = find_policy("sorted-batch")->make(arena);
  begin(*other);
  AnyPool* const pools[] = {pool_.get(), other.get()};
  for (int cycle = 0; cycle < 2; ++cycle) {
    for (AnyPool* pool : pools) pool->begin_cycle({});
    for (size_t i = 0; i < 400; ++i) {
      AnyPool& pool = *pools[i % 2];
      pool.retire(kNoProc, pool.allocate(kNoProc, 2048), RetireWhy::kShrunk);
    }
    for (AnyPool* pool : pools) {
      EXPECT_EQ(pool->stats().held_stacks, 200u);
      EXPECT_EQ(pool->stats().held_bytes, 200u * 2048);
      pool->end_mark();
      pool->restarted();
      EXPECT_EQ(pool->stats().stack_bytes, 0u);
      EXPECT_EQ(CollectedWalk(*pool).faults, "");
    }
  }
}

// ... and takes a chunk for each note, which is as many chunks as a region can have.
TEST_F(SortedBatchTest, EachNoteMayHaveAChunkOfItsOwn) {
  Arena arena(size_t{64} << 20);
  const std::unique_ptr<AnyPool> other = find_policy("sorted-batch")->make(arena);
  AnyPool* const pools[] = {pool_.get(), other.get()};
  std::vector<Stack> stacks[2];
  for (size_t i = 0; i < 2; ++i) {
    while (const Stack stack = pools[i]->allocate(kNoProc, 2048)) stacks[i].push_back(stack);
    pools[i]->begin_cycle({});
  }
  for (size_t n = 0; n < stacks[0].size(); ++n) {
    for (size_t i = 0; i < 2; ++i) pools[i]->retire(kNoProc, stacks[i][n], RetireWhy::kShrunk);
  }
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(CollectedWalk(*pools[i]).faults, "");
    EXPECT_EQ(pools[i]->stats().held_stacks, stacks[0].size());
    pools[i]->end_mark();
    EXPECT_EQ(pools[i]->stats().stack_bytes, i * (stacks[1].size() - stacks[0].size()) * 2048);
    EXPECT_EQ(CollectedWalk(*pools[i]).faults, "");
  }
}

TEST_F(SortedBatchTest, PoolsThatWereNeverResetAreKeptApart) {
  Arena arenas[] = {Arena(size_t{8} << 20), Arena(size_t{8} << 20)};
  const std::unique_ptr<AnyPool> pools[] = {find_policy("sorted-batch")->make(arenas[0]),
                                            find_policy("sorted-batch")->make(arenas[1])};
  for (const auto& pool : pools) pool->begin_cycle({});
  for (size_t i = 0; i < 4; ++i) {
    AnyPool& pool = *pools[i % 2];
    pool.retire(kNoProc, pool.allocate(kNoProc, 2048), RetireWhy::kShrunk);
  }
  for (const auto& pool : pools) {
    EXPECT_EQ(pool->stats().held_stacks, 2u);
    pool->end_mark();
    EXPECT_EQ(pool->stats().held_stacks, 0u);
    EXPECT_EQ(CollectedWalk(*pool).faults, "");
  }
}

TEST_F(SortedBatchTest, HelpOutsideOfThePauseDoesNothing) {
  for (const PolicyRow& row : policies()) {
    Arena arena(size_t{8} << 20);
    const std::unique_ptr<AnyPool> pool = row.make(arena);
    pool->reset(go119_preset());
    const Stack stack = pool->allocate(0, 4096);
    EXPECT_EQ(pool->help(), 0u) << row.name;
    pool->begin_cycle({});
    pool->retire(kNoProc, stack, RetireWhy::kShrunk);
    const uint64_t held = pool->stats().held_stacks;
    EXPECT_EQ(pool->help(), 0u) << row.name;
    EXPECT_EQ(pool->stats().held_stacks, held) << row.name;
    pool->end_mark();
    EXPECT_EQ(pool->help(), 0u) << row.name;
    pool->restarted();
    EXPECT_EQ(pool->help(), 0u) << row.name;
  }
}

}  // namespace
}  // namespace stackdrain
