// DeferringPool: which stacks the policies that follow the seed put off; how they keep them is theirs.
//
// The seed queues what a marker shrank, and nothing else: the stacks of dead goroutines, cache flushes and growth still
// free at once, which is sound while the world is stopped (nothing else changes a root between LOAD and RESOLVE). In a
// concurrent world, which the seed never saw, a mutator's growth or exit can do it too, so everything retired while a
// mark runs is queued (Go's answer to #11267, commit d57056ba26).
// Invariant: C1.
#pragma once

#include "target/defects.h"
#include "target/stack_pool.h"

namespace stackdrain {

class DeferringPool : public ReferencePool {
 public:
  using ReferencePool::ReferencePool;

 protected:
  bool queues(RetireWhy why) const {
    // not reached by programs: retired in a mark only, but for the defect
    if (!marking()) return planted(Defect::kQ6OverDeferral);
    if (planted(Defect::kImmediateFree) && why == RetireWhy::kShrunk) return false;
    if (planted(Defect::kGrowNotDeferred) && why == RetireWhy::kGrown) return false;
    return why == RetireWhy::kShrunk || cycle().concurrent;
  }
};

}  // namespace stackdrain
