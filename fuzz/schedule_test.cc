#include "fuzz/schedule.h"

#include <gtest/gtest.h>

#include <vector>

#include "fuzz/schedule_mutator.h"
#include "fuzz/schedule_testing.h"

namespace stackdrain {
namespace {

TEST(ScheduleInput, EveryByteStringHasItsParts) {
  const auto parts = [](std::vector<uint8_t> bytes) {
    const ScheduleInput input(bytes.data(), bytes.size());
    return std::vector<size_t>{input.priorities, input.program.bytes(), input.schedule.size()};
  };
  // The format is append-only: these never change.
  EXPECT_EQ(parts({}), (std::vector<size_t>{0, 0, 0}));
  EXPECT_EQ(parts({1}), (std::vector<size_t>{0, 0, 0}));
  EXPECT_EQ(parts({1, 0}), (std::vector<size_t>{1, 0, 0}));
  EXPECT_EQ(parts({0, 2, 9, 8, 7, 6, 5}), (std::vector<size_t>{0, 3, 2}));
  EXPECT_EQ(parts({2, 255, 9, 8, 7}), (std::vector<size_t>{0, 0, 3}));
}

TEST(Schedule, SeedRaceIsReportedUnderImmediateAlone) {
  const std::vector<uint8_t> input = input_of(kSeedRace);
  const ScheduleVerdict verdict = run(input, "immediate");
  ASSERT_TRUE(verdict.violated);
  EXPECT_EQ(id_of(verdict.violation.invariant), "A3");
  for (const PolicyRow& policy : policies()) {
    if (!policy.claims.sound) continue;
    EXPECT_FALSE(run(input, policy.name).violated) << policy.name;
  }
}

// Whatever the mutator makes of nothing is an input, and no sound policy is reported.
TEST(Schedule, SoundPoliciesPassWhateverRuns) {
  std::vector<uint8_t> bytes(256);
  for (const PolicyRow& policy : policies()) {
    if (!policy.claims.sound) continue;
    for (uint32_t seed = 0; seed < 20; ++seed) {
      size_t size = 0;
      for (uint32_t turn = 0; turn < 100; ++turn) {
        size = mutate_schedule(bytes.data(), size, bytes.size(), seed * 1000 + turn, nullptr);
        const ScheduleVerdict& verdict = scheduler().run({bytes.data(), size}, policy);
        ASSERT_FALSE(verdict.violated) << policy.name << " " << seed << " " << turn << ": "
                                       << verdict.violation.message.data();
      }
    }
  }
}

}  // namespace
}  // namespace stackdrain
