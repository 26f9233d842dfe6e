// after-restart: the seed's queue, handed off in O(1) when marking ends and drained while the mutators run.
//
//   retire ─▶ queue_ ──end_mark: splice, O(1)──▶ drain_ ──drain_step, by whoever calls it──▶ pool / heap
//                                                   └── a next cycle may begin here: steps do nothing while it marks,
//                                                       its own queue is spliced behind what is left
//
// PoolParams::drain_hold says how long a step keeps the pool's lock: the whole queue under one hold, a batch of
// drain_batch stacks, or each stack under its own. Any thread may step; a step detaches its share under queue_mutex_
// first, so two drainers never see the same stack (C3, C6). The drain is over when the last drainer is out, which is
// who brings the count of stacks handed off and not yet freed to zero: one of them, whoever took the last share (F7).
// Between begin_cycle and end_mark a step frees nothing (A1): the caller of begin_cycle has stopped the drainers at a
// safepoint, as it has the mutators.
//
// Locks: queue_mutex_ alone, given back before the order's lock is taken.
#include <algorithm>

#include "target/drain/policy_list.h"
#include "target/drain/queueing.h"

namespace stackdrain {
namespace {

class AfterRestartPool : public QueueingPool {
 public:
  using QueueingPool::QueueingPool;

  void reset(const PoolParams& params) SD_EXCLUDES(queue_mutex_) {
    QueueingPool::reset(params);
    MutexLock lock(queue_mutex_);
    drain_.clear();
    late_.clear();
    left_.store(0, std::memory_order_relaxed);
  }

  void retire(Proc proc, Stack stack, RetireWhy why) SD_EXCLUDES(queue_mutex_) {
    QueueingPool::retire(proc, stack, why);
    if (planted(Defect::kQ5DrainWhileMarking)) free_queue_early();
  }

  // The pause's whole part: one lock pair and one splice.
  void end_mark() SD_EXCLUDES(queue_mutex_) {
    mark_done();
    MutexLock lock(queue_mutex_);
    ++queue_locks_;
    if (planted(Defect::kQ12EnqueuedAfterDrain)) {
      left_.fetch_add(late_.count(), std::memory_order_relaxed);
      drain_.splice(late_);
      late_.splice(queue_);
      return;
    }
    if (planted(Defect::kQ10BudgetNeverResumes)) drain_.clear();
    left_.fetch_add(queue_.count(), std::memory_order_relaxed);
    drain_.splice(queue_);
  }

  void restarted() {}

  size_t drain_step(size_t budget) SD_EXCLUDES(queue_mutex_) {
    // not reached by programs: nobody drains while a mark runs
    if (marking()) return 0;
    StackQueue share = take_share(budget);
    const size_t count = share.count();
    const StackQueue again = share;
    yield_point(Yield::kHandOff);
    if (planted(Defect::kQ7LastNodeSkipped) && count != 0) share.pop();
    if (params().drain_hold == DrainHold::kEach && !planted(Defect::kLockKeptForShare)) {
      while (!share.empty()) release_next(share, [this](Stack stack) { release(kNoProc, stack); });
    } else {
      Batch batch(*this);
      while (!share.empty()) release_next(share, [&batch](Stack stack) { batch.release(stack); });
    }
    if (count != 0 && !planted(Defect::kLastOutByClaim)) left_.fetch_sub(count, std::memory_order_release);
    yield_point(Yield::kDrainStep);
    if (planted(Defect::kQ3DrainedTwice) && count != 0) release(kNoProc, again.front());
    return count;
  }

  bool drain_pending() const { return left_.load(std::memory_order_acquire) != 0; }

  PoolStats stats() const SD_EXCLUDES(queue_mutex_) {
    PoolStats stats = ReferencePool::stats();
    MutexLock lock(queue_mutex_);
    queue_.count_into(stats);
    drain_.count_into(stats);
    late_.count_into(stats);
    stats.locks_taken += queue_locks_;
    return stats;
  }

  void walk(WalkVisitor& visitor) const SD_EXCLUDES(queue_mutex_) {
    ReferencePool::walk(visitor);
    MutexLock lock(queue_mutex_);
    queue_.walk(visitor, heap_);
    drain_.walk(visitor, heap_);
    late_.walk(visitor, heap_);
    if (!visitor.wants_hidden()) return;
    visitor.hidden(queue_.count());  // where one queue ends and the next begins
    visitor.hidden(drain_.count());
  }

 private:
  // not reached by programs: planted defects alone
  void free_queue_early() SD_EXCLUDES(queue_mutex_) {
    StackQueue early;
    {
      MutexLock lock(queue_mutex_);
      early.splice(queue_);
    }
    while (!early.empty()) release(kNoProc, early.pop());
  }

  size_t step_size(size_t budget) const {
    if (budget != 0) return budget;
    switch (params().drain_hold) {  // not reached by programs: every value has a case
      case DrainHold::kWhole:
        return ~size_t{0};
      case DrainHold::kBatch:
        return std::max(uint32_t{1}, params().drain_batch);
      case DrainHold::kEach:
        return 1;
    }
    // not reached by programs: every value has a case
    return 1;
  }

  // Detaches what one step frees. Taking the whole queue is O(1); a batch costs one cold link a stack, which the step
  // would pay anyway.
  StackQueue take_share(size_t budget) SD_EXCLUDES(queue_mutex_) {
    const size_t size = step_size(budget);
    StackQueue share;
    MutexLock lock(queue_mutex_);
    ++queue_locks_;
    if (drain_.count() <= size) {
      share.splice(drain_);
      if (planted(Defect::kQ4HeadNotReset)) drain_ = share;
    } else {
      share = drain_.split(size);
    }
    if (planted(Defect::kLastOutByClaim)) left_.fetch_sub(share.count(), std::memory_order_release);
    return share;
  }

  StackQueue drain_ SD_GUARDED_BY(queue_mutex_);  // handed off, not yet freed
  Atomic<size_t> left_{0};                        // in drain_ and in the hands of steps that still run
  StackQueue late_ SD_GUARDED_BY(queue_mutex_);   // only the planted defect Q12 puts something here
};
static_assert(StackPool<AfterRestartPool>);

}  // namespace

std::unique_ptr<AnyPool> make_after_restart(Arena& arena) {
  return std::make_unique<PoolBox<AfterRestartPool>>(arena);
}

}  // namespace stackdrain
