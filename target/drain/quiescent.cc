// quiescent: a stack given up in mark goes back while the mark runs, as soon as nobody can hold a pointer into it any
// more (QSBR: reclamation by quiescent states). The grace is what a marker takes for a root job, not a cycle.
//
//   retire ─▶ queue_ ──close──▶ waiting_ ──all outstanding readers have passed──▶ pool / heap      by a marker, between
//             open batch        its grace runs     then the open batch is closed                   two of its jobs
//   end_mark: what is left of both ──splice, O(1)──▶ drain_ ──drain_step──▶ pool / heap            after the restart
//
// Who may hold a pointer into a stack by value, and how each is counted (grace.h):
//   * A marker, from its LOAD to its RESOLVE, and while it is in a root job. It counts when it is through with the job
//     and holds nothing.
//   * A processor's write buffer, while it is not empty. It counts when it was judged.
// Nobody else: a mutator reaches a stack through the goroutine that it runs or has claimed, or observes it (send),
// which no move outlasts (D6).
//
// Why that is enough: a retired stack is unreachable. No word that a marker has yet to LOAD holds an address in it:
//   * of a goroutine that moved, the copy adjusted every record before the stack was retired (D1);
//   * of a dead one, exit() cleared its records before it gave the stack up, and whoever spawns on a dead goroutine
//     finds them cleared; its kept stack has been unreachable since its exit;
//   * the record of a wait that is over was emptied before it went to the cache of records;
//   * frames are LOADed by whoever scans the goroutine, from where it lives now, and point into their own stack.
// So whoever holds an address in it LOADed it before the retire, and is an odd reader ever since. A defect that leaves
// such a word behind (dead-stack-bypass, elem-kept-in-cached-record, root-kind-missed) is fatal here as in a policy
// that defers until the end of mark and then resolves in the next cycle: no grace helps against an address that is
// LOADed after it.
//
// A1 and A2 as the seed has them forbid any Stack -> Free in mark. Here they are replaced: nothing retired is freed,
// and so no span with it leaves Stack, before every reader from before the retire has been quiescent
// (PolicyClaims::frees_after_grace). A3 holds in full. In a stopped world dead stacks are freed at once, as by the
// seed (deferring.h).
//
// Held: at most what was retired since two graces ago (C7): one that the waiting batch needs, and its own. A marker
// frees a batch in the middle of mark, drain_batch stacks under one hold of the lock. The pause pays a splice, and what
// is left for after the restart is what write buffers held back.
//
// Locks: queue_mutex_ alone, given back before the order's lock is taken. Invariants: A2 (after grace), A3, C1..C3, C7.
#include <algorithm>
#include <atomic>

#include "target/drain/policy_list.h"
#include "target/drain/queueing.h"
#include "target/grace.h"
#include "target/shared.h"

namespace stackdrain {
namespace {

class QuiescentPool : public QueueingPool {
 public:
  using QueueingPool::QueueingPool;

  void reset(const PoolParams& params) SD_EXCLUDES(queue_mutex_) {
    QueueingPool::reset(params);
    MutexLock lock(queue_mutex_);
    waiting_.clear();
    drain_.clear();
    grace_.reset(buffer_reader(params.procs));
    left_.store(0, std::memory_order_relaxed);
    worth_looking_.store(false, std::memory_order_relaxed);
  }

  void begin_cycle(CycleKind kind) {
    QueueingPool::begin_cycle(kind);
    for (int marker = 0; marker < kMaxMarkers; ++marker)
      grace_.leave(marker_reader(marker));  // none holds anything yet
  }

  void retire(Proc proc, Stack stack, RetireWhy why) {
    QueueingPool::retire(proc, stack, why);
    // Relaxed: reclaim() clears it under the lock under which the stack was queued before, so the last one who has the
    // lock wins; others may look for nothing, or one job later.
    worth_looking_.store(true, std::memory_order_relaxed);
    if (planted(Defect::kQ5DrainWhileMarking)) free_all(take_all());
  }

  void reading(Reader reader) {
    if (planted(Defect::kMarkerNotCounted) && reader == marker_reader(1)) return;
    if (planted(Defect::kBufferNotCounted) && reader >= buffer_reader(0)) return;
    grace_.enter(reader);
  }
  void quiescent(Reader reader) { grace_.leave(reader); }

  // Frees what is out of its grace. By a marker between two jobs; the stacks freed.
  size_t reclaim() SD_EXCLUDES(queue_mutex_) {
    if (!worth_looking_.load(std::memory_order_relaxed)) return 0;
    const StackQueue over = take_over();
    if (over.empty()) return 0;
    yield_point(Yield::kHandOff);
    const size_t freed = free_all(over);
    yield_point(Yield::kDrainStep);
    return freed;
  }

  // The pause's whole part.
  void end_mark() SD_EXCLUDES(queue_mutex_) {
    mark_done();
    MutexLock lock(queue_mutex_);
    ++queue_locks_;
    if (planted(Defect::kQ10BudgetNeverResumes)) drain_.clear();
    for (StackQueue* queue : {&waiting_, &queue_}) {
      if (planted(Defect::kQ12EnqueuedAfterDrain) && queue == &queue_) continue;
      left_.fetch_add(queue->count(), std::memory_order_relaxed);
      drain_.splice(*queue);
    }
    worth_looking_.store(false, std::memory_order_relaxed);
  }

