#include "fuzz/lock_graph.h"

#include <algorithm>
#include <bit>

namespace stackdrain {

// The lock's number; kMaxLocks when there are too many.
size_t LockGraph::node_of(const void* mutex) {
  for (size_t node = 0; node < count_; ++node) {
    if (locks_[node] == mutex) return node;
  }
  if (count_ == kMaxLocks) return kMaxLocks;
  locks_[count_] = mutex;
  after_[count_] = 0;
  return count_++;
}

// Is there a path of edges? Each round adds what one more edge reaches.
bool LockGraph::reaches(size_t from, size_t to) const {
  uint32_t seen = after_[from];
  for (uint32_t fresh = seen; fresh != 0;) {
    const auto node = static_cast<size_t>(std::countr_zero(fresh));
    fresh &= fresh - 1;
    fresh |= after_[node] & ~seen;
    seen |= after_[node];
  }
  return to < kMaxLocks && (seen >> to & 1) != 0;
}

void LockGraph::note_cycle(size_t from, size_t to) {
  if (cycle_) return;
  cycle_ = true;
  from_ = from;
  to_ = to;
}

void LockGraph::nests(const void* mutex) {
  if (depth_ == kMaxLocks) return;
  for (size_t i = 0; i < depth_; ++i) {
    const size_t outer = node_of(held_[i]);
    const size_t node = node_of(mutex);
    if (outer == kMaxLocks || node == kMaxLocks) continue;
    const uint32_t edge = uint32_t{1} << node;
    if (outer == node || ((after_[outer] & edge) == 0 && reaches(node, outer))) note_cycle(outer, node);
    if (outer != node) after_[outer] |= edge;
  }
  held_[depth_++] = mutex;
}

void LockGraph::unnests(const void* mutex) {
  for (size_t i = depth_; i-- > 0;) {
    if (held_[i] != mutex) continue;
    std::copy(held_.begin() + static_cast<ptrdiff_t>(i) + 1, held_.begin() + static_cast<ptrdiff_t>(depth_),
              held_.begin() + static_cast<ptrdiff_t>(i));
    --depth_;
    if (depth_ == 0) longest_hold_ = std::max(longest_hold_, work_so_far() - held_since_);
    return;
  }
}

}  // namespace stackdrain
