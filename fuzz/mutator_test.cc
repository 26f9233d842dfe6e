#include "fuzz/mutator.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

#include "fuzz/program.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

std::vector<uint8_t> mutated(std::vector<uint8_t> program, size_t max_size, uint32_t seed) {
  program.resize(max_size);
  program.resize(mutate_program(program.data(), 8, max_size, seed, nullptr));
  return program;
}

const std::vector<uint8_t> kProgram = {0x02, 0x00, 0x11, 0x00, 0x07, 0x00, 0x15, 0x00};

TEST(Mutator, SameSeedSameProgram) {
  for (uint32_t seed = 0; seed < 100; ++seed) EXPECT_EQ(mutated(kProgram, 64, seed), mutated(kProgram, 64, seed));
  EXPECT_NE(mutated(kProgram, 64, 1), mutated(kProgram, 64, 2));
}

TEST(Mutator, StaysWithinItsBounds) {
  for (uint32_t seed = 0; seed < 5000; ++seed) {
    for (const size_t max_size : {size_t{8}, size_t{9}, size_t{64}}) {
      std::vector<uint8_t> buffer(max_size);  // exactly: ASan sees what goes beyond
      std::copy(kProgram.begin(), kProgram.end(), buffer.begin());
      const size_t size = mutate_program(buffer.data(), 8, max_size, seed, nullptr);
      ASSERT_LE(size, max_size);
      ASSERT_EQ(size % kBytesPerOperation, 0u);
    }
  }
}

TEST(Mutator, BringsEveryOperationAndEveryYieldPoint) {
  std::set<uint8_t> codes;
  std::set<uint32_t> points;
  for (uint32_t seed = 0; seed < 20000; ++seed) {
    const std::vector<uint8_t> program = mutated(kProgram, 64, seed);
    const ProgramView view(program.data(), program.size());
    for (size_t i = 0; i < view.size(); ++i) {
      if (view[i].reserved()) continue;
      codes.insert(view[i].code);
      if (view[i].op() == Op::kInside) points.insert(view[i].arg(0));
    }
  }
  EXPECT_GE(codes.size(), kOperations.size() - 2) << "all but nop and at, which inside stands for";
  EXPECT_GE(points.size(), kYieldPoints.size());
}

// Of what runs first inside an operation that has just freed a span, how much is a heap-alloc, which can take it?
TEST(Mutator, WhoRunsInsideMeetsItsHostThere) {
  size_t inside = 0;
  size_t meets = 0;
  for (uint32_t seed = 0; seed < 20000; ++seed) {
    const std::vector<uint8_t> program = mutated(kProgram, 64, seed);
    const ProgramView view(program.data(), program.size());
    for (size_t i = 0; i + 2 < view.size(); ++i) {
      if (view[i].reserved() || view[i].op() != Op::kInside) continue;
      if (view[i].arg(0) != static_cast<uint32_t>(Yield::kSpanFreed) || view[i + 2].reserved()) continue;
      ++inside;
      if (view[i + 2].op() == Op::kHeapAlloc) ++meets;
    }
  }
  EXPECT_GT(inside, 100u);
  EXPECT_GT(meets * 16, inside) << "one in sixteen; of any operations it would be one in fifty";
}

TEST(Mutator, AnEmptyInputBecomesAProgram) {
  std::array<uint8_t, 64> buffer{};
  EXPECT_GE(mutate_program(buffer.data(), 0, buffer.size(), 7, nullptr), 8u);
}

TEST(Mutator, CrossesBetweenOperations) {
  const std::vector<uint8_t> first = {2, 0, 2, 0, 2, 0};
  const std::vector<uint8_t> second = {6, 0, 6, 0, 6, 0, 6};
  bool mixed = false;
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::vector<uint8_t> out(8);
    const size_t size =
        cross_programs(first.data(), first.size(), second.data(), second.size(), out.data(), out.size(), seed);
    ASSERT_LE(size, out.size());
    ASSERT_EQ(size % kBytesPerOperation, 0u);
    for (size_t i = 1; i < size; i += 2) ASSERT_EQ(out[i], 0) << "cut inside an operation";
    mixed = mixed || (size >= 4 && out[0] == 2 && out[size - 2] == 6);
  }
  EXPECT_TRUE(mixed);
}

}  // namespace
}  // namespace stackdrain
