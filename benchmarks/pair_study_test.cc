#include "benchmarks/pair_study.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <set>

#include "benchmarks/pair_allocators.h"
#include "target/arena.h"
#include "target/drain/policies.h"

namespace stackdrain {
namespace {

// Counts, and notes the order in which blocks come back.
class CountingAllocator {
 public:
  uintptr_t take(int, size_t bytes) {
    taken.fetch_add(1);
    return reinterpret_cast<uintptr_t>(std::malloc(bytes));
  }
  void give(int thread, uintptr_t block, size_t) {
    given.fetch_add(1);
    if (thread == 0) blocks.insert(block);
    std::free(reinterpret_cast<void*>(block));
  }
  std::atomic<size_t> taken{0};
  std::atomic<size_t> given{0};
  std::set<uintptr_t> blocks;  // thread 0's
};

TEST(PairStudy, DoesAsManyPairsAsItSaysInEachPatternAndGivesAllBack) {
  for (size_t pattern = 0; pattern < std::size(kPairPatterns); ++pattern) {
    for (const int threads : kPairThreads) {
      CountingAllocator counting;
      EXPECT_GT(pair_ns(counting, static_cast<PairPattern>(pattern), threads, 4096, 1600), 0.0);
      EXPECT_EQ(counting.taken.load(), counting.given.load());
      const size_t warm = pattern == static_cast<size_t>(PairPattern::kLifo) ? 128 : 100;
      EXPECT_EQ(counting.taken.load(), static_cast<size_t>(threads) * (kPairLive + 1600 + warm));
    }
  }
}

TEST(PairStudy, MeasuresEveryPolicyAndTheFreeList) {
  for (const PolicyRow& policy : policies()) {
    Arena arena(size_t{16} << 20);
    const std::unique_ptr<AnyPool> pool = policy.make(arena);
    pool->reset(go119_preset());
    PoolPairs pairs(*pool);
    EXPECT_GT(pair_ns(pairs, PairPattern::kRandom, 2, 8192, 1000), 0.0);
    const PoolStats stats = pool->stats();
    EXPECT_EQ(stats.live_stacks, 0u) << policy.name;
    EXPECT_EQ(stats.allocations, 2 * (kPairLive + 1000 + 1000 / 16)) << policy.name;
  }
  FreeListPairs list;
  EXPECT_GT(pair_ns(list, PairPattern::kFifo, 2, 2048, 1000), 0.0);
}

}  // namespace
}  // namespace stackdrain
