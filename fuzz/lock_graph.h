// LockGraph: which lock a thread takes while it holds which others, over one program (F1).
//
//   node: a lock, numbered when it first nests       edge a -> b: b was taken while a was held
//
// A cycle of edges is a deadlock that some schedule meets, even if this one did not; a lock taken while it is held is
// the shortest of them. Plain arrays, reset in place.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "target/mutex.h"
#include "target/yield.h"

namespace stackdrain {

class LockGraph final : public LockHook {
 public:
  void reset() {
    count_ = depth_ = 0;
    cycle_ = false;
    longest_hold_ = 0;
  }
  // A lock alone is nothing to remember: it gets a number when it is taken under another, or another under it.
  // The machine's thread is the only one, so none waits.
  bool acquires(const void* mutex) override {
    if (depth_ != 0) {
      nests(mutex);
      return false;
    }
    held_[depth_++] = mutex;
    held_since_ = work_so_far();
    return false;
  }
  bool releases(const void* mutex) override {
    if (depth_ != 1 || held_[0] != mutex) {
      unnests(mutex);
      return false;
    }
    depth_ = 0;
    longest_hold_ = std::max(longest_hold_, work_so_far() - held_since_);
    return false;
  }
  // The most units of work (yield.h) between taking a lock and holding none again, since forget_holds().
  uint64_t longest_hold() const { return longest_hold_; }
  // ... but for `longest`, which is still of interest.
  void forget_holds(uint64_t longest = 0) { longest_hold_ = longest; }

  // The first cycle met: its last edge goes from lock `from()` to lock `to()` (numbers in the order of first nesting).
  bool has_cycle() const { return cycle_; }
  size_t from() const { return from_; }
  size_t to() const { return to_; }

 private:
  static constexpr size_t kMaxLocks = 32;  // more than a pool has; what is beyond is not watched

  size_t node_of(const void* mutex);
  void nests(const void* mutex);
  void unnests(const void* mutex);
  bool reaches(size_t from, size_t to) const;
  void note_cycle(size_t from, size_t to);

  std::array<const void*, kMaxLocks> locks_{};
  std::array<uint32_t, kMaxLocks> after_{};    // bit b of after_[a]: b was taken while a was held
  std::array<const void*, kMaxLocks> held_{};  // innermost last
  size_t count_ = 0;
  size_t depth_ = 0;
  uint64_t held_since_ = 0;
  uint64_t longest_hold_ = 0;
  bool cycle_ = false;
  size_t from_ = 0;
  size_t to_ = 0;
};

}  // namespace stackdrain
