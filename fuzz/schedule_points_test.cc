// What needs yield points: compiled where they are (machine.cmake).
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/faults.h"
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
// Its span left while the shrink ran, before anybody could know of it: seen at its end, not at the next store.
TEST(Schedule, ASpanThatLeftTooEarlyIsSeenWhereItsStackWasShrunk) {
  const Planted planted(Defect::kImmediateFree);
  const ScheduleVerdict verdict =
      run(input_of("spawn g0 32K\ngc-begin 1\nshrink m0 g0\nlook\nspawn g1 32K\n"), "serial");
  ASSERT_TRUE(verdict.violated);
  EXPECT_EQ(id_of(verdict.violation.invariant), "A2");
  EXPECT_EQ(verdict.operation, 2u);
}

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

// Of a span of four pages the generation is the sixth store from the last, and is kept back all the same when the last
// one alone is seen. Not of the arena's first span: its state was stored when it was mapped, too, and what is stored
// twice in one place is seen in that order.
TEST(Schedule, ADeepBufferKeepsBackWhatManyStoresFollow) {
  const auto seen = [](std::string_view text) {
    for (unsigned points = 0; points < 32; ++points) {
      std::vector<uint8_t> input = input_of(text, {to(0, points), to(1, 1)});
      input[0] = kWeakMemory | kDeepBuffer;
      if (run(input, "serial").violated) return true;
    }
    return false;
  };
  constexpr std::string_view kTwo = "spawn g0 2K\nspawn g1 4K\nlook\n";
  EXPECT_FALSE(seen(kTwo));
  const Planted planted(Defect::kStateStoredRelaxed);
  EXPECT_TRUE(seen(kTwo));
  EXPECT_FALSE(seen("spawn g0 2K\nlook\n"));
}

