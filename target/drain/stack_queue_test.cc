#include "target/drain/stack_queue.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

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
    while (!queue.empty()) order.push_back(queue.pop().bytes() / 1024 - 1);
    EXPECT_EQ(queue.count(), 0u);
    EXPECT_EQ(queue.bytes(), 0u);
    return order;
  }

  std::array<std::array<uint64_t, 2>, 8> memory_{};
};

using Order = std::vector<size_t>;

TEST_F(StackQueueTest, LastInFirstOut) {
  const StackQueue queue = queue_of({0, 1, 2});
  EXPECT_EQ(queue.count(), 3u);
  EXPECT_EQ(queue.bytes(), 6u * 1024);
  EXPECT_EQ(drained(queue), (Order{2, 1, 0}));
}

TEST_F(StackQueueTest, SpliceGoesBehindWhatIsThere) {
  StackQueue front = queue_of({0, 1});
  StackQueue back = queue_of({2, 3});
  front.splice(back);
  EXPECT_TRUE(back.empty());
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
  empty.push(stack(2));
  EXPECT_EQ(drained(empty), (Order{2, 1, 0}));
}

TEST_F(StackQueueTest, SplitDetachesTheLastPushed) {
  StackQueue queue = queue_of({0, 1, 2, 3, 4});
  const StackQueue front = queue.split(2);
  EXPECT_EQ(front.count(), 2u);
  EXPECT_EQ(front.bytes(), 9u * 1024);
  EXPECT_EQ(queue.bytes(), 6u * 1024);
  EXPECT_EQ(drained(front), (Order{4, 3}));
  StackQueue other = queue_of({5});
  queue.splice(other);
  EXPECT_EQ(drained(queue), (Order{2, 1, 0, 5})) << "the tail is still the tail";
}

TEST_F(StackQueueTest, WhatASplitDetachedCanBeSplicedTo) {
  StackQueue queue = queue_of({0, 1, 2});
  StackQueue front = queue.split(1);
  front.splice(queue);
  EXPECT_EQ(drained(front), (Order{2, 1, 0}));
}

}  // namespace
}  // namespace stackdrain
