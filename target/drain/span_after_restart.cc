// span-after-restart: Go 1.6 to 1.19 and on. Nothing is queued: a slot freed during mark goes back to its span at once
// and may be re-issued as a stack (Stack to Stack is always legal); what waits is the empty span, which stays in state
// Stack, and the large stack, which waits in a reserve that allocation may reuse. When the mutators run again one pass
// walks all partial spans, an order at a time under that order's lock, and gives the empty ones back.
//
// The pass is linear in the partial spans, empty or not: Go's own weakness, kept. It does not stop half-way; a cycle
// that begins before it ran simply leaves it for later. Source: go1.19, stack.go (freeStackSpans), in our own words.
#include <atomic>

#include "target/drain/policy_list.h"
#include "target/stack_pool.h"

namespace stackdrain {
namespace {

class SpanAfterRestartPool : public ReferencePool {
 public:
  using ReferencePool::ReferencePool;

  void reset(const PoolParams& params) {
    ReferencePool::reset(params);
    pending_.store(false, std::memory_order_relaxed);
  }

  void begin_cycle(CycleKind kind) {
    ReferencePool::begin_cycle(kind);
    keep_empty(true);
  }

  void retire(Proc proc, Stack stack, RetireWhy) { free(proc, stack); }

  // Spans kept so far wait for the pass; what becomes empty from here on goes back at once.
  void end_mark() {
    mark_done();
    keep_empty(false);
    pending_.store(true, std::memory_order_release);
  }

  void restarted() {}

  size_t drain_step(size_t) {
    if (marking() || !pending_.exchange(false, std::memory_order_acq_rel)) return 0;
    return release_empty_spans();
  }

  bool drain_pending() const { return pending_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> pending_{false};  // a cycle ended and its pass has not run
};
static_assert(StackPool<SpanAfterRestartPool>);

}  // namespace

std::unique_ptr<AnyPool> make_span_after_restart(Arena& arena) {
  return std::make_unique<PoolBox<SpanAfterRestartPool>>(arena);
}

}  // namespace stackdrain
