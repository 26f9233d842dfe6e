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

void expect_complete(const PauseResult& result) {
  EXPECT_EQ(result.splits.size(), static_cast<size_t>(kCycles));
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
    if (claims.empties_in_pause) {
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
  if (claims.defers_shrunk) {
    EXPECT_EQ(peak, kStacks * kBytes) << "every goroutine is shrunk, so every stack waits";
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

}  // namespace
}  // namespace stackdrain
