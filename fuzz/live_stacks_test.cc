#include "fuzz/live_stacks.h"

#include <gtest/gtest.h>

namespace stackdrain {
namespace {

constexpr uintptr_t kBase = 0x100000;
using Live = LiveStacks<size_t{64} << 10, 4>;

class LiveStacksTest : public testing::TestWithParam<uintptr_t> {
 protected:
  void SetUp() override { live_.reset(GetParam()); }
  Live live_;
};

// The same answers, wherever the stacks lie.
TEST_P(LiveStacksTest, OneLiesWhereNoneLies) {
  const Stack stack{kBase + 4096, kBase + 8192};
  EXPECT_TRUE(live_.add(stack));
  EXPECT_FALSE(live_.add(stack));
  EXPECT_FALSE(live_.add({kBase, kBase + 8192}));
  EXPECT_TRUE(live_.add({kBase + 8192, kBase + 10240}));
  EXPECT_TRUE(live_.remove(stack));
  EXPECT_FALSE(live_.remove(stack));
  EXPECT_FALSE(live_.remove({kBase + 6144, kBase + 10240}));
  EXPECT_TRUE(live_.add({kBase, kBase + 8192}));
}

TEST_P(LiveStacksTest, AHalfGoesAndComesBack) {
  const Stack stack{kBase, kBase + 8192};
  const Stack lower{kBase, kBase + 4096};
  EXPECT_TRUE(live_.add(stack));
  EXPECT_TRUE(live_.remove(lower));
  EXPECT_FALSE(live_.remove(stack));
  EXPECT_TRUE(live_.add(lower));
  EXPECT_TRUE(live_.remove(stack));
  EXPECT_TRUE(live_.add(stack));
}

TEST_P(LiveStacksTest, ResetForgetsAll) {
  EXPECT_TRUE(live_.add({kBase, kBase + 2048}));
  live_.reset(GetParam());
  EXPECT_FALSE(live_.remove({kBase, kBase + 2048}));
}

INSTANTIATE_TEST_SUITE_P(InAnArenaAndAnywhere, LiveStacksTest, testing::Values(kBase, 0));

TEST(LiveStacks, AnywhereIsNotAlignedToUnits) {
  Live live;
  live.reset(0);
  EXPECT_TRUE(live.add({0x10010, 0x10810}));
  EXPECT_TRUE(live.add({0x10810, 0x11010}));
  EXPECT_FALSE(live.add({0x10800, 0x11000}));
}

}  // namespace
}  // namespace stackdrain
