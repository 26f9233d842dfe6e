#include "fuzz/differential.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "target/defects.h"

namespace stackdrain {
namespace {

class DifferentialTest : public testing::Test {
 protected:
  const Difference& run(std::string_view text) {
    bytes_.clear();
    const auto error = parse_text(text, bytes_);
    EXPECT_FALSE(error.has_value()) << (error ? error->message : "");
    return differential().run({bytes_.data(), bytes_.size()});
  }

  // One for all tests: a machine keeps every policy's pool.
  static Differential& differential() {
    static Machine& machine = *new Machine;
    static Differential& instance = *new Differential(machine);
    return instance;
  }

  std::vector<uint8_t> bytes_;
};

TEST_F(DifferentialTest, APlainCycleIsTheSameForAll) {
  const Difference& difference =
      run("spawn g0 16K\nblock g0 select\ngc-begin 2\nload m0 g0 elem\nshrink m1 g0\ngc-end\nrestart\ndrain 0");
  EXPECT_FALSE(difference.found()) << difference.message.data();
}

// The answer to `drain` is the policy's own business, and so is what happens where memory runs out.
TEST_F(DifferentialTest, WhatMayDifferDoesNotCount) {
  const Difference& difference =
      run("world seed orders=3 locks=one stopped procs=1 arena=1M hold=each\n"
          "spawn g0 256K\nspawn g1 256K\ngc-begin 1\nshrink m0 g0\nshrink m0 g1\ngc-end\nrestart\n"
          "spawn g2 256K\nspawn g3 256K\nspawn g4 256K\ndrain 1\ndrain 1\nspawn g5 256K");
  EXPECT_FALSE(difference.found()) << difference.message.data();
}

TEST_F(DifferentialTest, RandomProgramsAreTheSameForAll) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint8_t> bytes(random() % 240);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    const Difference& difference = differential().run({bytes.data(), bytes.size()});
    ASSERT_FALSE(difference.found()) << difference.message.data() << "\n" << to_text({bytes.data(), bytes.size()});
  }
}

#if STACKDRAIN_DEFECTS
class PlantedDefect {
 public:
  explicit PlantedDefect(Defect defect) { planted_defect = defect; }
  ~PlantedDefect() { planted_defect = Defect::kNone; }
};

TEST_F(DifferentialTest, AShrinkThatDependsOnThePolicyIsFound) {
  const PlantedDefect planted(Defect::kShrinkSkippedWhileHeld);
  const Difference& difference =
      run("spawn g0 16K\nspawn g1 16K\ngc-begin 1\nshrink m0 g0\nshrink m0 g1\ngc-end\nrestart");
  ASSERT_TRUE(difference.found());
  EXPECT_FALSE(difference.by_itself);
  EXPECT_EQ(difference.index, 7u) << "seen when all is at rest";
  EXPECT_EQ(std::string_view(difference.message.data()).substr(0, 3), "g1 ");
}

// What one policy violates by itself is that policy's finding.
TEST_F(DifferentialTest, AViolationIsItsPolicys) {
  const PlantedDefect planted(Defect::kQ6OverDeferral);
  const Difference& difference = run("spawn g0 4K\ngrow g0\ngrow g0");
  ASSERT_TRUE(difference.found());
  EXPECT_TRUE(difference.by_itself);
  EXPECT_EQ(difference.right->name, "serial");
}
#endif

}  // namespace
}  // namespace stackdrain
