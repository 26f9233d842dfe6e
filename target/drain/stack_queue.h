// StackQueue: the seed's deferred set: an intrusive LIFO whose links lie in the dead stacks' own first two words.
//
//   head ─▶ [next lo | bytes] ─▶ [next lo | bytes] ─▶ 0        tail_: the first one pushed, so that a splice is O(1)
//
// Costs one write to each dead stack at push (a cold line, maybe an untouched page) and one dependent load each
// at pop. Not locked: its owner's lock guards it. Source: Go commit 91e8554b8b, in our own words.
#pragma once

#include <cstddef>
#include <cstdint>

#include "target/any_pool.h"
#include "target/defects.h"
#include "target/page_heap.h"
#include "target/shared.h"
#include "target/stack.h"
#include "target/stack_cache.h"

namespace stackdrain {

// The second word of a queued stack: its size in bytes.
inline size_t& queued_bytes_of(uintptr_t lo) {
  return *reinterpret_cast<size_t*>(lo + sizeof(uintptr_t));
}

class StackQueue {
 public:
  bool empty() const { return head_ == 0; }
  size_t count() const { return count_; }
  size_t bytes() const { return bytes_; }
  uintptr_t head() const { return head_; }
  void clear() { *this = {}; }

  void push(Stack stack) {
    shared_write(head_);
    link_of(stack.lo) = head_;
    queued_bytes_of(stack.lo) = planted(Defect::kQ8WrongSizeInNode) ? stack.bytes() / 2 : stack.bytes();
    if (planted(Defect::kQ11LateWriteOverLinks)) queued_bytes_of(stack.lo) = ~size_t{0};
    if (head_ == 0) tail_ = stack.lo;
    head_ = stack.lo;
    ++count_;
    bytes_ += stack.bytes();
  }

  // The last one pushed; the queue must not be empty. Its link is read before it is handed out (C5).
  Stack pop() {
    shared_write(head_);
    const Stack stack{head_, head_ + queued_bytes_of(head_)};
    head_ = link_of(head_);
    --count_;
    bytes_ -= stack.bytes();
    return stack;
  }

  // The one that pop() takes next; the queue must not be empty.
  // not reached by programs: the planted defects Q1 and Q3 alone ask
  Stack front() const { return {head_, head_ + queued_bytes_of(head_)}; }

  // Detaches the last `count` pushed (0 < count < count()), walking that many links.
  StackQueue split(size_t count) {
    shared_write(head_);
    StackQueue front = *this;
    size_t front_bytes = 0;
    uintptr_t lo = head_;
    for (size_t i = 1; i < count; ++i) {
      front_bytes += queued_bytes_of(lo);
      lo = link_of(lo);
    }
    front_bytes += queued_bytes_of(lo);
    head_ = link_of(lo);
    link_of(lo) = 0;
    front.tail_ = lo;
    front.count_ = count;
    front.bytes_ = front_bytes;
    count_ -= count;
    bytes_ -= front_bytes;
    return front;
  }

  // Takes over all of `other` in O(1), behind what is here.
  void splice(StackQueue& other) {
    shared_write(head_);
    shared_write(other.head_);
    if (other.empty()) return;
    if (empty()) {
      head_ = other.head_;
    } else {
      link_of(tail_) = other.head_;
    }
    tail_ = other.tail_;
    count_ += other.count_;
    bytes_ += other.bytes_;
    other.clear();
  }

  // Adds what is queued to a pool's accounts: given back by its owner, and held.
  void count_into(PoolStats& stats) const;
  // Tells the visitor every queued stack; stops at the first link that leaves the heap or closes a cycle.
  void walk(WalkVisitor& visitor, const PageHeap& heap) const;

 private:
  uintptr_t head_ = 0;
  uintptr_t tail_ = 0;
  size_t count_ = 0;
  size_t bytes_ = 0;
};

}  // namespace stackdrain
