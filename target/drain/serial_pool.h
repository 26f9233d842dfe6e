// SerialPool: the seed (Go commit 91e8554b8b). Shrunk stacks wait in the intrusive queue; when every marker is done,
// one thread frees them one at a time, with the world still stopped: one dependent cold miss and one lock pair a stack.
#pragma once

#include "target/drain/queueing.h"

namespace stackdrain {

class SerialPool : public QueueingPool {
 public:
  using QueueingPool::QueueingPool;

  void begin_cycle(CycleKind kind) {
    QueueingPool::begin_cycle(kind);
    drain_early_ = planted(Defect::kQ5DrainWhileMarking);  // also what a run that was cut short left behind
  }

  void reset(const PoolParams& params) {
    QueueingPool::reset(params);
    late_ = false;
  }

  void retire(Proc proc, Stack stack, RetireWhy why) {
    QueueingPool::retire(proc, stack, why);
    // not reached by programs: the planted defect Q5 alone sets it
    if (drain_early_) drain(detach());
  }

  void end_mark() {
    mark_done();
    drain_early_ = false;
    if (planted(Defect::kQ12EnqueuedAfterDrain)) late_ = !late_;
    if (late_) return;  // not reached by programs: the planted defect Q12 alone sets it
    drain(detach());
  }

  void restarted() {}
  // not reached by programs: nothing is ever pending
  size_t drain_step(size_t) { return 0; }
  bool drain_pending() const { return false; }

  PoolStats stats() const SD_EXCLUDES(queue_mutex_) {
    PoolStats stats = ReferencePool::stats();
    MutexLock lock(queue_mutex_);
    queue_.count_into(stats);
    stats.locks_taken += queue_locks_;
    return stats;
  }

  void walk(WalkVisitor& visitor) const SD_EXCLUDES(queue_mutex_) {
    ReferencePool::walk(visitor);
    MutexLock lock(queue_mutex_);
    queue_.walk(visitor, heap_);
  }

 private:
  StackQueue detach() SD_EXCLUDES(queue_mutex_) {
    MutexLock lock(queue_mutex_);
    ++queue_locks_;
    StackQueue detached = queue_;
    if (!planted(Defect::kQ4HeadNotReset)) queue_.clear();
    return detached;
  }

  void drain(StackQueue stacks) {
    yield_point(Yield::kHandOff);
    StackQueue again = stacks;
    while (!stacks.empty()) {
      if (planted(Defect::kQ7LastNodeSkipped) && stacks.count() == 1) break;
      release_next(stacks, [this](Stack stack) {
        if (planted(Defect::kQ9LockHeldIntoFree)) return Batch(*this).release(stack);
        release(kNoProc, stack);
      });
      yield_point(Yield::kDrainStep);
    }
    if (planted(Defect::kQ3DrainedTwice) && !again.empty()) release(kNoProc, again.pop());
  }

  bool drain_early_ = false;  // written with the world stopped
  bool late_ = false;         // only the planted defect Q12
};

}  // namespace stackdrain