  void restarted() {}

  size_t drain_step(size_t budget) SD_EXCLUDES(queue_mutex_) {
    // not reached by programs: nobody drains while a mark runs
    if (marking()) return 0;
    const StackQueue share = take_share(budget != 0 ? budget : std::max(uint32_t{1}, params().drain_batch));
    const size_t count = share.count();
    yield_point(Yield::kHandOff);
    free_all(share);
    // Release: who sees 0 (drain_pending, acquire) sees all that was freed.
    if (!planted(Defect::kLastOutByClaim)) left_.fetch_sub(count, std::memory_order_release);
    yield_point(Yield::kDrainStep);
    return count;
  }

  bool drain_pending() const { return left_.load(std::memory_order_acquire) != 0; }

  PoolStats stats() const SD_EXCLUDES(queue_mutex_) {
    PoolStats stats = ReferencePool::stats();
    MutexLock lock(queue_mutex_);
    for (const StackQueue* queue : {&queue_, &waiting_, &drain_}) queue->count_into(stats);
    stats.locks_taken += queue_locks_;
    return stats;
  }

  void walk(WalkVisitor& visitor) const SD_EXCLUDES(queue_mutex_) {
    ReferencePool::walk(visitor);
    MutexLock lock(queue_mutex_);
    for (const StackQueue* queue : {&queue_, &waiting_, &drain_}) queue->walk(visitor, heap_);
    // Nothing waits for readers but in a mark, and then somebody looks.
    const bool waits = !queue_.empty() || !waiting_.empty();
    const bool looks = worth_looking_.load(std::memory_order_relaxed);
    // not reached by programs: only a damaged pool is so, or one whose stores a schedule shows late
    if (!threads_are_watched() && (marking() ? waits && !looks : waits || looks))
      visitor.fault(WalkFault::kDeferred, arena_base());
    if (!visitor.wants_hidden()) return;
    visitor.hidden(queue_.count());  // where one queue ends and the next begins
    visitor.hidden(waiting_.count());
    // not reached by programs: explore alone asks
    visitor.hidden(waiting_.empty() ? 0 : grace_.outstanding());  // those who have read longest
  }

 private:
  // What is out of its grace; what was behind it begins its own.
  StackQueue take_over() SD_EXCLUDES(queue_mutex_) {
    MutexLock lock(queue_mutex_);
    ++queue_locks_;
    StackQueue over;
    if (waiting_.empty()) close();
    while (!waiting_.empty() && grace_.over()) {
      over.splice(waiting_);
      if (planted(Defect::kGraceOneEarly)) over.splice(queue_);
      close();
    }
    if (planted(Defect::kQ3DrainedTwice)) waiting_ = over;
    worth_looking_.store(!waiting_.empty(), std::memory_order_relaxed);
    return over;
  }

  void close() SD_REQUIRES(queue_mutex_) {
    if (queue_.empty()) return;
    waiting_.splice(queue_);
    grace_.close();
  }

  // Only the planted defect Q5: nobody's grace is waited for.
  // not reached by programs: planted defects alone
  StackQueue take_all() SD_EXCLUDES(queue_mutex_) {
    MutexLock lock(queue_mutex_);
    StackQueue all;
    all.splice(queue_);
    return all;
  }

  StackQueue take_share(size_t size) SD_EXCLUDES(queue_mutex_) {
    StackQueue share;
    MutexLock lock(queue_mutex_);
    ++queue_locks_;
    if (drain_.count() > size) {
      share = drain_.split(size);
    } else {
      share.splice(drain_);
      if (planted(Defect::kQ4HeadNotReset)) drain_ = share;
    }
    if (planted(Defect::kLastOutByClaim)) left_.fetch_sub(share.count(), std::memory_order_release);
    return share;
  }

  // Gives the order's lock back after each drain_batch stacks.
  size_t free_all(StackQueue stacks) {
    const size_t count = stacks.count();
    const size_t at_once = std::max(uint32_t{1}, params().drain_batch);
    Batch batch(*this);
    for (size_t freed = 0; !stacks.empty(); ++freed) {
      if (planted(Defect::kQ7LastNodeSkipped) && stacks.count() == 1) break;
      if (freed % at_once == 0) batch.finish();
      release_next(stacks, [&batch](Stack stack) { batch.release(stack); });
    }
    return count;
  }

  Grace<StdAtomics, kReaders> grace_;               // of waiting_; close, over and outstanding under queue_mutex_
  StackQueue waiting_ SD_GUARDED_BY(queue_mutex_);  // retired before grace_ began
  StackQueue drain_ SD_GUARDED_BY(queue_mutex_);    // left by the mark, not yet freed
  Atomic<size_t> left_{0};                          // in drain_ and in the hands of steps that still run
  Atomic<bool> worth_looking_{false};               // something may be in queue_ or waiting_
};
static_assert(StackPool<QuiescentPool>);

}  // namespace

std::unique_ptr<AnyPool> make_quiescent(Arena& arena) {
  return std::make_unique<PoolBox<QuiescentPool>>(arena);
}

}  // namespace stackdrain
