#include "target/drain/policies.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <iterator>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "target/testing.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

constexpr DrainHold kHolds[] = {DrainHold::kWhole, DrainHold::kBatch, DrainHold::kEach};

class PolicyTest : public testing::TestWithParam<PolicyRow> {
 protected:
  PolicyTest() : arena_(size_t{64} << 20), pool_(GetParam().make(arena_)) { reset(DrainHold::kBatch); }

  const PolicyClaims& claims() const { return GetParam().claims; }
  void reset(DrainHold hold) {
    PoolParams params = go119_preset();
    params.drain_hold = hold;
    params.drain_batch = 8;
    params.grow_chunk_bytes = size_t{256} << 10;
    pool_->reset(params);
  }
  std::vector<Stack> take(size_t count, size_t bytes, Proc proc = 0) {
    std::vector<Stack> stacks(count);
    for (Stack& stack : stacks) stack = pool_->allocate(proc, bytes);
    return stacks;
  }
  void retire_all(const std::vector<Stack>& stacks) {
    for (const Stack stack : stacks) pool_->retire(kNoProc, stack, RetireWhy::kShrunk);
  }
  void flush() {
    for (Proc proc = 0; proc < pool_->params().procs; ++proc) pool_->flush_cache(proc);
  }
  void drain() {
    while (pool_->drain_pending()) pool_->drain_step(0);
  }
  void end_cycle() {
    pool_->end_mark();
    pool_->restarted();
  }
  // Nothing live, nothing held, nothing kept: one Free span.
  void expect_empty() {
    flush();
    drain();
    if (claims().keeps_reserve) pass_idle_cycles(*pool_);
    const PoolStats stats = pool_->stats();
    EXPECT_EQ(stats.live_stacks, 0u);
    EXPECT_EQ(stats.held_stacks, 0u);
    EXPECT_EQ(stats.held_bytes, 0u);
    EXPECT_EQ(stats.stack_bytes, 0u);
    EXPECT_EQ(stats.allocations, stats.frees);
    const CollectedWalk walk(*pool_);
    EXPECT_EQ(walk.faults, "");
    EXPECT_LE(walk.spans.size(), 1u);
  }

  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
};

std::string name_of_row(const testing::TestParamInfo<PolicyRow>& row) {
  std::string name(row.param.name);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Policies, PolicyTest, testing::ValuesIn(policies().begin(), policies().end()), name_of_row);

TEST_P(PolicyTest, KeepsWhatItClaims) {
  const std::vector<Stack> stacks = take(100, 4096);
  const PoolStats before = pool_->stats();
  pool_->begin_cycle({});
  flush();
  retire_all(stacks);
  const PoolStats marking = pool_->stats();
  CollectedWalk walk(*pool_);
  EXPECT_EQ(walk.faults, "");
  if (claims().defers_shrunk) {
    EXPECT_EQ(marking.held_stacks, stacks.size());
    EXPECT_EQ(marking.held_bytes, stacks.size() * 4096);
    EXPECT_EQ(walk.in(SlotPlace::kDeferred), stacks.size());
    EXPECT_EQ(marking.frees, before.frees);
  }
  if (claims().sound) {
    EXPECT_EQ(marking.spans_released, before.spans_released) << "no span of theirs may leave Stack in mark";
    for (const Stack stack : stacks) EXPECT_EQ(pool_->locate(stack.lo).state, SpanState::kStack);
  } else {
    EXPECT_GT(marking.spans_released, before.spans_released) << "the control is bad as it should be";
  }
  EXPECT_EQ(pool_->drain_step(0), 0u) << "nothing is drained while a mark runs";
  pool_->end_mark();
  if (claims().empties_in_pause) {
    EXPECT_FALSE(pool_->drain_pending());
    EXPECT_EQ(pool_->stats().held_bytes, 0u);
  } else {
    EXPECT_TRUE(pool_->drain_pending());
    EXPECT_GT(pool_->stats().held_bytes, 0u);
    const bool ours = foreign_policies().empty();
    EXPECT_TRUE(!ours || claims().hold_bound != HoldBound::kUnsaid)
        << "who waits for a lock of a drain wants to know how long";
  }
  pool_->restarted();
  expect_empty();
}

TEST_P(PolicyTest, ACycleThatBeginsInTheMiddleOfADrainLosesNothing) {
  for (const DrainHold hold : kHolds) {
    reset(hold);
    pool_->begin_cycle({});
    retire_all(take(50, 2048, kNoProc));
    end_cycle();
    if (hold != DrainHold::kWhole) pool_->drain_step(0);
    const uint64_t left = pool_->stats().held_stacks;
    pool_->begin_cycle({});
    EXPECT_EQ(pool_->drain_step(0), 0u);
    retire_all(take(30, 8192, kNoProc));
    if (claims().defers_shrunk) {
      EXPECT_EQ(pool_->stats().held_stacks, left + 30);
    }
    end_cycle();
    expect_empty();
  }
}

