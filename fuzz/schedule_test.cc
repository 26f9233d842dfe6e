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

// Who is in its root job is woken, runs and waits again, each time just before the marker claims it.
TEST(Schedule, TriesThatOthersLetFailAreNoFault) {
  std::string text =
      "world seed orders=3 locks=one concurrent procs=1 arena=1M hold=whole\n"
      "spawn g0 16K\n"
      "block g0 recv\n"
      "gc-begin 1\n"
      "shrink m0 g0\n";
  for (int i = 0; i < 14; ++i) text += "wake g0\nblock g0 recv\n";
  const std::vector<uint8_t> switches = {0xf8, 0x08, 0xe8, 0x00, 0x70, 0x00, 0xc8, 0x00, 0x70, 0x00, 0xc8, 0x00,
                                         0x70, 0x00, 0xc8, 0x00, 0x70, 0x00, 0xc8, 0x00, 0x70, 0x00, 0xf8, 0xf8,
                                         0x48, 0x00, 0x70, 0x00, 0xc8, 0x00, 0x70, 0x00, 0xc8, 0x00, 0x70, 0x00};
  const ScheduleVerdict verdict = run(input_of(text, switches), "serial");
  EXPECT_FALSE(verdict.violated) << verdict.violation.message.data();
}

TEST(Schedule, ARunIsTheSameAfterOneThatWasStopped) {
  const std::vector<uint8_t> input = input_of(
      "world seed orders=3 locks=one concurrent procs=1 arena=1M hold=whole\n"
      "spawn g1 16K\n"
      "gc-begin 2\n"
      "inside claim 1\n"
      "shrink m0 g1\n"
      "call g1 128\n");
  run(input, "serial");
  const std::vector<ScheduleStep> alone = steps();
  ASSERT_TRUE(run(input_of(kSeedRace), "immediate").violated);
  run(input, "serial");
  EXPECT_EQ(steps(), alone);
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
