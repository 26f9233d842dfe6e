#include "fuzz/explore.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>
#include <vector>

#include "fuzz/testing.h"
#include "target/defects.h"
#include "target/testing.h"

namespace stackdrain {
namespace {

const ExploreWorld& world_named(std::string_view name) {
  for (const ExploreWorld& world : explore_worlds()) {
    if (world.name == name) return world;
  }
  ADD_FAILURE() << "no world is called " << name;
  return explore_worlds()[0];
}

Verdict run(const std::vector<Operation>& program, std::string_view policy) {
  const std::vector<uint8_t> bytes = encoded(program);
  return machine().run({bytes.data(), bytes.size()}, *find_policy(policy));
}

ExploreResult explore(const ExploreWorld& world, std::string_view policy, const ExploreLimits& limits) {
  return Explorer(machine()).run(world, *find_policy(policy), limits);
}

#if STACKDRAIN_DEFECTS
class Planted {
 public:
  explicit Planted(Defect defect) { planted_defect = defect; }
  ~Planted() { planted_defect = Defect::kNone; }
  Planted(const Planted&) = delete;
  Planted& operator=(const Planted&) = delete;
};
#endif

// ---- against every program, tried one by one ----

// Few enough letters that every program of four operations can be tried. `at` is one of them: the search makes its own.
constexpr ExploreWorld kTiny = {
    .name = "tiny",
    .summary = "",
    .world = "world seed orders=3 locks=one stopped procs=1 arena=1M hold=each",
    .goroutines = 1,
    .markers = 1,
    .alphabet =
        "spawn g0 16K\nexit g0\nblock g0 recv\ngc-begin 1\nload m0 g0 elem\nshrink m0 g0\ngc-end\nrestart\ndrain 0\n"};

// The length of the shortest program of at most `length` operations that is reported, or 0; and how many places there
// are.
struct ByHand {
  size_t shortest = 0;
  std::set<StateDigest> places;
};

ByHand try_all(const ExploreWorld& world, std::string_view policy, size_t length) {
  ByHand result;
  std::vector<std::vector<Operation>> layer = {{}};
  for (size_t n = 0; n <= length && result.shortest == 0; ++n) {
    std::vector<std::vector<Operation>> next;
    for (const std::vector<Operation>& program : layer) {
      std::vector<Operation> whole = {maker_of(world)};
      whole.insert(whole.end(), program.begin(), program.end());
      if (run(whole, policy).violated && result.shortest == 0) result.shortest = n;
      Stepper stepper(machine(), world.goroutines);
      stepper.begin(*find_policy(policy), maker_of(world));
      stepper.replay(program);
      result.places.insert(stepper.digest());
      for (const Operation letter : letters_of(world)) {
        next.push_back(program);
        next.back().push_back(letter);
      }
    }
    layer = std::move(next);
  }
  return result;
}

TEST(Explorer, SeesWhatEveryProgramSees) {
  for (const PolicyRow& policy : policies()) {
    if (!policy.claims.sound) continue;
    constexpr size_t kLength = kSlowBuild ? 3 : 4;
    const ByHand by_hand = try_all(kTiny, policy.name, kLength);
    const ExploreResult result = explore(kTiny, policy.name, {.depth = kLength});
    EXPECT_EQ(by_hand.shortest, 0u);
    EXPECT_EQ(result.total.states, by_hand.places.size()) << policy.name;
    EXPECT_EQ(result.depth, kLength);
    EXPECT_EQ(result.end, ExploreEnd::kDepth);
    EXPECT_FALSE(result.found());
  }
}

TEST(Explorer, TheControlsCounterexampleIsAShortestOne) {
  const ByHand by_hand = try_all(kTiny, "immediate", 5);
  const ExploreResult result = explore(kTiny, "immediate", {.depth = 5});
  ASSERT_TRUE(result.found());
  EXPECT_EQ(result.counterexample.program.size() - 1, by_hand.shortest);
  EXPECT_EQ(id_of(result.counterexample.violation.invariant), "A3");
  EXPECT_EQ(result.end, ExploreEnd::kCounterexample);
  EXPECT_EQ(result.depth, by_hand.shortest - 1) << "only shorter lengths are complete";
  const Verdict verdict = run(result.counterexample.program, "immediate");
  EXPECT_TRUE(verdict.violated);
}

// ---- the worlds of the table ----

TEST(Worlds, AreWellFormed) {
  std::set<std::string_view> names;
  for (const ExploreWorld& world : explore_worlds()) {
    EXPECT_TRUE(names.insert(world.name).second) << world.name;
    EXPECT_EQ(maker_of(world).op(), Op::kWorld) << world.name;
    std::set<uint16_t> letters;
    for (const Operation letter : letters_of(world)) {
      EXPECT_TRUE(letters.insert(encode_operation(letter)).second) << world.name << " has a letter twice";
      EXPECT_NE(letter.op(), Op::kAt) << "the search makes these itself";
      EXPECT_NE(letter.op(), Op::kWorld);
      EXPECT_LT(letter.goroutine().value_or(0), world.goroutines) << world.name;
    }
  }
}

TEST(Worlds, SoundPoliciesHaveNoCounterexample) {
  for (const ExploreWorld& world : explore_worlds()) {
    for (const PolicyRow& policy : policies()) {
      if (!policy.claims.sound) continue;
      const ExploreResult result = explore(world, policy.name, {.depth = kSlowBuild ? 4u : 5u});
      EXPECT_FALSE(result.found()) << world.name << " " << policy.name << ": "
                                   << result.counterexample.violation.message.data();
      EXPECT_EQ(result.end, ExploreEnd::kDepth);
    }
  }
}

TEST(Worlds, EachFindsTheControl) {
  for (const ExploreWorld& world : explore_worlds()) {
    if (world.markers < 2) continue;
    const ExploreResult result = explore(world, "immediate", {.depth = 5});
    ASSERT_TRUE(result.found()) << world.name;
    EXPECT_EQ(id_of(result.counterexample.violation.invariant), "A3") << world.name;
    EXPECT_TRUE(run(result.counterexample.program, "immediate").violated) << world.name;
  }
}

// Without merging there are far more places than states, and no fewer lengths.
TEST(Worlds, LengthsAddUp) {
  const ExploreResult result = explore(world_named("stopped"), "serial", {.depth = 3});
  ExploreLayer sum;
  for (const ExploreLayer& layer : result.layers) {
    sum.states += layer.states;
    sum.transitions += layer.transitions;
    sum.refused += layer.refused;
  }
  ASSERT_EQ(result.layers.size(), 4u);
  EXPECT_EQ(sum.states, result.total.states);
  EXPECT_EQ(sum.transitions, result.total.transitions);
  EXPECT_EQ(sum.refused, result.total.refused);
  // Each letter was tried on each state but the last length's, and was refused or not.
  const size_t letters = letters_of(world_named("stopped")).size();
  EXPECT_GE(sum.transitions + sum.refused, letters * (sum.states - result.layers[3].states));
}

#if STACKDRAIN_DEFECTS && STACKDRAIN_YIELDS
TEST(Worlds, AnOperationInsideAnotherIsFound) {
  const Planted planted(Defect::kPublishBeforeCopy);
  const ExploreResult result = explore(world_named("concurrent"), "serial", {.depth = 6});
  ASSERT_TRUE(result.found());
  const std::vector<Operation>& program = result.counterexample.program;
  ASSERT_EQ(program.size() - 1, 6u);
  EXPECT_EQ(program[4].op(), Op::kAt);
  EXPECT_EQ(program[5].op(), Op::kShrink);
  EXPECT_EQ(program[6].op(), Op::kSend);
  EXPECT_EQ(id_of(result.counterexample.violation.invariant), "D2");
  EXPECT_TRUE(run(program, "serial").violated);
}
#endif

#if STACKDRAIN_DEFECTS
TEST(Worlds, PlantedDefectsHaveShortCounterexamples) {
  struct Expected {
    Defect defect;
    std::string_view policy;
    size_t at_most;
  };
  constexpr Expected kExpected[] = {{Defect::kImmediateFree, "serial", 3},
                                    {Defect::kNeedsZeroLost, "span-after-restart", 3},
                                    {Defect::kQ10BudgetNeverResumes, "after-restart", 6},
                                    {Defect::kRootKindMissed, "serial", 4}};
  for (const Expected& expected : kExpected) {
    const Planted planted(expected.defect);
    const ExploreResult result = explore(world_named("stopped"), expected.policy, {.depth = expected.at_most});
    const std::string_view name = kDefects[static_cast<size_t>(expected.defect)].name;
    ASSERT_TRUE(result.found()) << name;
    EXPECT_TRUE(run(result.counterexample.program, expected.policy).violated) << name;
  }
}
#endif

// ---- bounds ----

TEST(Bounds, MemoryEndsTheSearchAtACompleteLength) {
  const ExploreLimits limits = {.depth = 20, .bytes = 700'000};
  const ExploreResult result = explore(world_named("caches"), "serial", limits);
  EXPECT_EQ(result.end, ExploreEnd::kMemory);
  EXPECT_LE(result.bytes, limits.bytes);
  EXPECT_EQ(result.layers.size(), result.depth + 2) << "the last length is told, and is not complete";
  EXPECT_GT(result.depth, 3u);
}

TEST(Bounds, AStopEndsTheSearch) {
  const std::atomic<bool> stop{true};
  const ExploreResult result = explore(world_named("caches"), "serial", {.depth = 20, .stop = &stop});
  EXPECT_EQ(result.end, ExploreEnd::kStopped);
  EXPECT_EQ(result.depth, 0u);
}

TEST(Bounds, TimeEndsTheSearch) {
  const ExploreResult result = explore(world_named("caches"), "serial", {.depth = 20, .seconds = 1e-9});
  EXPECT_EQ(result.end, ExploreEnd::kTime);
  EXPECT_LT(result.depth, 20u);
}

TEST(Bounds, AWorldWithoutNewStatesIsDone) {
  constexpr ExploreWorld kProcs = {.name = "procs",
                                   .summary = "",
                                   .world = "world seed orders=3 locks=one stopped procs=4 arena=1M hold=each",
                                   .goroutines = 1,
                                   .markers = 1,
                                   .alphabet = "proc p0\nproc p1\nproc p2\nproc p3\n"};
  const ExploreResult result = explore(kProcs, "serial", {.depth = 20});
  EXPECT_EQ(result.end, ExploreEnd::kClosed);
  EXPECT_EQ(result.total.states, 4u);
  EXPECT_LT(result.depth, 20u);
}

TEST(Bounds, AnExplorerCanBeUsedAgain) {
  Explorer explorer(machine());
  const ExploreWorld& world = world_named("concurrent");
  const ExploreResult first = explorer.run(world, *find_policy("serial"), {.depth = 4});
  explorer.run(world_named("caches"), *find_policy("immediate"), {.depth = 3});
  size_t told = 0;
  const ExploreResult again =
      explorer.run(world, *find_policy("serial"), {.depth = 4}, [&](size_t length, const ExploreLayer& layer) {
        EXPECT_EQ(length, ++told);
        EXPECT_EQ(layer.states, first.layers[length].states);
      });
  EXPECT_EQ(told, 4u);
  EXPECT_EQ(again.total.states, first.total.states);
  EXPECT_EQ(again.total.transitions, first.total.transitions);
}

}  // namespace
}  // namespace stackdrain
