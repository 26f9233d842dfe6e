#include "fuzz/replay.h"
#include "fuzz/lying_pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "target/params.h"

namespace stackdrain {
namespace {

// Two goroutines grow, one is shrunk in the cycle, and all but one stack are freed.
constexpr const char* kSmall =
    "dns,k,p,g,addr,a,b,c\n"
    "0,P,0,0,c000040000,32768,2048,\n"
    "1,A,0,0,c000040000,2048,,\n"
    "1,A,1,0,c000040800,2048,,\n"
    "1,P,0,1,c000048000,32768,4096,\n"
    "1,C,0,1,c000040000,2048,4096,900\n"
    "1,A,0,1,c000048000,4096,,\n"
    "1,F,0,1,c000040000,2048,,\n"
    "1,S,0,0,0,50,1,\n"
    "1,M,0,0,0,60,1,\n"
    "1,C,1,1,c000048000,4096,2048,500\n"
    "1,A,1,1,c000041000,2048,,\n"
    "1,F,1,1,c000048000,4096,,\n"
    "1,T,0,0,0,50,1,\n"
    "1,R,0,0,0,60,1,\n"
    "1,B,-,0,0,0,1,\n"
    "1,Q,-,0,c000048000,32768,4096,1\n"
    "1,E,-,0,0,9,1,\n"
    "1,F,1,1,c000040800,2048,,\n";

class ReplayTest : public testing::TestWithParam<PolicyRow> {
 protected:
  ReplayTest() : arena_(size_t{32} << 20), pool_(GetParam().make(arena_)) {}

  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
};

TEST_P(ReplayTest, CountsAreTheTraces) {
  const Trace trace = parse_trace(kSmall, "small.csv");
  const ReplayResult result = replay(trace, *pool_, go119_preset());
  EXPECT_EQ(result.violations, 0u) << result.first_violation;
  EXPECT_EQ(result.events, trace.events.size());
  EXPECT_EQ(result.allocations, 4u);
  EXPECT_EQ(result.frees, 3u);
  ASSERT_FALSE(result.cycles.empty());
  const CycleRow& cycle = result.cycles[0];
  EXPECT_EQ(cycle.allocations, 4u);
  EXPECT_EQ(cycle.frees, 2u);
  EXPECT_EQ(cycle.grows, 1u);
  EXPECT_EQ(cycle.shrinks, 1u);
  EXPECT_EQ(cycle.real_spans, 1u);
  if (GetParam().claims.defers_shrunk) {
    EXPECT_EQ(cycle.held_bytes, GetParam().claims.frees_after_grace ? 0u : 4096u);
  }
  EXPECT_EQ(result.peak_stack_bytes, 2u * kPoolSpanBytes);
}

TEST_P(ReplayTest, TheSameAgain) {
  const Trace trace = parse_trace(kSmall, "small.csv");
  const ReplayResult first = replay(trace, *pool_, seed_preset());
  const ReplayResult again = replay(trace, *pool_, seed_preset());
  EXPECT_EQ(first.allocations, again.allocations);
  EXPECT_EQ(first.peak_stack_bytes, again.peak_stack_bytes);
  ASSERT_EQ(first.cycles.size(), again.cycles.size());
  EXPECT_EQ(first.cycles[0].spans, again.cycles[0].spans);
}

INSTANTIATE_TEST_SUITE_P(Policies, ReplayTest, testing::ValuesIn(policies().begin(), policies().end()),
                         [](const auto& row) {
                           std::string name(row.param.name);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// What is said first of a pool with that lie in it.
std::string first_violation_of(const Lies& lies) {
  Arena arena(size_t{32} << 20);
  LyingPool pool(find_policy("serial")->make(arena), lies);
  const ReplayResult result = replay(parse_trace(kSmall, "small.csv"), pool, go119_preset());
  EXPECT_EQ(result.violations == 0, result.first_violation.empty());
  return result.first_violation;
}

// The second stack begins so far above the first.
std::string said_of_stacks_at(intptr_t distance) {
  Stack first;
  int issued = 0;
  const auto lie = [&](Stack stack) {
    constexpr uintptr_t kUp = 1024;
    if (++issued == 1) return first = Stack{stack.lo + kUp, stack.hi + kUp};
    const uintptr_t lo = first.lo + static_cast<uintptr_t>(distance);
    return issued == 2 ? Stack{lo, lo + stack.bytes()} : stack;
  };
  // The honest pool gets none back: it did not issue these, and would be damaged.
  return first_violation_of({.allocate = lie, .keeps_stacks = true});
}

TEST(Replay, SeesOverlappingStacks) {
  for (const intptr_t distance : {-1024, 0, 1024}) {
    const std::string said = said_of_stacks_at(distance);
    EXPECT_NE(said.find("a stack overlaps a live one"), std::string::npos) << distance << ": " << said;
  }
}

TEST(Replay, SeesShortStacks) {
  const auto halve = [](Stack stack) { return Stack{stack.lo, stack.lo + stack.bytes() / 2}; };
  const std::string said = first_violation_of({.allocate = halve});
  EXPECT_NE(said.find("a stack of the wrong size or place was issued, bytes: 1024 against 2048"), std::string::npos)
      << said;
}

TEST(Replay, SeesStacksThatAreNeverFreed) {
  const std::string said = first_violation_of({.keeps_stacks = true});
  EXPECT_NE(said.find("live stacks, by the pool and by the trace"), std::string::npos) << said;
}

TEST(ReplayAtSpeed, KeepsTheTracesTimeAndDoesTheSameUnderEveryPolicy) {
  std::string csv = kSmall;
  csv.replace(csv.find("1,S,0"), 1, "30000000");
  const Trace trace = parse_trace(csv, "slow.csv");
  EXPECT_NEAR(recorded_seconds(trace), 0.03, 0.001);
  std::vector<std::unique_ptr<Arena>> arenas;
  std::vector<std::unique_ptr<AnyPool>> pools;
  std::vector<AnyPool*> asked;
  for (const PolicyRow& policy : policies()) {
    arenas.push_back(std::make_unique<Arena>(size_t{32} << 20));
    pools.push_back(policy.make(*arenas.back()));
    asked.push_back(pools.back().get());
  }
  const std::vector<ReplayResult> results = replay_as_recorded(trace, asked, go119_preset());
  ASSERT_EQ(results.size(), policies().size());
  for (const ReplayResult& result : results) {
    EXPECT_EQ(result.violations, 0u) << result.first_violation;
    EXPECT_EQ(result.call_ns.size(), 7u) << "allocations and frees";
    EXPECT_EQ(result.pause_ns.size(), 1u);
    EXPECT_EQ(result.drain_ns.size(), 1u);
    EXPECT_GE(result.seconds, 0.03) << "a replay must not be ahead of its trace";
  }
}

}  // namespace
}  // namespace stackdrain
