#include "fuzz/minimize.h"

#include <gtest/gtest.h>

#include <random>

#include "fuzz/probe.h"
#include "fuzz/signature.h"
#include "fuzz/testing.h"
#include "target/defects.h"

namespace stackdrain {
namespace {

std::string text_of(const std::vector<uint8_t>& bytes) {
  return to_text({bytes.data(), bytes.size()});
}

bool has(ProgramView program, Op op) {
  for (size_t i = 0; i < program.size(); ++i) {
    if (program[i].op() == op && !program[i].reserved()) return true;
  }
  return false;
}

TEST(Minimize, FewestOperationsThenSimplestArguments) {
  const std::vector<uint8_t> bytes = parsed(
      "spawn g3 64K\nexit g3\nblock g9 send\nspawn g7 8K\nheap-alloc h5 9 zeroed\nwake g1\nheap-free h5\nrelease\n");
  const auto same = [](ProgramView program) { return has(program, Op::kBlock) && has(program, Op::kHeapAlloc); };
  const Minimized result = minimize({bytes.data(), bytes.size()}, same);
  EXPECT_EQ(text_of(result.program), "block g0 recv\nheap-alloc h0 1 dirty\n");
  EXPECT_TRUE(result.complete);
}

TEST(Minimize, AnArgumentThatMattersStays) {
  const std::vector<uint8_t> bytes = parsed("nop\nreturn g0 40\nreserved 50 1023\n");
  const auto same = [](ProgramView program) {
    for (size_t i = 0; i < program.size(); ++i) {
      if (program[i].op() == Op::kReturn && program[i].arg(1) >= 23) return true;
    }
    return false;
  };
  EXPECT_EQ(text_of(minimize({bytes.data(), bytes.size()}, same).program), "return g0 24\n");
}

// Two that are only needed for each other go together.
TEST(Minimize, PairsGo) {
  const std::vector<uint8_t> bytes = parsed("gc-begin 1\nnop\nrestart\nspawn g0 2K\n");
  const auto same = [](ProgramView program) {
    return has(program, Op::kGcBegin) == has(program, Op::kRestart) && has(program, Op::kSpawn);
  };
  EXPECT_EQ(text_of(minimize({bytes.data(), bytes.size()}, same).program), "spawn g0 2K\n");
}

TEST(Minimize, StopsWhenTheTriesAreUsedUp) {
  const std::vector<uint8_t> bytes = parsed("nop\nnop\nnop\nnop\nspawn g0 2K\n");
  size_t tries = 0;
  const auto same = [&](ProgramView program) {
    ++tries;
    return has(program, Op::kSpawn);
  };
  const Minimized result = minimize({bytes.data(), bytes.size()}, same, 3);
  EXPECT_FALSE(result.complete);
  EXPECT_EQ(tries, 3u);
  EXPECT_TRUE(same({result.program.data(), result.program.size()}));
}

// Random programs with the race in them come down to one program of five operations, each time.
TEST(Minimize, TheRace) {
  const PolicyRow& policy = *find_policy("immediate");
  std::mt19937 random(1);
  for (int round = 0; round < 3; ++round) {
    std::vector<uint8_t> bytes = parsed("spawn g4 16K\nblock g4 select\n");
    for (int i = 0; i < 20; ++i) {
      const std::vector<uint8_t> more = parsed("call g" + std::to_string(random() % 16) + " 256\n");
      bytes.insert(bytes.end(), more.begin(), more.end());
    }
    const std::vector<uint8_t> race = parsed("gc-begin 3\nload m2 g4 elem\nshrink m1 g4\nresolve m2\n");
    bytes.insert(bytes.end(), race.begin(), race.end());
    const Probed wanted = probe(walking_machine(), {bytes.data(), bytes.size()}, &policy);
    EXPECT_EQ(wanted.signature, "A3@shrink/elem");
    const auto same = [&](ProgramView program) { return probe(walking_machine(), program, &policy) == wanted; };
    const Minimized result = minimize({bytes.data(), bytes.size()}, same);
    EXPECT_EQ(text_of(result.program), "spawn g0 16K\nblock g0 recv\ngc-begin 2\nload m0 g0 elem\nshrink m1 g0\n");
  }
}

TEST(Probe, SaysWhatItComesTo) {
  const std::vector<uint8_t> bytes = parsed("spawn g1 16K\nblock g1 recv\ngc-begin 2\nload m0 g1 elem\n");
  const ProgramView program(bytes.data(), bytes.size());
  EXPECT_EQ(probe(walking_machine(), program, find_policy("serial")), Probed{});
  const Probed wanted = {.signature = "A3@shrink/elem", .at_end = true};
  EXPECT_EQ(probe(walking_machine(), program, find_policy("immediate")), wanted);
  EXPECT_EQ(probe(walking_machine(), program, nullptr), Probed{});
}

// Fails a check of the pool's in the middle of a run.
class Breaks final : public MachineObserver {
 public:
  void operation(size_t index, Operation, bool, const Outcome&) override {
    STACKDRAIN_CHECK(index != 1, "for the test");
  }
};

TEST(Probe, AnEndOfTheProcessIsTold) {
  const std::vector<uint8_t> bytes = parsed("nop\nspawn g0 4K\nnop\n");
  const ProgramView program(bytes.data(), bytes.size());
  const std::string said = said_by(walking_machine(), [&](std::FILE* out) {
    std::fputs("before\n", out);
    Breaks breaks;
    walking_machine().run(program, *find_policy("serial"), &breaks);
  });
  EXPECT_TRUE(said.starts_with("before\npolicy serial stopped by the pool's own assertion at operation 1 of 3"))
      << said;
  EXPECT_NE(said.find("signature: stop@spawn\n"), std::string::npos) << said;
}

#if STACKDRAIN_DEFECTS
// The pool's own assertion, or ASan before it, ends the process that probes, and no other.
TEST(Probe, AnEndOfTheProcessIsAnAnswer) {
  planted_defect = Defect::kQ3DrainedTwice;
  const std::vector<uint8_t> bytes = parsed("spawn g0 4K\ngc-begin 1\nshrink m0 g0\ngc-end\nrestart\n");
  const Probed probed = probe(walking_machine(), {bytes.data(), bytes.size()}, find_policy("serial"));
  planted_defect = Defect::kNone;
  EXPECT_EQ(probed.signature, asan_enabled ? "stop" : "stop@gc-end");
}
#endif

}  // namespace
}  // namespace stackdrain
