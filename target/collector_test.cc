#include "target/collector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "target/drain/policies.h"

namespace stackdrain {
namespace {

class CollectorTest : public testing::TestWithParam<PolicyRow> {
 protected:
  CollectorTest() : arena_(size_t{32} << 20), pool_(GetParam().make(arena_)), collector_(*pool_, goroutines_) {
    PoolParams params = go119_preset();
    params.grow_chunk_bytes = size_t{256} << 10;
    pool_->reset(params);
    for (uint32_t g = 0; g < goroutines_.size(); ++g) goroutines_[g].reset(g);
  }

  // Waits in a channel operation on a stack of a span of its own, of which little is used.
  Goroutine& parked(uint32_t g) {
    EXPECT_TRUE(goroutines_[g].spawn(*pool_, 0, size_t{64} << 10, false));
    goroutines_[g].block(WaitKind::kSelect);
    return goroutines_[g];
  }
  void finish_cycle() {
    collector_.end_mark();
    collector_.restart();
    while (pool_->drain_pending()) pool_->drain_step(0);
  }

  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
  std::array<Goroutine, 200> goroutines_;
  Collector collector_;
};

std::string name_of_row(const testing::TestParamInfo<PolicyRow>& row) {
  std::string name(row.param.name);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Policies, CollectorTest, testing::ValuesIn(policies().begin(), policies().end()), name_of_row);

// Go commit 91e8554b8b's own story.
TEST_P(CollectorTest, AShrinkBetweenLoadAndResolve) {
  parked(0);
  collector_.begin({2, false});
  ASSERT_TRUE(collector_.load(0, 0, RootKind::kElem));
  const JobResult job = collector_.run_goroutine_job(1, 0);
  EXPECT_EQ(job.shrink, ShrinkResult::kShrunk);
  const Resolved resolved = collector_.resolve(0);
  EXPECT_EQ(resolved, GetParam().claims.sound ? Resolved::kStack : Resolved::kBad);
  EXPECT_EQ(collector_.bad_pointers(), GetParam().claims.sound ? 0u : 1u);
  if (!GetParam().claims.sound) {
    EXPECT_EQ(collector_.first_bad().marker, 0);
    EXPECT_EQ(collector_.first_bad().held.kind, RootKind::kElem);
    EXPECT_EQ(collector_.first_bad().found.state, SpanState::kFree);
  }
  finish_cycle();
  EXPECT_EQ(pool_->stats().held_stacks, 0u);
}

// Under the policies that claim to serve a concurrent mark, and the one that is known to be bad.
class ConcurrentMarkTest : public CollectorTest {};

std::vector<PolicyRow> policies_that_mark_concurrently() {
  std::vector<PolicyRow> rows;
  std::copy_if(policies().begin(), policies().end(), std::back_inserter(rows),
               [](const PolicyRow& row) { return row.claims.concurrent_mark || !row.claims.sound; });
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Policies, ConcurrentMarkTest, testing::ValuesIn(policies_that_mark_concurrently()),
                         name_of_row);

// Go issue #11267: with mutators running, the pages are the heap's again before the marker looks. What it marks then is
// an object that is none, and nothing is reported.
TEST_P(ConcurrentMarkTest, PagesThatAreIssuedAgainBetweenLoadAndResolve) {
  const PolicyClaims& claims = GetParam().claims;
  parked(0);
  collector_.begin({2, true});
  ASSERT_TRUE(collector_.load(0, 0, RootKind::kElem));
  const uintptr_t held = collector_.held(0).pointer;
  EXPECT_EQ(collector_.run_goroutine_job(1, 0).shrink, ShrinkResult::kShrunk);
  for (int i = 0; i < 64 && pool_->locate(held).state != SpanState::kInUse; ++i) pool_->allocate_heap(1, false);
  EXPECT_EQ(collector_.resolve(0), claims.sound ? Resolved::kStack : Resolved::kObject);
  EXPECT_EQ(collector_.objects_marked(), claims.sound ? 0u : 1u);
  EXPECT_EQ(collector_.bad_pointers(), 0u);
  finish_cycle();
}

TEST_P(CollectorTest, AMarkerHoldsOnePointerAtATime) {
  parked(0);
  collector_.begin({1, false});
  EXPECT_EQ(collector_.resolve(0), Resolved::kNothing);
  EXPECT_FALSE(collector_.load(0, 0, RootKind::kPanic)) << "there is no such record";
  EXPECT_TRUE(collector_.load(0, 0, RootKind::kSelectDone));
  EXPECT_FALSE(collector_.load(0, 0, RootKind::kElem));
  EXPECT_EQ(collector_.resolve(0), Resolved::kStack);
  EXPECT_TRUE(collector_.load(0, 0, RootKind::kElem));
}

TEST_P(CollectorTest, HeapRootsAreMarkedAndFreedOnesAreBad) {
  const uintptr_t object = pool_->allocate_heap(1, false);
  const uintptr_t gone = pool_->allocate_heap(1, false);
  const std::array<uintptr_t, 3> roots = {object, 0, gone};
  collector_.set_heap_roots(roots);
  collector_.begin({1, false});
  collector_.run_marker(0);
  EXPECT_EQ(collector_.objects_marked(), 2u);
  EXPECT_EQ(collector_.bad_pointers(), 0u);
  finish_cycle();
  pool_->free_heap(gone);
  collector_.begin({1, false});
  collector_.run_marker(0);
  EXPECT_EQ(collector_.bad_pointers(), 1u);
}

TEST_P(CollectorTest, MarkersShareTheJobsAndHalveEachStackOnce) {
  for (uint32_t g = 0; g < goroutines_.size(); ++g) {
    ASSERT_TRUE(goroutines_[g].spawn(*pool_, 0, 8192, false));
    goroutines_[g].block(WaitKind::kReceive);
  }
  constexpr int kMarkers = 3;
  collector_.begin({kMarkers, false});
  std::array<std::atomic<int>, 200> done{};
  std::vector<std::thread> threads;
  threads.reserve(kMarkers);
  for (int marker = 0; marker < kMarkers; ++marker) {
    threads.emplace_back([&, marker] {
      for (JobResult job = collector_.run_next_job(marker); job.ran; job = collector_.run_next_job(marker)) {
        if (job.goroutine != UINT32_MAX && job.claimed) done[job.goroutine].fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& times : done) EXPECT_EQ(times.load(), 1);
  for (const Goroutine& goroutine : goroutines_) EXPECT_EQ(goroutine.stack().bytes(), 4096u);
  EXPECT_EQ(pool_->stats().cached_bytes, 0u) << "one job flushes the caches";
  EXPECT_EQ(collector_.bad_pointers(), 0u);
  if (GetParam().claims.frees_after_grace) {
    EXPECT_LT(pool_->stats().held_stacks, goroutines_.size()) << "freed while the mark runs, but for the last ones";
  } else if (GetParam().claims.defers_shrunk) {
    EXPECT_EQ(pool_->stats().held_stacks, goroutines_.size());
  }
  finish_cycle();
  EXPECT_EQ(pool_->stats().held_stacks, 0u);
  EXPECT_EQ(pool_->stats().live_stacks, goroutines_.size());
}

// Markers LOAD and RESOLVE each other's goroutines while those are shrunk, and the pool may free in mark: for TSan,
// too.
TEST_P(CollectorTest, MarkersLoadWhileOthersShrink) {
  if (!GetParam().claims.sound) return;
  for (uint32_t g = 0; g < goroutines_.size(); ++g) parked(g);
  constexpr int kMarkers = 3;
  for (int cycle = 0; cycle < 3; ++cycle) {
    collector_.begin({kMarkers, false});
    std::vector<std::thread> threads;
    threads.reserve(kMarkers);
    for (int marker = 0; marker < kMarkers; ++marker) {
      threads.emplace_back([&, marker] {
        for (uint32_t turn = 0; collector_.run_next_job(marker).ran; ++turn) {
          const auto g = static_cast<uint32_t>((turn * 7 + static_cast<uint32_t>(marker) * 50) % goroutines_.size());
          if (!collector_.load(marker, g, turn % 2 == 0 ? RootKind::kElem : RootKind::kSelectDone)) continue;
          if (turn % 3 == 0) collector_.run_next_job(marker);  // holds on to it for a job
          EXPECT_EQ(collector_.resolve(marker), Resolved::kStack);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(collector_.bad_pointers(), 0u);
    finish_cycle();
    EXPECT_EQ(pool_->stats().held_stacks, 0u);
  }
}

TEST_P(CollectorTest, ADeadGoroutinesStackIsDropped) {
  ASSERT_TRUE(goroutines_[0].spawn(*pool_, 0, kStartStack, false));
  goroutines_[0].exit(*pool_, 0, false);
  EXPECT_EQ(pool_->stats().live_stacks, 1u) << "kept for the next life";
  collector_.begin({1, false});
  collector_.run_marker(0);
  finish_cycle();
  EXPECT_EQ(pool_->stats().live_stacks, 0u);
}

// What a thread that is gone has left is given back once, whoever else tries.
TEST_P(CollectorTest, OneOfThoseWhoTryTakesAProcessorOver) {
  ASSERT_TRUE(goroutines_[0].spawn(*pool_, 0, kMinStackBytes, false));
  ASSERT_GT(pool_->stats().cached_bytes, 0u);
  EXPECT_FALSE(collector_.adopt(0)) << "its thread is not gone";
  EXPECT_GT(pool_->stats().cached_bytes, 0u);
  collector_.abandon(0);
  EXPECT_FALSE(collector_.has_thread(0));
  EXPECT_TRUE(collector_.has_thread(1));
  std::atomic<int> heirs{0};
  constexpr size_t kHeirs = 4;
  std::vector<std::thread> threads;
  threads.reserve(kHeirs);
  for (size_t i = 0; i < kHeirs; ++i) {
    threads.emplace_back([this, &heirs] { heirs += collector_.adopt(0) ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(heirs, 1);
  EXPECT_TRUE(collector_.has_thread(0));
  const PoolStats stats = pool_->stats();
  EXPECT_EQ(stats.cached_bytes, 0u);
  EXPECT_EQ(stats.live_stacks, 1u);
}

}  // namespace
}  // namespace stackdrain
