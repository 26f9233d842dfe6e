// LiveStacks: the stacks that are live, to see that none is issued where one lies and none is given back that is not.
//
// A pool whose stacks lie in the arena: a bit for each 2 KiB of it. One that has its memory from anywhere: a list, for
// a world has a few dozen stacks.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "fuzz/unit_set.h"
#include "target/base.h"
#include "target/stack.h"

namespace stackdrain {

// kArenaBytes: of the arena; kMost: stacks outside of one, or parts of them, at most.
template <size_t kArenaBytes, size_t kMost>
class LiveStacks {
 public:
  // `base`: of the arena that all stacks lie in; 0: they lie anywhere.
  void reset(uintptr_t base) {
    base_ = base;
    count_ = 0;
    units_.clear(kArenaBytes / kMinStackBytes);
  }
  // False: a live stack lies there.
  bool add(Stack stack) {
    if (base_ == 0) return add_to_list(stack);
    if (units_.first_of(first(stack), units(stack)) != first(stack) + units(stack)) return false;
    units_.add(first(stack), units(stack));
    return true;
  }
  // False: it is not live, or not all of it.
  bool remove(Stack stack) {
    if (base_ == 0) return remove_from_list(stack);
    if (units_.first_not_of(first(stack), units(stack)) != first(stack) + units(stack)) return false;
    units_.remove(first(stack), units(stack));
    return true;
  }

 private:
  size_t first(Stack stack) const { return (stack.lo - base_) / kMinStackBytes; }
  static size_t units(Stack stack) { return stack.bytes() / kMinStackBytes; }
  bool add_to_list(Stack stack) {
    for (size_t i = 0; i < count_; ++i) {
      if (part(list_[i], stack)) return false;
    }
    put(stack);
    return true;
  }
  // What an in-place shrink gives up is a part of one; a whole one may have been entered in parts.
  bool remove_from_list(Stack stack) {
    size_t covered = 0;
    for (size_t i = 0; i < count_; ++i) covered += part(list_[i], stack).bytes();
    if (covered != stack.bytes()) return false;
    for (size_t i = count_; i-- > 0;) {
      const Stack one = list_[i];
      if (!part(one, stack)) continue;
      list_[i] = list_[--count_];
      if (one.lo < stack.lo) put({one.lo, stack.lo});
      if (stack.hi < one.hi) put({stack.hi, one.hi});
    }
    return true;
  }
  // What two have in common.
  static Stack part(Stack a, Stack b) {
    const Stack common{std::max(a.lo, b.lo), std::min(a.hi, b.hi)};
    return common.lo < common.hi ? common : Stack{};
  }
  void put(Stack stack) {
    STACKDRAIN_CHECK(count_ < kMost, "more stacks live than a world can have");
    list_[count_++] = stack;
  }

  uintptr_t base_ = 0;
  size_t count_ = 0;
  std::array<Stack, kMost> list_{};
  UnitSet<kArenaBytes / kMinStackBytes> units_;
};

}  // namespace stackdrain
