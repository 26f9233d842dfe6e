#include "target/drain/stack_queue.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "target/testing.h"

namespace stackdrain {
namespace {

class StackQueueTest : public testing::Test {
 protected:
  // The i-th stack, of (i + 1) KiB as far as the queue knows: it only reads and writes the first two words.
  Stack stack(size_t i) {
    const auto lo = reinterpret_cast<uintptr_t>(memory_[i].data());
    return {lo, lo + (i + 1) * 1024};
  }
  StackQueue queue_of(std::initializer_list<size_t> indexes) {
    StackQueue queue;
    for (const size_t i : indexes) queue.push(stack(i));
    return queue;
  }
  std::vector<size_t> drained(StackQueue queue) {
    std::vector<size_t> order;
    while (!queue.empty()) {
      const size_t count = queue.count();
      const size_t bytes = queue.bytes();
      const Stack popped = queue.pop();
      const size_t i = popped.bytes() / 1024 - 1;
      EXPECT_EQ(popped, stack(i));
      EXPECT_EQ(queue.count(), count - 1);
      EXPECT_EQ(queue.bytes(), bytes - popped.bytes());
      order.push_back(i);
    }
    EXPECT_EQ(queue.count(), 0u);
    EXPECT_EQ(queue.bytes(), 0u);
    return order;
  }

  std::array<std::array<uint64_t, 2>, 8> memory_{};
};

using Order = std::vector<size_t>;

TEST_F(StackQueueTest, BeginsEmpty) {
  const StackQueue queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.count(), 0u);
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST_F(StackQueueTest, LastInFirstOut) {
  const StackQueue queue = queue_of({0, 1, 2});
  EXPECT_EQ(queue.count(), 3u);
  EXPECT_EQ(queue.bytes(), 6u * 1024);
  EXPECT_EQ(drained(queue), (Order{2, 1, 0}));
}

TEST_F(StackQueueTest, ClearForgetsAll) {
  StackQueue queue = queue_of({0, 1, 2});
  queue.clear();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.count(), 0u);
  EXPECT_EQ(queue.bytes(), 0u);
  queue.push(stack(3));
  EXPECT_EQ(drained(queue), Order{3});
}

TEST_F(StackQueueTest, SpliceGoesBehindWhatIsThere) {
  StackQueue front = queue_of({0, 1});
  StackQueue back = queue_of({2, 3});
  front.splice(back);
  EXPECT_TRUE(back.empty());
  EXPECT_EQ(back.count(), 0u);
  EXPECT_EQ(back.bytes(), 0u);
  EXPECT_EQ(front.count(), 4u);
  EXPECT_EQ(front.bytes(), 10u * 1024);
  StackQueue more = queue_of({4});
  front.splice(more);
  EXPECT_EQ(drained(front), (Order{1, 0, 3, 2, 4}));
}

TEST_F(StackQueueTest, SpliceOfAndIntoNothing) {
  StackQueue empty;
  StackQueue queue = queue_of({0, 1});
  queue.splice(empty);
  EXPECT_EQ(queue.count(), 2u);
  empty.splice(queue);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(empty.count(), 2u);
  EXPECT_EQ(empty.bytes(), 3u * 1024);
  empty.push(stack(2));
  EXPECT_EQ(drained(empty), (Order{2, 1, 0}));
}

TEST_F(StackQueueTest, SpliceIntoWhatWasSplicedKnowsTheTail) {
  StackQueue empty;
  StackQueue first = queue_of({0, 1});
  StackQueue second = queue_of({2});
  empty.splice(first);
  empty.splice(second);
  EXPECT_EQ(drained(empty), (Order{1, 0, 2}));
}

TEST_F(StackQueueTest, ADrainedQueueForgetsItsOldTail) {
  StackQueue queue = queue_of({0, 1});
  queue.pop();
  queue.pop();
  queue.push(stack(2));
  StackQueue other = queue_of({3});
  queue.splice(other);
  EXPECT_EQ(queue.count(), 2u);
  EXPECT_EQ(drained(queue), (Order{2, 3}));
}

TEST_F(StackQueueTest, SplitDetachesTheLastPushed) {
  StackQueue queue = queue_of({0, 1, 2, 3, 4});
  const StackQueue front = queue.split(2);
  EXPECT_EQ(front.count(), 2u);
  EXPECT_EQ(front.bytes(), 9u * 1024);
  EXPECT_EQ(queue.count(), 3u);
  EXPECT_EQ(queue.bytes(), 6u * 1024);
  EXPECT_EQ(drained(front), (Order{4, 3}));
  StackQueue other = queue_of({5});
  queue.splice(other);
  EXPECT_EQ(drained(queue), (Order{2, 1, 0, 5})) << "the tail is still the tail";
}

TEST_F(StackQueueTest, SplitOfAllButOne) {
  StackQueue queue = queue_of({0, 1, 2});
  EXPECT_EQ(drained(queue.split(2)), (Order{2, 1}));
  EXPECT_EQ(drained(queue), Order{0});
}

TEST_F(StackQueueTest, SplitInBatchesLosesNothing) {
  StackQueue queue = queue_of({0, 1, 2, 3, 4, 5, 6, 7});
  Order all;
  while (queue.count() > 3) {
    for (const size_t i : drained(queue.split(3))) all.push_back(i);
  }
  for (const size_t i : drained(queue)) all.push_back(i);
  EXPECT_EQ(all, (Order{7, 6, 5, 4, 3, 2, 1, 0}));
}

TEST_F(StackQueueTest, WhatASplitDetachedCanBeSplicedTo) {
  StackQueue queue = queue_of({0, 1, 2});
  StackQueue front = queue.split(1);
  front.splice(queue);
  EXPECT_EQ(drained(front), (Order{2, 1, 0}));
}

// A walk wants its stacks in a page heap: links that leave it are how damage shows.
class StackQueueWalkTest : public testing::Test {
 protected:
  StackQueueWalkTest() : arena_(size_t{1} << 20), heap_(arena_) {
    heap_.reset(0, kPoolSpanBytes);
    base_ = heap_.base_of(*heap_.allocate(kPoolSpanPages, {}));
    for (const size_t i : {0u, 1u, 2u}) queue_.push(stack(i));
  }

