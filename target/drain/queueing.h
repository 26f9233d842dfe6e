// QueueingPool: the part that `serial` and `after-restart` share: who is queued, and the queue's lock.
//
// The seed queues what a marker shrank, and nothing else: the stacks of dead goroutines, cache flushes and growth still
// free at once, which is sound while the world is stopped (nothing else changes a root between LOAD and RESOLVE). In a
// concurrent world, which the seed never saw, a mutator's growth or exit can do it too, so everything retired while a
// mark runs is queued (Go's answer to #11267, commit d57056ba26).
//
// Lock: queue_mutex_, taken alone. Invariants: C1, C2.
#pragma once

#include "target/defects.h"
#include "target/drain/stack_queue.h"
#include "target/mutex.h"
#include "target/stack_pool.h"
#include "target/yield.h"

namespace stackdrain {

class QueueingPool : public ReferencePool {
 public:
  using ReferencePool::ReferencePool;

  void reset(const PoolParams& params) SD_EXCLUDES(queue_mutex_) {
    ReferencePool::reset(params);
    MutexLock lock(queue_mutex_);
    queue_.clear();
  }

  void retire(Proc proc, Stack stack, RetireWhy why) SD_EXCLUDES(queue_mutex_) {
    const StackQueue seen = planted(Defect::kQ2LostPush) ? head_without_lock() : StackQueue{};
    yield_point(Yield::kRetire);
    if (!queues(why)) {
      free(proc, stack);
      return;
    }
    count_given_back(proc, stack.bytes());
    asan_poison(stack.lo + kLinkBytes, stack.bytes() - kLinkBytes);
    MutexLock lock(queue_mutex_);
    ++queue_locks_;
    if (planted(Defect::kQ2LostPush)) queue_ = seen;
    queue_.push(stack);
  }

 protected:
  // Frees the queue's first stack by release(stack). Its link is read before that (C5).
  template <class Release>
  static void release_next(StackQueue& queue, Release release) {
    if (planted(Defect::kQ1NextAfterFree)) {
      release(queue.front());
      queue.pop();
    } else {
      release(queue.pop());
    }
    tell_drain_goes_on(queue.head(), queue.count());
  }

  // Only the planted defect Q2 reads the queue so.
  StackQueue head_without_lock() const SD_NO_ANALYSIS { return queue_; }

  bool queues(RetireWhy why) const {
    if (!marking()) return planted(Defect::kQ6OverDeferral);
    if (planted(Defect::kImmediateFree) && why == RetireWhy::kShrunk) return false;
    if (planted(Defect::kGrowNotDeferred) && why == RetireWhy::kGrown) return false;
    return why == RetireWhy::kShrunk || cycle().concurrent;
  }

  // Adds the queues' share to the accounts.
  void account(PoolStats& stats, const StackQueue& queue) const {
    stats.held_stacks += queue.count();
    stats.held_bytes += queue.bytes();
    stats.frees -= queue.count();
  }

  mutable Mutex queue_mutex_;
  StackQueue queue_ SD_GUARDED_BY(queue_mutex_);  // retired in the cycle that runs
  uint64_t queue_locks_ SD_GUARDED_BY(queue_mutex_) = 0;
};

}  // namespace stackdrain
