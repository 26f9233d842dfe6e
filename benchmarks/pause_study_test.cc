#include "benchmarks/pause_study.h"

#include <gtest/gtest.h>

#include <string>

namespace stackdrain {
namespace {

constexpr size_t kStacks = 200;
constexpr size_t kBytes = 8192;
constexpr int kCycles = 2;

PauseResult run(const Variant& variant, int mutators, int markers) {
  return run_pause_study({.variant = variant,
                          .stacks = kStacks,
                          .bytes = kBytes,
                          .mutators = mutators,
                          .markers = markers,
                          .cycles = kCycles});
}

void expect_stalls(const PauseResult& result) {
  ASSERT_EQ(result.hiccup_ns.size(), static_cast<size_t>(kCycles));
  for (const double hiccup : result.hiccup_ns) {
    EXPECT_GT(hiccup, 0);
    EXPECT_LE(hiccup, static_cast<double>(result.hiccup.max()));
  }
  ASSERT_FALSE(result.stalls.empty());
  EXPECT_EQ(result.stalls.front().first, 0) << "the pause is the first stall";
  for (size_t i = 1; i < result.stalls.size(); ++i) {
    EXPECT_GE(result.stalls[i].first, result.stalls[i - 1].first + result.stalls[i - 1].second);
    EXPECT_LE(result.stalls[i].first + result.stalls[i].second, result.watched_ns);
  }
}

void expect_complete(const PauseResult& result) {
  EXPECT_EQ(result.splits.size(), static_cast<size_t>(kCycles));
  EXPECT_EQ(result.mark_faults.size(), static_cast<size_t>(kCycles));
  EXPECT_EQ(result.drain_cpu_ns.size(), static_cast<size_t>(kCycles));
  EXPECT_EQ(result.drain_over_ns.size(), static_cast<size_t>(kCycles));
  EXPECT_EQ(result.stall_ns.size(), static_cast<size_t>(kCycles));
  for (const PauseSplit& split : result.splits) {
    EXPECT_GT(split.stop_ns, 0);
    EXPECT_GT(split.mark_ns, 0);
    EXPECT_GE(split.drain_ns, 0);
    EXPECT_GT(split.restart_ns, 0);
    EXPECT_GE(split.resumed_ns, 0);
  }
  for (const double stall : result.stall_ns) {
    EXPECT_GT(stall, 0);
    EXPECT_LE(stall, static_cast<double>(result.latency.max())) << "a stall is one part of a pair that was recorded";
  }
  expect_stalls(result);
  EXPECT_GT(result.latency.count(), 0u);
  EXPECT_GT(result.hiccup.count(), 0u);
  EXPECT_GT(result.hiccup_seconds, 0);
  EXPECT_GT(result.expected_interval_ns, 0);
}

class PauseStudyTest : public testing::TestWithParam<Variant> {};

TEST_P(PauseStudyTest, EveryCycleIsMeasuredWhole) {
  const PolicyClaims& claims = GetParam().policy->claims;
  const PauseResult result = run(GetParam(), 1, 1);
  expect_complete(result);
  EXPECT_EQ(result.mutator_bytes, kBytes) << "or mutators take a lock that no drain holds";
  for (const double over : result.drain_over_ns) {
    if (claims.empties_in_pause || claims.frees_after_grace) {
      EXPECT_EQ(over, 0);
    } else {
      EXPECT_GT(over, 0);
    }
  }
  uint64_t peak = 0;
  double last = -1;
  for (const auto& [when, bytes] : result.held) {
    EXPECT_GE(when, last) << "held bytes are told in the order of time";
    last = when;
    peak = std::max(peak, bytes);
  }
  if (claims.frees_after_grace) {
    EXPECT_EQ(peak, 0u) << "one marker: its grace is over when its job is";
  } else if (claims.defers_shrunk) {
    EXPECT_EQ(peak, kStacks * kBytes) << "every goroutine is shrunk, so every stack waits";
    EXPECT_GT(result.held.size(), 50u) << "they are counted as the mark goes on";
  }
  EXPECT_EQ(result.held.back().second, 0u) << "all is given back in the end";
}

INSTANTIATE_TEST_SUITE_P(Variants, PauseStudyTest, testing::ValuesIn(all_variants({})), [](const auto& variant) {
  std::string name = std::string(variant.param.policy->name) + "_" + variant.param.name;
  for (char& letter : name) {
    if (!std::isalnum(static_cast<unsigned char>(letter))) letter = '_';
  }
  return name;
});

TEST(PauseStudyTest, MoreMutatorsThanCoresAndSeveralMarkers) {
  expect_complete(run(all_variants({}).back(), 3, 2));
}

TEST(PauseStudyTest, WatchedSpansAreFreedInTheMarkByTheControlAlone) {
  const auto freed_in = [](const char* policy, const std::string& phase) {
    const PauseResult result = run_pause_study({.variant = all_variants({policy}).front(),
                                                .stacks = kStacks,
                                                .bytes = kBytes,
                                                .cycles = 2,
                                                .watched_spans = 16});
    EXPECT_EQ(result.timeline.offsets.size(), 16u);
    EXPECT_EQ(result.timeline.states.size(), result.timeline.moments.size());
    EXPECT_EQ(result.timeline.states.front(), std::string(16, 'S'));
    EXPECT_NE(result.timeline.states.back(), std::string(16, 'S'));
    bool freed = false;
    for (size_t i = 0; i < result.timeline.states.size(); ++i) {
      freed = freed || (result.timeline.moments[i].second == phase &&
                        result.timeline.states[i].find_first_not_of('S') != std::string::npos);
    }
    return freed;
  };
  EXPECT_TRUE(freed_in("immediate", "mark"));
  EXPECT_FALSE(freed_in("serial", "mark"));
  EXPECT_TRUE(freed_in("serial", "drained"));
  EXPECT_FALSE(freed_in("after-restart", "drained"));
}

// First touches take longer than all else that a mark does with a stack, and are no policy's doing.
// A sanitizer's own memory is touched, too: in an aged world and in a new one alike, so that what is left is the
// stacks'.
TEST(PauseStudyTest, TheFirstMeasuredMarkTouchesNoNewPages) {
  constexpr size_t kMany = 4096;
  const auto faults = [](int ageing) {
    const PauseResult result = run_pause_study({.variant = all_variants({"serial"}).front(),
                                                .stacks = kMany,
                                                .bytes = kBytes,
                                                .ageing = ageing,
                                                .cycles = 1,
                                                .hiccup_ns = 0});
    return result.mark_faults.front();
  };
  constexpr double kHalf = kMany * 0.5;
  EXPECT_LT(faults(1) + kHalf, faults(0)) << "each shrunk stack has a page that was never touched";
}

TEST(PauseStudyTest, EndsEarlyWithItsLastCycleWatchedWhenItsTimeIsUp) {
  const PauseResult result = run_pause_study({.variant = all_variants({"serial"}).front(),
                                              .stacks = kStacks,
                                              .bytes = kBytes,
                                              .cycles = 50,
                                              .least_cycles = 2,
                                              .until_ns = 0});
  EXPECT_EQ(result.splits.size(), 2u);
  EXPECT_GT(result.held.size(), 50u) << "the last cycle is the one that is watched";
}

TEST(StallList, MergesWhatTouchesAndForgetsTheShortOnesWhenFull) {
  StallList stalls;
  stalls.note(100'000, 999);
  EXPECT_TRUE(stalls.since(0).empty()) << "too short";
  stalls.note(200'000, 2'000);
  stalls.note(202'100, 3'000);
  EXPECT_EQ(stalls.since(100'000), (std::vector<std::pair<double, double>>{{100'000, 5'100}}));
  for (int64_t i = 0; i < 3'000; ++i) stalls.note(1'000'000 + i * 100'000, i == 7 ? 50'000 : 1'500);
  EXPECT_GT(stalls.from_ns(), 1'500);
  const auto kept = stalls.since(0);
  EXPECT_EQ(kept, (std::vector<std::pair<double, double>>{{200'000, 5'100}, {1'700'000, 50'000}}));
}

}  // namespace
}  // namespace stackdrain
