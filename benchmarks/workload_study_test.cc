#include "benchmarks/workload_study.h"

#include <gtest/gtest.h>

namespace stackdrain {
namespace {

TEST(WorkloadStudy, ABurstTakesAgainWhatItGaveBack) {
  for (const PolicyRow& policy : policies()) {
    const BurstResult result =
        run_burst({.variant = {.policy = &policy, .name = ""}, .goroutines = 512, .bytes = 16384, .bursts = 3});
    ASSERT_EQ(result.grow_ns.size(), 3u) << policy.name;
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_GT(result.spans_taken[i], 0u) << policy.name;
      EXPECT_GT(result.spans_released[i], 0u) << policy.name;
      EXPECT_GE(result.span_bytes_grown[i], 512u * 16384u) << policy.name;
      EXPECT_EQ(result.live_bytes_idle[i], 512u * kMinStackBytes) << policy.name;
      EXPECT_GE(result.span_bytes_idle[i], result.live_bytes_idle[i]) << policy.name;
    }
  }
}

TEST(WorkloadStudy, WhatShrinksInPlaceLeavesHolesAndNeedsNoRoomForCopies) {
  constexpr size_t kGoroutines = 256;
  constexpr size_t kBytes = 65536;
  for (const PolicyRow& policy : policies()) {
    const HalvedResult result = run_halved({.policy = &policy, .name = ""}, kGoroutines, kBytes);
    EXPECT_EQ(result.live_bytes, kGoroutines * (kBytes + kBytes / 2)) << policy.name;
    EXPECT_GE(result.again_bytes, result.live_bytes) << policy.name;
    if (policy.claims.shrinks_in_place) {
      EXPECT_EQ(result.collected_bytes, result.grown_bytes) << policy.name;
      EXPECT_GE(result.again_bytes, 2 * kGoroutines * kBytes) << "no hole holds a whole stack";
    } else if (policy.claims.defers_shrunk && !policy.claims.frees_after_grace) {
      EXPECT_GE(result.collected_bytes, kGoroutines * (kBytes + kBytes / 2)) << policy.name;
      EXPECT_LT(result.again_bytes, 2 * kGoroutines * kBytes) << policy.name;
    }
  }
}

TEST(WorkloadStudy, APinnedStackKeepsItsSpan) {
  CacheFlusher flusher;
  for (const PolicyRow& policy : policies()) {
    const auto kept = [&](size_t every) {
      const PinnedResult result = run_pinned(
          {.variant = {.policy = &policy, .name = ""}, .stacks = 2048, .bytes = 4096, .every = every, .repetitions = 2},
          flusher);
      EXPECT_EQ(result.live_bytes, 2048 / every * 4096) << policy.name;
      EXPECT_GE(result.span_bytes, result.live_bytes) << policy.name;
      EXPECT_EQ(result.pause_ns.size(), 2u);
      return static_cast<double>(result.span_bytes) / static_cast<double>(result.live_bytes);
    };
    EXPECT_GT(kept(16), kept(2)) << policy.name;
  }
}

TEST(WorkloadStudy, EveryProcessorIsFlushed) {
  for (const int procs : {1, 3, kMaxProcs}) {
    for (const PolicyRow& policy : policies()) {
      const ProcessorsCase one{
          .variant = {.policy = &policy, .name = ""}, .procs = procs, .stacks = 100, .bytes = 2048, .repetitions = 4};
      EXPECT_EQ(run_processors(one).size(), 4u) << policy.name;
    }
  }
}

}  // namespace
}  // namespace stackdrain
