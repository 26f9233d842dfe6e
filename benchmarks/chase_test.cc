#include "benchmarks/chase.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "target/arena.h"
#include "target/drain/policies.h"
#include "target/stack_cache.h"

namespace stackdrain {
namespace {

constexpr size_t kStacks = 500;
constexpr uint64_t kPattern = 0x5ca1ab1e;

class ChaseTest : public testing::Test {
 protected:
  ChaseTest() : arena_(size_t{16} << 20), pool_(policies().front().make(arena_)), order_(kStacks) {
    for (size_t i = 0; i < kStacks; ++i) stacks_.push_back(pool_->allocate(0, kMinStackBytes));
    std::iota(order_.begin(), order_.end(), 0u);
    std::shuffle(order_.begin(), order_.end(), std::mt19937(1));
  }

  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
  std::vector<Stack> stacks_;
  std::vector<uint32_t> order_;
};

TEST_F(ChaseTest, VisitsEachStackOnceLastOneFirst) {
  std::vector<uintptr_t> visited;
  for (uintptr_t at = link_for_chase(stacks_, order_); at != 0; at = link_of(at)) {
    visited.push_back(at);
    ASSERT_LE(visited.size(), kStacks);
  }
  std::vector<uintptr_t> wanted;
  for (auto index = order_.rbegin(); index != order_.rend(); ++index) wanted.push_back(stacks_[*index].lo);
  EXPECT_EQ(visited, wanted);
}

TEST_F(ChaseTest, CountsWhatItVisits) {
  EXPECT_EQ(chase(link_for_chase(stacks_, order_)), kStacks);
  order_.resize(kStacks / 2);
  EXPECT_EQ(chase(link_for_chase(stacks_, order_)), kStacks / 2);
  order_.clear();
  EXPECT_EQ(chase(link_for_chase(stacks_, order_)), 0u);
}

TEST_F(ChaseTest, WritesNothingButTheFirstWordOfTheStacksGiven) {
  for (const Stack stack : stacks_) {
    for (uintptr_t at = stack.lo; at < stack.hi; at += sizeof(uint64_t)) *reinterpret_cast<uint64_t*>(at) = kPattern;
  }
  order_.resize(kStacks / 2);
  const uintptr_t first = link_for_chase(stacks_, order_);
  CacheFlusher().flush(stacks_, order_, true);
  chase(first);
  std::vector<bool> linked(kStacks, false);
  for (const uint32_t index : order_) linked[index] = true;
  for (size_t i = 0; i < kStacks; ++i) {
    const uintptr_t from = stacks_[i].lo + (linked[i] ? sizeof(uintptr_t) : 0);
    for (uintptr_t at = from; at < stacks_[i].hi; at += sizeof(uint64_t)) {
      ASSERT_EQ(*reinterpret_cast<uint64_t*>(at), kPattern) << "stack " << i << " at " << at - stacks_[i].lo;
    }
  }
}

}  // namespace
}  // namespace stackdrain
