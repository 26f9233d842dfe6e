// What needs yield points: compiled where they are (machine.cmake).
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "fuzz/schedule_testing.h"
#include "target/defects.h"

namespace stackdrain {
namespace {

TEST(Schedule, ReplaysExactly) {
  const std::vector<uint8_t> input = input_of(kSeedRace, {to(1, 3), to(0, 1), to(2, 0), to(1, 5)});
  const ScheduleVerdict first = run(input, "serial");
  const std::vector<ScheduleStep> once = steps();
  run(input_of("spawn g0 2K\n"), "bitmap");
  const ScheduleVerdict second = run(input, "serial");
  EXPECT_EQ(first.steps, second.steps);
  ASSERT_EQ(once.size(), steps().size());
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_EQ(once[i].actor, steps()[i].actor);
    EXPECT_EQ(once[i].point, steps()[i].point);
  }
}

// Without a schedule operations do not overlap; a byte of one makes them.
TEST(Schedule, BytesInterruptOperations) {
  constexpr std::string_view kTwo =
      "world seed orders=3 locks=each stopped procs=2 arena=1M hold=whole\nspawn g0 2K\nproc p1\nspawn g1 2K\n";
  EXPECT_EQ(run(input_of(kTwo), "serial").switches, 0u);
  EXPECT_EQ(run(input_of(kTwo, {to(0, 1), to(1, 0)}), "serial").switches, 1u);
}

TEST(Schedule, PrioritiesChooseWhoRunsFirst) {
  constexpr std::string_view kTwo =
      "world seed orders=3 locks=each stopped procs=2 arena=1M hold=whole\nspawn g0 2K\nproc p1\nspawn g1 2K\n";
  run(input_of(kTwo, {1, 1, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 40}, true), "serial");
  EXPECT_EQ(kActorNames[steps()[0].actor], "p1");
  run(input_of(kTwo, {1, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 40}, true), "serial");
  EXPECT_EQ(kActorNames[steps()[0].actor], "p0");
}

// Two processors that refill from one order: the second waits for the lock, and both get their stacks.
TEST(Schedule, WaitsForALock) {
  constexpr std::string_view kTwo =
      "world seed orders=3 locks=one stopped procs=2 arena=1M hold=whole\n"
      "inside pool-lock 2\n"
      "spawn g0 2K\n"
      "proc p1\n"
      "spawn g1 2K\n";
  const ScheduleVerdict verdict = run(input_of(kTwo), "serial");
  EXPECT_FALSE(verdict.violated) << verdict.violation.message.data();
  EXPECT_EQ(verdict.switches, 1u);
}

#if STACKDRAIN_DEFECTS
class Planted {
 public:
  explicit Planted(Defect defect) { planted_defect = defect; }
  ~Planted() { planted_defect = Defect::kNone; }
};

TEST(Schedule, DeadlockIsReportedWithWhoWaitsForWhom) {
  const Planted planted(Defect::kQ9LockHeldIntoFree);
  const ScheduleVerdict verdict = run(input_of("spawn g0 4K\ngc-begin 1\ngc-end\nrestart\ndrain 0\n"), "after-restart");
  ASSERT_TRUE(verdict.violated);
  EXPECT_EQ(id_of(verdict.violation.invariant), "F1");
  // What was cut short in the middle of a lock leaves nothing behind.
  planted_defect = Defect::kNone;
  EXPECT_FALSE(run(input_of(kSeedRace), "after-restart").violated);
}
#endif

#if STACKDRAIN_DEFECTS
// Nothing went wrong in this order; the two sides are named.
TEST(Schedule, ARaceIsReportedWithBothSides) {
  const Planted planted(Defect::kQ2LostPush);
  const ScheduleVerdict verdict = run(input_of("spawn g0 16K\n"
                                               "spawn g1 16K\n"
                                               "gc-begin 2\n"
                                               "shrink m0 g0\n"
                                               "shrink m1 g1\n"),
                                      "serial");
  ASSERT_TRUE(verdict.violated);
  EXPECT_EQ(id_of(verdict.violation.invariant), "F8");
  EXPECT_NE(std::string(verdict.violation.message.data()).find("head_without_lock"), std::string::npos);
  EXPECT_NE(std::string(verdict.violation.message.data()).find("m0"), std::string::npos);
}

// The order of the stores is right, and no x86 ever shows it: only the store buffer does.
TEST(Schedule, AStateThatIsStoredRelaxedIsSeenWhereMemoryIsWeak) {
  const std::vector<uint8_t> strong = input_of("spawn g0 32K\nlook\n", {to(0, 0)});
  std::vector<uint8_t> weak = strong;
  weak[0] |= 2;
  const auto seen = [](std::vector<uint8_t> input) {
    for (unsigned points = 0; points < 32; ++points) {
      // p0 runs that far, then the watcher looks while some of the stores are visible.
      for (unsigned visible = 0; visible < 32; ++visible) {
        input[1] = 3;
        input.resize(kScheduleHeader + 4);
        input.push_back(to(0, 31));
        input.push_back(to(0, points));
        input.push_back(to(1, visible));
        if (run(input, "serial").violated) return true;
      }
    }
    return false;
  };
  EXPECT_FALSE(seen(weak));
  const Planted planted(Defect::kStateStoredRelaxed);
  EXPECT_FALSE(seen(strong));
  ASSERT_TRUE(seen(weak));
  EXPECT_EQ(id_of(scheduler().verdict().violation.invariant), "A8");
}

TEST(Schedule, AStateThatIsPublishedEarlyIsSeen) {
  constexpr std::string_view kLook = "inside issue 1\nspawn g0 2K\nlook\n";
  EXPECT_FALSE(run(input_of(kLook), "serial").violated);
  const Planted planted(Defect::kStatePublishedEarly);
  const ScheduleVerdict verdict = run(input_of(kLook), "serial");
  ASSERT_TRUE(verdict.violated);
  EXPECT_EQ(id_of(verdict.violation.invariant), "A8");
}
#endif

}  // namespace
}  // namespace stackdrain
