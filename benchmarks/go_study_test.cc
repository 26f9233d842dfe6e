#include "benchmarks/go_study.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace stackdrain {
namespace {

TEST(GoStudy, EveryCollectionHasItsDrainUnderEachPolicy) {
  CacheFlusher flusher;
  for (const PolicyRow& policy : policies()) {
    const std::vector<double> drains =
        run_go_study({.policy = &policy, .stacks = 50, .bytes = 32768, .repetitions = 3, .cold = true}, flusher);
    ASSERT_EQ(drains.size(), 3u) << policy.name;
    for (const double ns : drains) EXPECT_GT(ns, 0) << policy.name;
  }
}

std::vector<uint32_t> count_to(size_t n) {
  std::vector<uint32_t> numbers(n);
  std::iota(numbers.begin(), numbers.end(), 0u);
  return numbers;
}

TEST(RunOrder, WhatFitsIntoTheLocalQueueRunsInOrder) {
  EXPECT_EQ(run_order(count_to(256)), count_to(256));
  EXPECT_TRUE(run_order({}).empty());
}

// 257 are one too many: 0 to 127 and 256 go to the global queue, of which one runs as the 61st and one as the 122nd.
TEST(RunOrder, AFullLocalQueueGivesItsOlderHalfAway) {
  const std::vector<uint32_t> order = run_order(count_to(257));
  EXPECT_EQ(order[0], 128u);
  EXPECT_EQ(order[59], 187u);
  EXPECT_EQ(order[60], 0u);
  EXPECT_EQ(order[61], 188u);
  EXPECT_EQ(order[121], 1u);
  EXPECT_EQ(order[129], 255u);
  EXPECT_EQ(order[130], 2u) << "the local queue is empty: half a queue comes, in order";
  EXPECT_EQ(order.back(), 256u);
}

TEST(RunOrder, EachRunsOnce) {
  for (const size_t n : {1u, 300u, 511u, 5000u}) {
    std::vector<uint32_t> order = run_order(count_to(n));
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, count_to(n)) << n;
  }
}

}  // namespace
}  // namespace stackdrain
