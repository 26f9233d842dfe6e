#include "fuzz/race.h"

#include <gtest/gtest.h>

#include <memory>

namespace stackdrain {
namespace {

class RacesTest : public testing::Test {
 protected:
  void SetUp() override { races_->reset(); }
  bool touch(size_t actor, bool writes) { return races_->access(&field_, {actor, writes, Place::here()}, other_); }

  std::unique_ptr<Races> races_ = std::make_unique<Races>();
  int field_ = 0;
  int lock_ = 0;
  Access other_;
};

TEST_F(RacesTest, TwoWritesThatNothingOrdersRace) {
  EXPECT_TRUE(touch(1, true));
  EXPECT_TRUE(touch(1, true));
  EXPECT_FALSE(touch(2, true));
  EXPECT_EQ(other_.actor, 1u);
  EXPECT_TRUE(other_.writes);
}

TEST_F(RacesTest, ReadsDoNotRaceWithEachOtherButWithAWrite) {
  EXPECT_TRUE(touch(1, false));
  EXPECT_TRUE(touch(2, false));
  EXPECT_FALSE(touch(2, true));
  EXPECT_EQ(other_.actor, 1u);
  EXPECT_FALSE(other_.writes);
}

TEST_F(RacesTest, ALockOrders) {
  EXPECT_TRUE(touch(1, true));
  races_->release(1, races_->clock_of(&lock_), true);
  races_->acquire(2, races_->clock_of(&lock_));
  EXPECT_TRUE(touch(2, true));
  // What comes behind the release is not ordered by it.
  EXPECT_FALSE(touch(1, true));
}

TEST_F(RacesTest, WhatIsHandedOnOnceIsHandedOnFurther) {
  EXPECT_TRUE(touch(1, true));
  int second = 0;
  races_->release(1, races_->clock_of(&lock_), true);
  races_->acquire(2, races_->clock_of(&lock_));
  races_->release(2, races_->clock_of(&second), true);
  races_->acquire(3, races_->clock_of(&second));
  EXPECT_TRUE(touch(3, true));
}

// A store with release replaces what an earlier one handed on.
TEST_F(RacesTest, AStoreForgetsWhatWasThere) {
  EXPECT_TRUE(touch(1, true));
  races_->release(1, races_->clock_of(&lock_), false);
  races_->release(2, races_->clock_of(&lock_), false);
  races_->acquire(3, races_->clock_of(&lock_));
  EXPECT_FALSE(touch(3, true));
}

TEST_F(RacesTest, AStoppedWorldOrdersAll) {
  EXPECT_TRUE(touch(1, true));
  races_->meet();
  EXPECT_TRUE(touch(2, true));
}

TEST_F(RacesTest, ARunKnowsNothingOfTheOneBefore) {
  EXPECT_TRUE(touch(1, true));
  races_->reset();
  EXPECT_TRUE(touch(2, true));
}

}  // namespace
}  // namespace stackdrain