TEST_P(PolicyTest, WhatIsFreedInAMarkStaysStackIfNoSpanMayLeave) {
  if (!claims().strong_a2) return;
  for (const size_t bytes : {size_t{16384}, size_t{32768}, size_t{1} << 20}) {
    const std::vector<Stack> stacks = take(5, bytes, kNoProc);
    const uint64_t released = pool_->stats().spans_released;
    pool_->begin_cycle({});
    for (const Stack stack : stacks) pool_->free(kNoProc, stack);
    EXPECT_EQ(pool_->stats().live_stacks, 0u);
    EXPECT_EQ(pool_->stats().live_bytes, 0u);
    EXPECT_EQ(pool_->stats().spans_released, released);
    for (const Stack stack : stacks) EXPECT_EQ(pool_->locate(stack.lo).state, SpanState::kStack);
    const Stack again = pool_->allocate(kNoProc, bytes);
    EXPECT_EQ(pool_->stats().stack_bytes, bytes == 16384 ? 3 * kPoolSpanBytes : 5 * bytes) << "one of them is reused";
    pool_->retire(kNoProc, again, RetireWhy::kShrunk);
    end_cycle();
    expect_empty();
    EXPECT_GT(pool_->stats().spans_released, released);
  }
}

TEST_P(PolicyTest, AStepKeepsToItsBudget) {
  pool_->begin_cycle({});
  retire_all(take(40, 2048, kNoProc));
  end_cycle();
  if (!claims().defers_shrunk || claims().empties_in_pause) return expect_empty();
  EXPECT_EQ(pool_->drain_step(3), 3u);
  EXPECT_EQ(pool_->stats().held_stacks, 37u);
  EXPECT_EQ(pool_->drain_step(0), 8u) << "drain_batch";
  EXPECT_EQ(pool_->drain_step(100), 29u);
  EXPECT_FALSE(pool_->drain_pending());
  EXPECT_EQ(pool_->drain_step(1), 0u);
  expect_empty();
}

#if STACKDRAIN_YIELDS
// Asks at each step of a drain, as another thread would, whether it is over.
class AsksInside final : public YieldHook {
 public:
  explicit AsksInside(AnyPool& pool) : pool_(pool) { yield_hook = this; }
  ~AsksInside() { yield_hook = nullptr; }
  void at(Yield point) override {
    if (point != Yield::kDrainStep) return;
    ++asked;
    if (!pool_.drain_pending() && pool_.stats().held_bytes != 0) ++over_too_early;
  }
  int asked = 0;
  int over_too_early = 0;

 private:
  AnyPool& pool_;
};

TEST_P(PolicyTest, ADrainIsPendingUntilWhatWasHeldIsFree) {
  std::vector<Stack> stacks(60);
  for (size_t i = 0; i < stacks.size(); ++i) stacks[i] = pool_->allocate(kNoProc, kMinStackBytes << i % 6);
  pool_->begin_cycle({2, true});
  retire_all(stacks);
  end_cycle();
  const bool drains = pool_->drain_pending();
  AsksInside hook(*pool_);
  drain();
  EXPECT_EQ(hook.asked != 0, drains);
  EXPECT_EQ(hook.over_too_early, 0);
}
#endif

// Of those whose memory is the arena's.
class InArenaTest : public PolicyTest {
 public:
  static std::vector<PolicyRow> rows() {
    std::vector<PolicyRow> rows;
    std::ranges::copy_if(policies(), std::back_inserter(rows),
                         [](const PolicyRow& row) { return row.claims.tells_places; });
    return rows;
  }
};
INSTANTIATE_TEST_SUITE_P(Policies, InArenaTest, testing::ValuesIn(InArenaTest::rows()), name_of_row);

