// QueueingPool: what `serial`, `in-place`, `after-restart` and `quiescent` share: the seed's queue and its lock.
//
// Lock: queue_mutex_, taken alone. Invariants: C1, C2.
#pragma once

#include "target/defects.h"
#include "target/drain/deferring.h"
#include "target/drain/stack_queue.h"
#include "target/mutex.h"
#include "target/yield.h"

namespace stackdrain {

class QueueingPool : public DeferringPool {
 public:
  using DeferringPool::DeferringPool;

  void reset(const PoolParams& params) SD_EXCLUDES(queue_mutex_) {
    ReferencePool::reset(params);
    MutexLock lock(queue_mutex_);
    queue_.clear();
    queue_locks_ = 0;
  }

  // Not a call, so that it lies beside its pool's end_mark (AnyPool).
  [[gnu::always_inline]] void retire(Proc proc, Stack stack, RetireWhy why) SD_EXCLUDES(queue_mutex_) {
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
  // not reached by programs: the planted defect Q2 alone
  StackQueue head_without_lock() const SD_NO_ANALYSIS {
    shared_read(queue_);
    return queue_;
  }

  // What a retire writes to; what an end_mark writes to besides lies behind it (after-restart), in the same two lines:
  // the pause waits for none that the last retire has not brought.
  alignas(64) mutable Mutex queue_mutex_;
  StackQueue queue_ SD_GUARDED_BY(queue_mutex_);  // retired in the cycle that runs
  uint64_t queue_locks_ SD_GUARDED_BY(queue_mutex_) = 0;
};

}  // namespace stackdrain
