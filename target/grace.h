// Grace: who may still hold a raw pointer, told by readers that count.
//
// A reader is whoever keeps a pointer by value for a while: a marker between its LOAD and its RESOLVE, a processor's
// write buffer while it is not empty. Each has a count of its own, which nobody else writes:
//
//     even: quiescent, it holds nothing  ──enter──▶  odd: it may hold something  ──leave──▶  even …
//
// Whoever wants to free what nobody points at any more first makes it unreachable (no word that a reader could LOAD
// holds its address), then calls close(): the readers that are odd now are outstanding. An outstanding reader has
// passed when its count is another: it was quiescent since, and what it LOADed after that is no address of ours. When
// all have passed the grace is over, and what was unreachable at close() is held by nobody. What becomes unreachable
// later needs a close() of its own.
//
// Memory order, by edges:
//   * Either the reader sees that the address is gone, or close() sees the reader. Reader: count odd, kEnterFence, LOAD
//     of the word. Closer: word changed, …, kCloseFence, read of the count. The two fences are in one total order; if
//     the reader's is first, close() reads the odd count; if it is second, the LOAD reads the changed word. (Store
//     buffering: with anything less both may miss the other.)
//   * Before what the reader read through its pointer, the free: leave() is a release, and each read of a count an
//     acquire. enter() is a release too, because a closer may only see the count of the next time the reader entered.
//     (Relacy can't show that: it knows C++11's release sequences, which a thread's later stores belonged to.)
//
// Thread-safety: enter and leave by the reader's owner; close, over and outstanding by one at a time (a lock's holder).
// Explored with weaker orders in target/relacy/grace_relacy.cc.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "target/atomics.h"

namespace stackdrain {

struct GraceOrders {
  static constexpr auto kOwn = std::memory_order_relaxed;         // the owner reads what it wrote itself
  static constexpr auto kEnter = std::memory_order_release;       // the section before this one -> free
  static constexpr auto kEnterFence = std::memory_order_seq_cst;  // count odd | LOAD, against kCloseFence
  static constexpr auto kLeave = std::memory_order_release;       // the section -> free
  static constexpr auto kCloseFence = std::memory_order_seq_cst;  // word changed | read of the count
  static constexpr auto kSee = std::memory_order_acquire;         // ... pairs with kLeave and kEnter
};

template <class System, size_t kReaders, class Orders = GraceOrders>
class Grace {
 public:
  // Everybody is quiescent. Nobody may be at anything. From now on only the first `readers` come: each that might is a
  // cache line for close() to look at.
  void reset(size_t readers = kReaders) {
    count_ = readers;
    for (size_t reader = 0; reader < count_; ++reader) readers_[reader].count.store(0, Orders::kOwn);
    outstanding_ = {};
  }

  // Does nothing if the reader is in already.
  void enter(size_t reader) {
    auto& count = readers_[reader].count;
    const uint32_t now = count.load(Orders::kOwn);
    if ((now & 1) != 0) return;
    count.store(now + 1, Orders::kEnter);
    System::fence(Orders::kEnterFence);
  }

  // Does nothing if the reader is quiescent already.
  void leave(size_t reader) {
    auto& count = readers_[reader].count;
    const uint32_t now = count.load(Orders::kOwn);
    if ((now & 1) != 0) count.store(now + 1, Orders::kLeave);
  }

  // Begins the grace of all that is unreachable now.
  void close() {
    System::fence(Orders::kCloseFence);
    outstanding_ = {};
    for (size_t reader = 0; reader < count_; ++reader) {
      const uint32_t count = readers_[reader].count.load(Orders::kSee);
      seen_[reader] = count;
      if ((count & 1) != 0) outstanding_[reader / kBits] |= uint64_t{1} << (reader % kBits);
    }
  }

  // Is it over?
  bool over() {
    for (size_t word = 0; word < outstanding_.size(); ++word) {
      for (uint64_t left = outstanding_[word]; left != 0; left &= left - 1) {
        const size_t reader = word * kBits + static_cast<size_t>(std::countr_zero(left));
        if (!passed(reader)) return false;
        outstanding_[word] &= ~(uint64_t{1} << (reader % kBits));
      }
    }
    return true;
  }

  // Readers that have not passed yet.
  // not reached by programs: explore asks
  size_t outstanding() const {
    size_t count = 0;
    for (size_t reader = 0; reader < count_; ++reader) {
      const bool waited_for = (outstanding_[reader / kBits] >> (reader % kBits) & 1) != 0;
      count += waited_for && !passed(reader) ? 1 : 0;
    }
    return count;
  }

 private:
  static constexpr size_t kBits = 64;

  // A cache line each: a reader's count is written at its every turn.
  struct alignas(64) Reader {
    typename System::template Atomic<uint32_t> count{0};
  };

  bool passed(size_t reader) const { return readers_[reader].count.load(Orders::kSee) != seen_[reader]; }

  size_t count_ = kReaders;
  std::array<Reader, kReaders> readers_;
  std::array<uint32_t, kReaders> seen_{};                               // at close()
  std::array<uint64_t, (kReaders + kBits - 1) / kBits> outstanding_{};  // at close(), and not seen to have passed
};

}  // namespace stackdrain