// Locked pages are what the system does not take back.
TEST_P(InArenaTest, WhatTheSystemKeepsIsClearedByHand) {
  constexpr uint32_t kPages = static_cast<uint32_t>((Arena::kClearByHandBytes >> kPageShift) + 1);
  Arena arena(size_t{2} * kPages * kPageBytes);
  const std::unique_ptr<AnyPool> pool = GetParam().make(arena);
  const uintptr_t base = pool->allocate_heap(kPages, false);
  ASSERT_NE(base, 0u);
  pool->note_written(base, size_t{kPages} * kPageBytes);
  std::memset(reinterpret_cast<void*>(base), 0xaa, size_t{kPages} * kPageBytes);
  // Not by mlock and munlock: under a sanitizer these do nothing.
  ASSERT_EQ(syscall(SYS_mlock, base, kPageBytes), 0) << "one page may be locked by anybody";
  pool->free_heap(base);
  pool->release_idle();
  EXPECT_LE(pool->stats().released_bytes, pool->stats().idle_bytes);
  ASSERT_EQ(pool->allocate_heap(kPages, false), base);
  pool->note_written(base, size_t{kPages} * kPageBytes);
  std::memset(reinterpret_cast<void*>(base), 0xaa, size_t{kPages} * kPageBytes);
  pool->reset(go119_preset());
  const uintptr_t again = pool->allocate_heap(kPages, true);
  ASSERT_NE(again, 0u);
  const std::span<const uint64_t> words(reinterpret_cast<const uint64_t*>(again), size_t{kPages} * kPageBytes / 8);
  EXPECT_TRUE(std::ranges::all_of(words, [](uint64_t word) { return word == 0; }));
  syscall(SYS_munlock, base, kPageBytes);
}

// The memory of what is idle goes back to the system, and of nothing else.
TEST_P(PolicyTest, GivingMemoryBackLeavesWhatIsInUse) {
  constexpr uint32_t kHeapPages = 3;
  const auto words_of = [](uintptr_t base, size_t bytes) {
    return std::span<uint64_t>(reinterpret_cast<uint64_t*>(base), bytes / sizeof(uint64_t));
  };
  std::vector<Stack> stay;
  std::vector<Stack> go;
  std::vector<uintptr_t> heap;
  for (size_t i = 0; i < 120; ++i) {
    const Stack stack = pool_->allocate(0, kMinStackBytes << i % 6);
    ASSERT_TRUE(stack);
    pool_->note_written(stack.lo, stack.bytes());
    (i / 6 % 3 == 0 ? stay : go).push_back(stack);
    if (i % 6 != 5) continue;
    heap.push_back(pool_->allocate_heap(kHeapPages, false));
    ASSERT_NE(heap.back(), 0u);
    pool_->note_written(heap.back(), kHeapPages * kPageBytes);
  }
  for (const uintptr_t base : heap) std::ranges::fill(words_of(base, kHeapPages * kPageBytes), base);
  for (const Stack stack : stay) std::ranges::fill(words_of(stack.lo, stack.bytes()), stack.lo);
  for (const Stack stack : go) std::ranges::fill(words_of(stack.lo, stack.bytes()), ~uint64_t{0});
  for (const Stack stack : go) pool_->free(0, stack);
  while (heap.size() > 10) {
    pool_->free_heap(heap.back());
    heap.pop_back();
  }
  flush();
  EXPECT_NE(pool_->release_idle(), 0u);
  EXPECT_EQ(pool_->stats().released_bytes, pool_->stats().idle_bytes);

  const auto expect_as_it_was = [&] {
    for (const Stack stack : stay) {
      for (const uint64_t word : words_of(stack.lo, stack.bytes())) ASSERT_EQ(word, stack.lo);
    }
    for (const uintptr_t base : heap) {
      for (const uint64_t word : words_of(base, kHeapPages * kPageBytes)) ASSERT_EQ(word, base);
    }
  };
  expect_as_it_was();
  for (int i = 0; i < 20; ++i) {
    const uintptr_t base = pool_->allocate_heap(kHeapPages, true);
    ASSERT_NE(base, 0u);
    for (const uint64_t word : words_of(base, kHeapPages * kPageBytes)) ASSERT_EQ(word, 0u);
  }
  expect_as_it_was();
}

TEST_P(PolicyTest, RandomCyclesConserveEveryStack) {
  std::mt19937 random(11);
  for (const DrainHold hold : kHolds) {
    reset(hold);
    std::vector<Stack> live;
    bool marking = false;
    for (int step = 0; step < 3000; ++step) {
      switch (random() % 8) {
        case 0:
          marking ? end_cycle() : pool_->begin_cycle({});
          if (!marking) flush();
          marking = !marking;
          break;
        case 1:
          if (!marking) pool_->drain_step(random() % 4);
          break;
        case 2:
        case 3:
          if (live.empty()) break;
          std::swap(live[random() % live.size()], live.back());
          if (marking) {
            pool_->retire(kNoProc, live.back(), RetireWhy::kShrunk);
          } else {
            pool_->free(static_cast<Proc>(random() % 4), live.back());
          }
          live.pop_back();
          break;
        default:
          if (live.size() > 400) break;
          const Proc proc = marking ? kNoProc : static_cast<Proc>(random() % 4);
          if (const Stack stack = pool_->allocate(proc, kMinStackBytes << random() % 6)) live.push_back(stack);
      }
      const PoolStats stats = pool_->stats();
      ASSERT_EQ(stats.live_stacks, live.size());
      ASSERT_EQ(stats.allocations - stats.frees, live.size() + stats.held_stacks);
      if (step % 100 == 0) {
        ASSERT_EQ(CollectedWalk(*pool_).faults, "");
      }
    }
    if (marking) end_cycle();
    for (const Stack stack : live) pool_->free(0, stack);
    expect_empty();
  }
}

