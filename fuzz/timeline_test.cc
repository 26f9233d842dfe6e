#include "fuzz/timeline.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "fuzz/timeline_html.h"

namespace stackdrain {
namespace {

Recording recorded(std::string_view text) {
  static Machine& machine = *new Machine;
  machine.walk_always(true);
  std::vector<uint8_t> bytes;
  EXPECT_FALSE(parse_text(text, bytes).has_value());
  Recording recording;
  record(machine, {bytes.data(), bytes.size()}, *find_policy("immediate"), recording);
  return recording;
}

constexpr std::string_view kRace = "spawn g0 16K\nblock g0 recv\ngc-begin 2\nload m0 g0 elem\nshrink m1 g0\nresolve m0";

TEST(Timeline, ThePictureHasTheHeldPointerAndTheFatalMoment) {
  const std::string picture = picture_of(recorded(kRace));
  EXPECT_NE(picture.find("<svg"), std::string::npos);
  EXPECT_NE(picture.find("elem of g0"), std::string::npos);
  EXPECT_NE(picture.find("A3"), std::string::npos);
}

TEST(Timeline, ARunThatPassesHasNoFatalMoment) {
  EXPECT_EQ(picture_of(recorded("spawn g0 16K\nexit g0")).find("A3"), std::string::npos);
}

TEST(Timeline, WhatIsShownIsEscaped) {
  EXPECT_EQ(escaped("<a & b>"), "&lt;a &amp; b&gt;");
}

}  // namespace
}  // namespace stackdrain
