#include "fuzz/schedule_picture.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace stackdrain {
namespace {

constexpr std::string_view kRace =
    "spawn g0 2K\n"
    "spawn g1 16K\n"
    "block g1 recv\n"
    "gc-begin 2\n"
    "load m0 g1 elem\n"
    "shrink m1 g1\n"
    "resolve m0\n"
    "switch 0+31 1+2 5+0\n";

std::vector<uint8_t> bytes_of(std::string_view text) {
  std::vector<uint8_t> bytes;
  EXPECT_FALSE(parse_schedule(text, bytes));
  return bytes;
}

// 0: none.
size_t line_of_error(std::string_view text) {
  std::vector<uint8_t> bytes;
  const auto error = parse_schedule(text, bytes);
  return error ? error->line : 0;
}

std::string text_of(const std::vector<uint8_t>& bytes) {
  return schedule_text({bytes.data(), bytes.size()});
}

Scheduler& scheduler() {
  static Scheduler& instance = *new Scheduler;
  return instance;
}

TEST(ScheduleText, IsReadAsItIsWritten) {
  EXPECT_EQ(text_of(bytes_of(kRace)), kRace);
  constexpr std::string_view kByPriority = "spawn g0 2K\npriorities 1 255 0\n";
  EXPECT_EQ(text_of(bytes_of(kByPriority)), kByPriority);
  constexpr std::string_view kWeak = "weak-memory\nspawn g0 2K\nswitch 1+2\n";
  EXPECT_TRUE(ScheduleInput(bytes_of(kWeak).data(), bytes_of(kWeak).size()).weak_memory);
  EXPECT_EQ(text_of(bytes_of(kWeak)), kWeak);
  constexpr std::string_view kDeep = "weak-memory deep\nspawn g0 2K\nswitch 1+2\n";
  EXPECT_TRUE(ScheduleInput(bytes_of(kDeep).data(), bytes_of(kDeep).size()).deep_buffer);
  EXPECT_EQ(text_of(bytes_of(kDeep)), kDeep);
}

TEST(ScheduleText, ErrorsNameTheLine) {
  EXPECT_EQ(line_of_error("spawn g0 2K\nswitch 8+0\n"), 2u);
  EXPECT_EQ(line_of_error("switch 1+1\nspam g0 2K\n"), 2u);
  EXPECT_EQ(line_of_error("priorities 256\n"), 1u);
}

TEST(ScheduleMinimize, TheSeedRaceIsFourOperations) {
  const PolicyRow& policy = *find_policy("immediate");
  const std::vector<uint8_t> small = minimize_schedule(scheduler(), bytes_of(kRace), policy);
  EXPECT_EQ(text_of(small), "spawn g1 16K\nblock g1 recv\ngc-begin 2\nload m0 g1 elem\n");
  EXPECT_TRUE(scheduler().run({small.data(), small.size()}, policy).violated);
}

TEST(ScheduleMinimize, ThePageHasALaneForWhoRanAndMarksTheFatalStep) {
  const PolicyRow& policy = *find_policy("immediate");
  const std::vector<uint8_t> input = bytes_of(kRace);
  scheduler().run({input.data(), input.size()}, policy);
  const std::string page = schedule_page(scheduler(), policy, "command");
  for (const char* part : {"immediate violates A3", ">p0</text>", ">m0</text>", ">m1</text>", "#c22", "switch 0+31"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(page.find(">d0</text>"), std::string::npos);
}

}  // namespace
}  // namespace stackdrain
