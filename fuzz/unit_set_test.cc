#include "fuzz/unit_set.h"

#include <gtest/gtest.h>

namespace stackdrain {
namespace {

TEST(UnitSet, RangesWithinAndAcrossWords) {
  UnitSet<256> set;
  set.add(60, 8);
  set.add(128, 64);
  EXPECT_FALSE(set.has(59));
  EXPECT_TRUE(set.has(60));
  EXPECT_TRUE(set.has(67));
  EXPECT_FALSE(set.has(68));
  EXPECT_EQ(set.count(0, 256), 72U);
  EXPECT_EQ(set.count(63, 2), 2U);
  EXPECT_EQ(set.count(66, 70), 10U);
}

TEST(UnitSet, FindsTheLowest) {
  UnitSet<256> set;
  set.add(65, 2);
  EXPECT_EQ(set.first_of(0, 256), 65U);
  EXPECT_EQ(set.first_of(66, 10), 66U);
  EXPECT_EQ(set.first_of(67, 10), 77U);
  EXPECT_EQ(set.first_of(0, 65), 65U);  // none
  EXPECT_EQ(set.first_not_of(65, 3), 67U);
  EXPECT_EQ(set.first_not_of(65, 2), 67U);  // none
  EXPECT_EQ(set.first_not_of(64, 2), 64U);
}

TEST(UnitSet, AnEmptyRangeHasNothing) {
  UnitSet<128> set;
  set.add(5);
  set.add(5, 0);
  EXPECT_EQ(set.count(0, 128), 1U);
  EXPECT_EQ(set.first_of(5, 0), 5U);
  EXPECT_EQ(set.first_not_of(128, 0), 128U);
}

TEST(UnitSet, TakesInARangeThatIsNewOrNothing) {
  UnitSet<256> set;
  EXPECT_TRUE(set.add_new(60, 4));    // up to the end of a word
  EXPECT_TRUE(set.add_new(100, 64));  // over two
  EXPECT_TRUE(set.add_new(192, 64));  // all of one
  EXPECT_FALSE(set.add_new(50, 11));
  EXPECT_FALSE(set.add_new(163, 8));
  EXPECT_FALSE(set.add_new(64, 100));
  EXPECT_TRUE(set.add_new(64, 36));
  EXPECT_TRUE(set.add_new(7, 0));
  EXPECT_EQ(set.count(0, 256), 4U + 64U + 64U + 36U);
}

TEST(UnitSet, ForgetsWhatItIsTold) {
  UnitSet<256> set;
  set.add(0, 100);
  set.clear(100);
  EXPECT_EQ(set.count(0, 256), 0U);
}

}  // namespace
}  // namespace stackdrain