  Stack stack(size_t i) const {
    const uintptr_t lo = base_ + i * kMinStackBytes;
    return {lo, lo + kMinStackBytes};
  }
  CollectedWalk walk() const {
    struct Walkable {
      const StackQueue& queue;
      const PageHeap& heap;
      void walk(WalkVisitor& visitor) const { queue.walk(visitor, heap); }
    };
    return CollectedWalk(Walkable{queue_, heap_});
  }
  void expect_damaged() const {
    const CollectedWalk seen = walk();
    EXPECT_EQ(seen.faults, std::string(kWalkFaultNames[static_cast<size_t>(WalkFault::kDeferred)]) + "; ");
    EXPECT_LE(seen.slots.size(), queue_.count()) << "bounded, however damaged";
  }

  Arena arena_;
  PageHeap heap_;
  StackQueue queue_;
  uintptr_t base_ = 0;
};

TEST_F(StackQueueWalkTest, TellsEachStackOnceAsDeferred) {
  const CollectedWalk seen = walk();
  EXPECT_EQ(seen.faults, "");
  ASSERT_EQ(seen.slots.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(seen.slots[i].lo, stack(2 - i).lo);
    EXPECT_EQ(seen.slots[i].bytes, kMinStackBytes);
    EXPECT_EQ(seen.slots[i].place, SlotPlace::kDeferred);
    EXPECT_EQ(seen.slots[i].proc, kNoProc);
  }
}

TEST_F(StackQueueWalkTest, OfNothingTellsNothing) {
  queue_.clear();
  EXPECT_TRUE(walk().slots.empty());
  EXPECT_EQ(walk().faults, "");
}

TEST_F(StackQueueWalkTest, SeesACycle) {
  link_of(stack(0).lo) = stack(2).lo;
  expect_damaged();
}

TEST_F(StackQueueWalkTest, SeesALinkToItself) {
  link_of(stack(1).lo) = stack(1).lo;
  expect_damaged();
}

TEST_F(StackQueueWalkTest, SeesALinkOutOfTheHeap) {
  link_of(stack(1).lo) = arena_.base() - kMinStackBytes;  // the last place, so that only the bytes differ
  expect_damaged();
}

TEST_F(StackQueueWalkTest, SeesALostStack) {
  link_of(stack(1).lo) = 0;
  expect_damaged();
}

TEST_F(StackQueueWalkTest, SeesAWrongSize) {
  queued_bytes_of(stack(1).lo) = kMinStackBytes / 2;
  expect_damaged();
}

}  // namespace
}  // namespace stackdrain