// Nobody in the program looks: whoever loses the processor in between, and shows what it stored last, is looked at.
TEST(Schedule, WhatIsShownPastAnOlderStoreIsSeenWithoutALook) {
  constexpr uint8_t kDeep = kWeakMemory | kDeepBuffer;
  // The processor is lost to the watcher, who only refuses; `visible` says which of the stores are shown.
  const auto seen = [](uint8_t memory, unsigned visible) {
    for (unsigned points = 0; points < 32; ++points) {
      std::vector<uint8_t> input =
          memory == kWeakMemory ? input_of("spawn g0 32K\nrefuse 1\n", {to(0, 31), to(0, points), to(1, visible)})
                                : input_of("spawn g0 2K\nspawn g1 4K\nrefuse 1\n", {to(0, points), to(1, visible)});
      input[0] = memory;
      if (run(input, "serial").violated) return true;
    }
    return false;
  };
  const auto seen_in_five = [&] {
    for (unsigned visible = 0; visible < 32; ++visible) {
      if (seen(kWeakMemory, visible)) return true;
    }
    return false;
  };
  EXPECT_FALSE(seen(kDeep, 1));
  EXPECT_FALSE(seen_in_five());
  const Planted planted(Defect::kStateStoredRelaxed);
  ASSERT_TRUE(seen(kDeep, 1));
  EXPECT_EQ(id_of(scheduler().verdict().violation.invariant), "A8");
  EXPECT_TRUE(seen_in_five());
  EXPECT_FALSE(seen(kDeep, 0)) << "nothing was shown";
  EXPECT_FALSE(seen(0, 1)) << "memory is not weak";
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

// ---- faults ----

// A fault, a program that meets it (corpus/schedule_fuzzer has the same), where it is met, and what breaks its end.
struct Story {
  Fault fault;
  std::string_view policy;
  Defect breaks;
  std::string_view reported;
  std::string_view text;
};

constexpr Story kStories[] = {
    {Fault::kRefusedInGrow, "serial", Defect::kClaimKeptWhenRefused, "D5",
     "spawn g0 64K\n"
     "inside claim 1\n"
     "grow g0\n"
     "refuse 1\n"},
    {Fault::kRefusedInShrink, "serial", Defect::kStatusNotRestored, "D5",
     "spawn g0 128K\n"
     "block g0 recv\n"
     "gc-begin 2\n"
     "load m0 g0 elem\n"
     "inside claim 2\n"
     "shrink m1 g0\n"
     "refuse 1\n"
     "resolve m0\n"},
    {Fault::kRefusedInDrain, "after-restart", Defect::kClaimKeptWhenRefused, "D5",
     "world seed orders=3 locks=one stopped procs=1 arena=1M hold=each\n"
     "spawn g0 4K\n"
     "spawn g1 4K\n"
     "spawn g2 64K\n"
     "gc-begin 1\n"
     "shrink m0 g0\n"
     "shrink m0 g1\n"
     "gc-end\n"
     "restart\n"
     "spawn g3 128K\n"
     "inside handoff 2\n"
     "drain 3\n"
     "refuse 1\n"
     "grow g3\n"},
    {Fault::kRefusedInFlush, "serial", Defect::kClaimKeptWhenRefused, "D5",
     "world seed orders=3 locks=one stopped procs=2 arena=1M hold=whole\n"
     "spawn g0 2K\n"
     "spawn g1 128K\n"
     "inside flush-list 3\n"
     "flush p0\n"
     "proc p1\n"
     "refuse 1\n"
     "grow g1\n"},
    {Fault::kDied, "serial", Defect::kFlushOffByOne, "B5",
     "world seed orders=3 locks=one stopped procs=2 arena=1M hold=whole\n"
     "proc p1\n"
     "spawn g0 2K\n"
     "die p1\n"
     "exit g0\n"
     "proc p0\n"
     "exit g0\n"
     "gc-begin 1\n"
     "gc-end\n"
     "restart\n"
     "adopt p1\n"
     "proc p1\n"
     "spawn g1 2K\n"},
    {Fault::kAdopted, "serial", Defect::kAdoptedByTwo, "F8",
     "world seed orders=3 locks=one stopped procs=2 arena=1M hold=whole\n"
     "proc p1\n"
     "spawn g0 2K\n"
     "spawn g1 2K\n"
     "spawn g2 2K\n"
     "spawn g3 2K\n"
     "spawn g4 2K\n"
     "spawn g5 2K\n"
     "spawn g6 2K\n"
     "die p1\n"
     "inside flush-list 1\n"
     "adopt p1\n"
     "adopt p1\n"
     "proc p1\n"
     "spawn g9 2K\n"},
    {Fault::kCycleInDrain, "after-restart", Defect::kQ10BudgetNeverResumes, "C3",
     "world seed orders=3 locks=one stopped procs=1 arena=1M hold=each\n"
     "spawn g0 4K\n"
     "spawn g1 4K\n"
     "spawn g2 8K\n"
     "gc-begin 2\n"
     "gc-end\n"
     "restart\n"
     "drain 1\n"
     "gc-begin 2\n"
     "shrink m0 g2\n"
     "gc-end\n"
     "restart\n"
     "drain 1\n"
     "drain 2\n"},
    {Fault::kGrewInMark, "serial", Defect::kStatePublishedEarly, "A8",
     "spawn g0 128K\n"
     "block g0 recv\n"
     "gc-begin 2\n"
     "load m0 g0 elem\n"
     "inside issue 2\n"
     "shrink m1 g0\n"
     "look\n"
     "resolve m0\n"},
};

bool met(const ScheduleVerdict& verdict, Fault fault) {
  return (verdict.faults & bit_of(fault)) != 0;
}

TEST(ScheduleFaults, EachHasAStory) {
  for (size_t fault = 0; fault < kFaults.size(); ++fault) {
    EXPECT_TRUE(std::any_of(std::begin(kStories), std::end(kStories), [&](const Story& story) {
      return static_cast<size_t>(story.fault) == fault;
    })) << kFaults[fault].name;
  }
}

TEST(ScheduleFaults, EachIsMetAndEndsAsItMust) {
  for (const Story& story : kStories) {
    EXPECT_TRUE(met(run(input_of(story.text), story.policy), story.fault))
        << kFaults[static_cast<size_t>(story.fault)].name;
    for (const PolicyRow& policy : policies()) {
      if (!policy.claims.sound) continue;
      const ScheduleVerdict verdict = run(input_of(story.text), policy.name);
      EXPECT_FALSE(verdict.violated) << policy.name << ": " << verdict.violation.message.data();
    }
  }
}

TEST(ScheduleFaults, TheCorpusHasEach) {
  for (const Story& story : kStories) {
    const std::string name = STACKDRAIN_CORPUS "/schedule_fuzzer/fault-" +
                             std::string(kFaults[static_cast<size_t>(story.fault)].name) + ".bin";
    std::ifstream file(name, std::ios::binary);
    const std::vector<uint8_t> seed{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(seed, input_of(story.text)) << name;
  }
}

// The same programs without what brings the fault about.
TEST(ScheduleFaults, NoneIsMetWithoutItsCause) {
  for (const Story& story : kStories) {
    std::string text(story.text);
    for (const std::string_view cause : {"refuse 1\n", "die p1\n", "drain 1\ngc-begin", "spawn g0 128K\n"}) {
      if (const size_t at = text.find(cause); at != std::string::npos) text.erase(at, cause.find('\n') + 1);
    }
    EXPECT_FALSE(met(run(input_of(text), story.policy), story.fault))
        << kFaults[static_cast<size_t>(story.fault)].name << "\n"
        << text;
  }
}

#if STACKDRAIN_DEFECTS
TEST(ScheduleFaults, AnEndThatIsBrokenIsReported) {
  for (const Story& story : kStories) {
    const Planted planted(story.breaks);
    const ScheduleVerdict verdict = run(input_of(story.text), story.policy);
    EXPECT_TRUE(verdict.violated) << kFaults[static_cast<size_t>(story.fault)].name;
    EXPECT_EQ(id_of(verdict.violation.invariant), story.reported) << verdict.violation.message.data();
  }
}
#endif

// ---- waiting ----

// Three stacks of 4 KiB wait, and while a drainer frees them a mutator wants one of their order.
constexpr std::string_view kDrainBesideSpawn =
    "world seed orders=3 locks=one stopped procs=1 arena=1M hold=each\n"
    "spawn g0 4K\n"
    "spawn g1 4K\n"
    "spawn g2 4K\n"
    "gc-begin 1\n"
    "gc-end\n"
    "restart\n"
    "drain 3\n"
    "spawn g3 4K\n";

// The drain runs for some points, then the mutator until it waits; the longest wait of all these schedules.
ScheduleVerdict longest_wait(std::string_view program, std::string_view policy) {
  run(input_of(program), policy);
  const std::vector<ScheduleStep> all = steps();
  const auto drain = std::find_if(all.begin(), all.end(), [](const ScheduleStep& step) {
    return step.actor == kFirstDrainer && step.point == Point::kBegin;
  });
  const auto before = static_cast<size_t>(drain - all.begin()) / 32;
  ScheduleVerdict longest;
  for (size_t filled = before; filled < before + 2; ++filled) {
    for (unsigned points = 0; points < 32; ++points) {
      std::vector<uint8_t> schedule(filled, to(0, 31));
      schedule.insert(schedule.end(), {to(1, points), to(0, 31), to(1, 31), to(1, 31)});
      const ScheduleVerdict verdict = run(input_of(program, schedule), policy);
      if (verdict.violated) return verdict;
      if (verdict.longest_wait >= longest.longest_wait) longest = verdict;
    }
  }
  return longest;
}

TEST(ScheduleWaits, AMutatorWaitsForNoMoreOfADrainThanThePolicySays) {
  const ScheduleVerdict each = longest_wait(kDrainBesideSpawn, "after-restart");
  EXPECT_FALSE(each.violated) << each.violation.message.data();
  EXPECT_EQ(each.longest_wait, 1u);
  EXPECT_EQ(each.wait_bound, 1u);
  std::string whole(kDrainBesideSpawn);
  whole.replace(whole.find("hold=each"), 9, "hold=whole");
  const ScheduleVerdict all = longest_wait(whole, "after-restart");
  EXPECT_FALSE(all.violated) << all.violation.message.data();
  EXPECT_GE(all.longest_wait, 2u) << "under one hold somebody waits for more";
}

#if STACKDRAIN_DEFECTS
TEST(ScheduleWaits, ALockThatIsKeptWhileAMutatorWaitsIsReported) {
  const Planted planted(Defect::kLockKeptForShare);
  const ScheduleVerdict verdict = longest_wait(kDrainBesideSpawn, "after-restart");
  ASSERT_TRUE(verdict.violated);
  EXPECT_EQ(id_of(verdict.violation.invariant), "C8");
  // Whom nobody waits for is not reported here: the machine, where nobody can, holds it against the bound anyway.
  EXPECT_FALSE(run(input_of(kDrainBesideSpawn), "after-restart").violated);
}
#endif

}  // namespace
}  // namespace stackdrain