// ---- real threads: for TSan, and for the accounts afterwards ----

void churn(AnyPool& pool, Proc proc, int rounds) {
  std::mt19937 random(static_cast<uint32_t>(proc + 1));
  std::vector<Stack> stacks;
  for (int round = 0; round < rounds; ++round) {
    if (stacks.size() < 40 && random() % 2 == 0) {
      const Stack stack = pool.allocate(proc, kMinStackBytes << random() % 6);
      if (!stack) continue;
      *reinterpret_cast<uint64_t*>(stack.hi - sizeof(uint64_t)) = stack.lo;
      stacks.push_back(stack);
    } else if (!stacks.empty()) {
      const Stack stack = stacks.back();
      EXPECT_EQ(*reinterpret_cast<uint64_t*>(stack.hi - sizeof(uint64_t)), stack.lo) << "somebody else wrote here";
      pool.free(proc, stack);
      stacks.pop_back();
    }
    if (round % 16 == 0) {
      if (const uintptr_t span = pool.allocate_heap(static_cast<uint32_t>(1 + random() % 3), round % 32 == 0))
        pool.free_heap(span);
    }
  }
  for (const Stack stack : stacks) pool.free(proc, stack);
}

TEST_P(PolicyTest, MutatorsAndTwoDrainersRunTogether) {
  constexpr int kCycles = 4;
  constexpr Proc kMutators = 3;
  for (const DrainHold hold : kHolds) {
    reset(hold);
    for (int cycle = 0; cycle < kCycles; ++cycle) {
      const std::vector<Stack> stacks = take(300, 4096, 3);
      pool_->begin_cycle({});
      flush();
      retire_all(stacks);
      end_cycle();
      std::vector<std::thread> threads;
      threads.reserve(kMutators + 2);
      for (Proc proc = 0; proc < kMutators; ++proc) threads.emplace_back([&, proc] { churn(*pool_, proc, 300); });
      std::atomic<size_t> freed{0};
      for (int drainer = 0; drainer < 2; ++drainer) {
        threads.emplace_back([&] {
          while (pool_->drain_pending()) freed.fetch_add(pool_->drain_step(0));
        });
      }
      for (std::thread& thread : threads) thread.join();
      if (claims().defers_shrunk && !claims().empties_in_pause) {
        EXPECT_EQ(freed.load(), stacks.size());
      }
      EXPECT_EQ(CollectedWalk(*pool_).faults, "");
    }
    expect_empty();
  }
}

TEST_P(PolicyTest, MarkersRetireTogether) {
  constexpr size_t kMarkers = 4;
  constexpr size_t kEach = 200;
  for (int cycle = 0; cycle < 3; ++cycle) {
    const std::vector<Stack> stacks = take(kMarkers * kEach, 2048, kNoProc);
    pool_->begin_cycle({static_cast<int>(kMarkers), false});
    flush();
    std::vector<std::thread> threads;
    threads.reserve(kMarkers);
    for (size_t marker = 0; marker < kMarkers; ++marker) {
      threads.emplace_back([&, marker] {
        for (size_t i = 0; i < kEach; ++i) {
          pool_->retire(kNoProc, stacks[marker * kEach + i], RetireWhy::kShrunk);
          // A marker allocates the smaller copy, too, and asks where pointers lie.
          const Stack copy = pool_->allocate(kNoProc, 2048);
          EXPECT_EQ(pool_->locate(copy.lo).state, SpanState::kStack);
          pool_->retire(kNoProc, copy, RetireWhy::kShrunk);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (claims().defers_shrunk) {
      EXPECT_EQ(pool_->stats().held_stacks, 2 * kMarkers * kEach);
    }
    end_cycle();
    expect_empty();
  }
}

TEST_P(PolicyTest, MutatorsRunDuringAConcurrentMark) {
  if (!claims().concurrent_mark) return;
  constexpr Proc kMutators = 3;
  const std::vector<Stack> stacks = take(400, 8192, kNoProc);
  pool_->begin_cycle({1, true});
  flush();
  std::vector<std::thread> threads;
  threads.reserve(kMutators + 1);
  for (Proc proc = 0; proc < kMutators; ++proc) threads.emplace_back([&, proc] { churn(*pool_, proc, 600); });
  threads.emplace_back([&] { retire_all(stacks); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(CollectedWalk(*pool_).faults, "");
  end_cycle();
  expect_empty();
}

}  // namespace
}  // namespace stackdrain
