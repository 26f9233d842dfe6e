// What a queue tells of itself: accounts and walks. Of stacks it reads the links of queued ones only, checked against
// their span first; in a fuzzer it runs without ASan.
#include "target/drain/stack_queue.h"

namespace stackdrain {

void StackQueue::count_into(PoolStats& stats) const {
  stats.held_stacks += count();
  stats.held_bytes += bytes();
  stats.frees -= count();
}

void StackQueue::walk(WalkVisitor& visitor, const PageHeap& heap) const {
  size_t count = 0;
  size_t bytes = 0;
  for (uintptr_t lo = head_; lo != 0; lo = link_of(lo)) {
    // not reached by programs: only a damaged pool is so
    if (++count > count_ || heap.span_of(lo) == nullptr) break;
    bytes += queued_bytes_of(lo);
    visitor.slot({lo, queued_bytes_of(lo), SlotPlace::kDeferred, kNoProc});
  }
  // not reached by programs: only a damaged pool is so
  if (count != count_ || bytes != bytes_) visitor.fault(WalkFault::kDeferred, head_);
}

}  // namespace stackdrain
