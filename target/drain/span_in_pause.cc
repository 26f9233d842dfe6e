// span-in-pause: Go 1.5. The walk that gives empty spans back (see span_keeping.h) is made in the pause that ends the
// mark. Source: go1.5, stack.go and mgc.go (freeStackSpans in mark termination), in our own words.
#include "target/drain/policy_list.h"
#include "target/drain/span_keeping.h"

namespace stackdrain {
namespace {

class SpanInPausePool : public SpanKeepingPool {
 public:
  using SpanKeepingPool::SpanKeepingPool;

  void end_mark() {
    mark_done_keeping_none();
    if (late()) return;  // not reached by programs: the planted defect Q12 alone
    release_empty_spans();
  }

  // not reached by programs: nothing is ever pending
  size_t drain_step(size_t) { return 0; }
  bool drain_pending() const { return false; }
};
static_assert(StackPool<SpanInPausePool>);

}  // namespace

std::unique_ptr<AnyPool> make_span_in_pause(Arena& arena) {
  return std::make_unique<PoolBox<SpanInPausePool>>(arena);
}

}  // namespace stackdrain
