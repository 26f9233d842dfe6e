#include "fuzz/minimize.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "fuzz/program.h"

namespace stackdrain {
namespace {

std::vector<uint8_t> program_of(std::string_view text) {
  std::vector<uint8_t> bytes;
  const auto error = parse_text(text, bytes);
  EXPECT_FALSE(error.has_value()) << (error ? error->message : "");
  return bytes;
}

bool has(ProgramView program, Op op) {
  for (size_t i = 0; i < program.size(); ++i) {
    if (program[i].op() == op) return true;
  }
  return false;
}

// "Fails" when a spawn comes before a shrink, whatever is around and between.
bool spawn_then_shrink(ProgramView program) {
  size_t i = 0;
  while (i < program.size() && program[i].op() != Op::kSpawn) ++i;
  return i < program.size() &&
         has({program.data() + i * kBytesPerOperation, (program.size() - i) * kBytesPerOperation}, Op::kShrink);
}

TEST(Minimize, LeavesWhatMattersWithTheSimplestArguments) {
  const std::vector<uint8_t> program =
      program_of("release\nspawn g7 64K\nproc p1\ngc-begin 2\nflush p0\nshrink m1 g7\ngc-end\nrestart\ndrain 3");
  const Minimized smaller = minimize({program.data(), program.size()}, spawn_then_shrink);
  EXPECT_TRUE(smaller.complete);
  EXPECT_EQ(smaller.program, program_of("spawn g0 2K\nshrink m0 g0"));
}

TEST(Minimize, TheSameAgain) {
  const std::vector<uint8_t> program = program_of("spawn g3 8K\nspawn g4 8K\nshrink m0 g3\nshrink m0 g4");
  const ProgramView view(program.data(), program.size());
  EXPECT_EQ(minimize(view, spawn_then_shrink).program, minimize(view, spawn_then_shrink).program);
}

TEST(Minimize, EndsWhenItsTriesAreUsedUp) {
  const std::vector<uint8_t> program = program_of("spawn g3 8K\nrelease\nrelease\nshrink m0 g3");
  const Minimized smaller = minimize({program.data(), program.size()}, spawn_then_shrink, 2);
  EXPECT_FALSE(smaller.complete);
  EXPECT_LE(smaller.tries, 2u);
  EXPECT_TRUE(spawn_then_shrink({smaller.program.data(), smaller.program.size()}));
}

}  // namespace
}  // namespace stackdrain
