#include "benchmarks/go_study.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace stackdrain
