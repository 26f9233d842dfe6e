// SpanKeepingPool: what Go's policies since 1.5 share. Nothing is queued: a slot freed during mark goes back to its
// span at once and may be re-issued as a stack (Stack to Stack is always legal); what waits is the empty span, which
// stays in state Stack, and the large stack, which waits in a reserve that allocation may reuse.
//
// Giving the empty ones back is one walk over all partial spans, an order at a time under that order's lock
// (ReferencePool::release_empty_spans). It is linear in the partial spans, empty or not: Go's own weakness, kept. A
// policy is a class derived from this one that says when the walk is made.
#pragma once

#include "target/stack_pool.h"

namespace stackdrain {

class SpanKeepingPool : public ReferencePool {
 public:
  using ReferencePool::ReferencePool;

  void reset(const PoolParams& params) {
    ReferencePool::reset(params);
    late_ = false;
  }

  void begin_cycle(CycleKind kind) {
    ReferencePool::begin_cycle(kind);
    keep_empty(true);
  }

  void retire(Proc proc, Stack stack, RetireWhy) {
    free(proc, stack);
    if (planted(Defect::kQ5DrainWhileMarking)) release_empty_spans();
  }
  void restarted() {}

 protected:
  // Spans kept so far wait for the walk; what becomes empty from here on goes back at once.
  void mark_done_keeping_none() {
    mark_done();
    keep_empty(false);
    if (planted(Defect::kQ12EnqueuedAfterDrain)) late_ = !late_;
  }
  // What was kept waits for a whole cycle more: the planted defect Q12.
  bool late() const { return late_; }

 private:
  bool late_ = false;
};

}  // namespace stackdrain
