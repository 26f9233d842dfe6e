#include "fuzz/machine.h"

#include <gtest/gtest.h>

#include <random>

#include "fuzz/mutator.h"
#include "fuzz/testing.h"
#include "target/defects.h"

namespace stackdrain {
namespace {

Verdict run(std::string_view text, std::string_view policy) {
  const std::vector<uint8_t> bytes = parsed(text);
  return walking_machine().run({bytes.data(), bytes.size()}, *find_policy(policy));
}

std::vector<uint8_t> random_program(uint32_t seed, size_t operations) {
  std::mt19937 random(seed);
  std::vector<Operation> program(operations);
  for (Operation& operation : program) {
    const auto code = static_cast<uint32_t>(random() % kOperations.size());
    operation = {static_cast<uint8_t>(code), static_cast<uint16_t>(random() & 0x3ff)};
  }
  return encoded(program);
}

std::string verdict_text(const Verdict& verdict) {
  return verdict.violated ? std::string(id_of(verdict.violation.invariant)) + " at " + std::to_string(verdict.index) +
                                ": " + verdict.violation.message.data()
                          : "pass";
}

constexpr std::string_view kRace =
    "world seed orders=4 locks=one stopped procs=1 arena=1M hold=whole\n"
    "spawn g1 16K\nblock g1 recv\ngc-begin 2\nload m0 g1 elem\nshrink m1 g1\nresolve m0\ngc-end\nrestart\ndrain 0\n";

TEST(Machine, TheRaceIsReportedUnderImmediateOnly) {
  for (const PolicyRow& policy : policies()) {
    const Verdict verdict = run(kRace, policy.name);
    EXPECT_EQ(verdict.violated, !policy.claims.sound) << policy.name << ": " << verdict_text(verdict);
    if (!verdict.violated) continue;
    EXPECT_EQ(id_of(verdict.violation.invariant), "A3");
    EXPECT_EQ(verdict.index, 5u);
    EXPECT_NE(std::string_view(verdict.violation.message.data()).find("marker m0 holds"), std::string_view::npos);
  }
}

// The first word of the arena that is not zero, or one that ASan would let be used; 0 if there is none.
#if defined(__clang__)
__attribute__((no_sanitize("address")))
#elif defined(__GNUC__)
__attribute__((no_sanitize_address))
#endif
uintptr_t
first_left_behind(uintptr_t base, size_t bytes, size_t mapped_once) {
  for (uintptr_t at = base; at < base + bytes; at += sizeof(uint64_t)) {
    if (*reinterpret_cast<const volatile uint64_t*>(at) != 0) return at;
    if (asan_enabled && at < base + mapped_once && !asan_is_poisoned(at)) return at;
  }
  return 0;
}

// A reset clears what was noted as written to and nothing else, so that has to be all of it.
TEST(Machine, AResetLeavesTheArenaZeroAndPoisoned) {
  constexpr size_t kArena = size_t{8} << 20;
  std::vector<uint8_t> program(128);
  for (const PolicyRow& policy : policies()) {
    for (uint32_t seed = 1; seed <= 4; ++seed) {
      size_t size = 0;
      for (uint32_t turn = 0; turn < 64; ++turn) {
        size = mutate_program(program.data(), size, program.size(), seed * 4096 + turn, nullptr);
      }
      walking_machine().run({program.data(), size}, policy);
      const AnyPool& pool = *walking_machine().pool();
      const size_t mapped = pool.arena_mapped();
      walking_machine().run({nullptr, 0}, policy);
      const uintptr_t left = first_left_behind(pool.arena_base(), kArena, mapped);
      ASSERT_EQ(left, 0u) << policy.name << ", seed " << seed << ": +" << left - pool.arena_base();
    }
  }
}

// The deterministic script: six places of RESOLVE, last in its span or not, either neighbour free or not. Only the
// immediate policy, with RESOLVE after the free, with the last stack of the span, may report.
TEST(Machine, EveryPlaceOfResolve) {
#if STACKDRAIN_YIELDS
  const std::string_view places[] = {"alloc", "adjust", "copy", "swap", "free", ""};
  for (const PolicyRow& policy : policies()) {
    for (const std::string_view place : places) {
      for (const bool last : {true, false}) {
        for (const bool neighbour : {true, false}) {
          std::string text = "world seed orders=4 locks=one stopped procs=1 arena=1M hold=whole\n";
          text += neighbour ? "" : "spawn g3 64K\n";
          text += "spawn g1 16K\n";
          text += last ? "" : "spawn g2 16K\n";
          text += neighbour ? "" : "spawn g4 64K\n";
          text += "block g1 recv\ngc-begin 2\nload m0 g1 elem\n";
          text += place.empty() ? "shrink m1 g1\nresolve m0\n"
                                : "at " + std::string(place) + " 1\nshrink m1 g1\nresolve m0\n";
          const bool after_free = place == "free" || place.empty();
          const Verdict verdict = run(text, policy.name);
          EXPECT_EQ(verdict.violated, !policy.claims.sound && after_free && last)
              << policy.name << " " << place << ": " << verdict_text(verdict);
          EXPECT_EQ(verdict.no_ops, 0u);
        }
      }
    }
  }
#else
  EXPECT_EQ(run("at free 1\nnop\nnop\n", "serial").no_ops, 0u);  // without yield points they run in order
#endif
}

TEST(Machine, EachRecordKindIsARoot) {
  for (const std::string_view record : {"elem", "selectdone", "context"}) {
    const std::string text =
        "spawn g1 64K\nblock g1 select\ngc-begin 2\nload m0 g1 " + std::string(record) + "\nshrink m1 g1\nresolve m0\n";
    EXPECT_EQ(verdict_text(run(text, "serial")), "pass");
    EXPECT_EQ(id_of(run(text, "immediate").violation.invariant), "A3") << record;
  }
  for (const std::string_view record : {"panic", "defer"}) {
    const std::string text =
        "spawn g1 64K\npush g1 both\ngc-begin 2\nload m0 g1 " + std::string(record) + "\nshrink m1 g1\nresolve m0\n";
    EXPECT_EQ(verdict_text(run(text, "serial")), "pass");
    EXPECT_EQ(id_of(run(text, "immediate").violation.invariant), "A3") << record;
  }
}

TEST(Machine, SoundPoliciesPassRandomPrograms) {
  for (const PolicyRow& policy : policies()) {
    if (!policy.claims.sound) continue;
    for (uint32_t seed = 0; seed < 400; ++seed) {
      const std::vector<uint8_t> bytes = random_program(seed, 300);
      const Verdict& verdict = walking_machine().run({bytes.data(), bytes.size()}, policy);
      ASSERT_FALSE(verdict.violated) << policy.name << " seed " << seed << ": " << verdict_text(verdict) << "\n"
                                     << to_text({bytes.data(), bytes.size()});
    }
  }
}

TEST(Machine, SameInputSameResultInAnyOrder) {
  std::vector<std::string> first;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    const std::vector<uint8_t> bytes = random_program(seed, 200);
    const Verdict& verdict = walking_machine().run({bytes.data(), bytes.size()}, *find_policy("immediate"));
    first.push_back(verdict_text(verdict) + std::to_string(verdict.no_ops) + " " + std::to_string(verdict.shrinks));
  }
  for (uint32_t seed = 60; seed-- > 0;) {
    const std::vector<uint8_t> bytes = random_program(seed, 200);
    const Verdict& verdict = walking_machine().run({bytes.data(), bytes.size()}, *find_policy("immediate"));
    EXPECT_EQ(verdict_text(verdict) + std::to_string(verdict.no_ops) + " " + std::to_string(verdict.shrinks),
              first[seed]);
  }
}

#if STACKDRAIN_DEFECTS
// A violation cuts a run short in the middle of a mark. What the pool was in the midst of must not reach the next run.
TEST(Machine, ARunThatIsCutShortLeavesNothingBehind) {
  const std::string_view program = "spawn g0 16K\ngc-begin 1\nshrink m0 g0\n";
  planted_defect = Defect::kQ5DrainWhileMarking;
  EXPECT_EQ(id_of(run(program, "serial").violation.invariant), "A2");
  planted_defect = Defect::kNone;
  EXPECT_EQ(verdict_text(run(program, "serial")), "pass");
}
#endif

TEST(Machine, SenselessOperationsAreCountedNoOps) {
  const Verdict verdict =
      run("exit g1\nresolve m0\ngc-end\nrestart\nreserved 40 3\nheap-free h1\nspawn g1 2K\nspawn g1 2K\n", "serial");
  EXPECT_FALSE(verdict.violated);
  EXPECT_EQ(verdict.no_ops, 7u);
}

TEST(Machine, ExhaustedArenaIsNoViolation) {
  std::string text = "world seed orders=3 locks=one stopped procs=1 arena=1M hold=whole\n";
  for (int g = 0; g < 16; ++g) text += "spawn g" + std::to_string(g) + " 256K\n";
  const Verdict verdict = run(text, "serial");
  EXPECT_EQ(verdict_text(verdict), "pass");
  EXPECT_EQ(verdict.no_ops, 12u);  // four fit into 1 MiB
}

// A no-op changed nothing: what changed something is checked, even if it got no further.
TEST(Machine, WhatChangedSomethingIsNoNoOp) {
  const Verdict gave_back =
      run("spawn g0 2K\nexit g0\nspawn g1 256K\nspawn g2 256K\nspawn g3 256K\nspawn g0 256K\n", "serial");
  EXPECT_EQ(verdict_text(gave_back), "pass");
  EXPECT_EQ(gave_back.no_ops, 0u) << "g0 gave its 2 KiB back before it found the arena exhausted";
  const Verdict marked =
      run("spawn g0 4K\nspawn g1 4K\ngc-begin 2\nat alloc 1\nshrink m1 g1\ngc-mark m0 16\n", "serial");
  EXPECT_EQ(verdict_text(marked), "pass");
  EXPECT_EQ(marked.no_ops, 0u) << "it ran g0's job before it came to g1, which is busy";
}

TEST(Machine, NestedOperationsKeepAwayFromTheirHost) {
  // Inside g1's growth on p0: another mutator on p0 is busy, a send to the moving stack is refused.
  const Verdict verdict = run("spawn g1 2K\nspawn g2 2K\nat copy 2\ngrow g1\ngrow g2\nwake g1\n", "serial");
  EXPECT_EQ(verdict_text(verdict), "pass");
#if STACKDRAIN_YIELDS
  EXPECT_EQ(verdict.no_ops, 2u);
#endif
}

}  // namespace
}  // namespace stackdrain
