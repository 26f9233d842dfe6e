#include "fuzz/lock_graph.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace stackdrain {
namespace {

class LockGraphTest : public testing::Test {
 protected:
  // Takes the locks in that order, and gives them all back.
  void nest(std::initializer_list<int> order) {
    for (const int lock : order) graph_.acquires(&locks_[lock]);
    for (const int lock : order) graph_.releases(&locks_[lock]);
  }
  LockGraph graph_;
  int locks_[40] = {};
};

TEST_F(LockGraphTest, OneOrderHasNoCycle) {
  for (int round = 0; round < 3; ++round) {
    nest({0, 1, 2});
    nest({0, 2});
    nest({1, 2});
  }
  EXPECT_FALSE(graph_.has_cycle());
}

TEST_F(LockGraphTest, TheOtherWayRoundIsACycle) {
  nest({0, 1});
  nest({1});
  EXPECT_FALSE(graph_.has_cycle());
  nest({1, 0});
  ASSERT_TRUE(graph_.has_cycle());
  EXPECT_EQ(graph_.from(), 1u);
  EXPECT_EQ(graph_.to(), 0u);
}

TEST_F(LockGraphTest, ThreeLocksMakeACycleWithoutAnyTwo) {
  nest({0, 1});
  nest({1, 2});
  EXPECT_FALSE(graph_.has_cycle());
  nest({2, 0});
  EXPECT_TRUE(graph_.has_cycle());
}

TEST_F(LockGraphTest, AHeldLockIsToldAndNoneIsWaitedFor) {
  EXPECT_FALSE(graph_.acquires(&locks_[0])) << "there is one thread";
  EXPECT_FALSE(graph_.has_cycle());
  EXPECT_FALSE(graph_.acquires(&locks_[0])) << "it would wait for itself";
  EXPECT_TRUE(graph_.has_cycle());
  EXPECT_FALSE(graph_.releases(&locks_[0]));
  EXPECT_FALSE(graph_.releases(&locks_[0]));
}

TEST_F(LockGraphTest, AResetForgetsTheEdges) {
  nest({0, 1});
  graph_.reset();
  nest({1, 0});
  EXPECT_FALSE(graph_.has_cycle());
}

TEST_F(LockGraphTest, TheLongestHoldIsTheOutermost) {
#if STACKDRAIN_YIELDS
  graph_.acquires(&locks_[0]);
  count_work();
  graph_.acquires(&locks_[1]);
  count_work();
  graph_.releases(&locks_[1]);
  count_work();
  graph_.releases(&locks_[0]);
  EXPECT_EQ(graph_.longest_hold(), 3u);
  nest({2});
  EXPECT_EQ(graph_.longest_hold(), 3u);
  graph_.forget_holds();
  EXPECT_EQ(graph_.longest_hold(), 0u);
#endif
}

TEST_F(LockGraphTest, LocksBeyondTheTableAreNotWatched) {
  for (int lock = 1; lock < 40; ++lock) nest({0, lock});
  nest({38, 39});
  nest({39, 38});
  EXPECT_FALSE(graph_.has_cycle());
}

}  // namespace
}  // namespace stackdrain
