// span-after-restart: Go 1.6 to 1.19 and on. The walk that gives empty spans back (see span_keeping.h) is made when the
// mutators run again. It does not stop half-way; a cycle that begins before it ran simply leaves it for later. Source:
// go1.19, stack.go (freeStackSpans), in our own words.
#include <atomic>

#include "target/drain/policy_list.h"
#include "target/drain/span_keeping.h"

namespace stackdrain {
namespace {

class SpanAfterRestartPool : public SpanKeepingPool {
 public:
  using SpanKeepingPool::SpanKeepingPool;

  void reset(const PoolParams& params) {
    SpanKeepingPool::reset(params);
    pending_.store(false, std::memory_order_relaxed);
    walking_.store(false, std::memory_order_relaxed);
  }

  void end_mark() {
    mark_done_keeping_none();
    pending_.store(!late(), std::memory_order_release);
  }

  size_t drain_step(size_t) {
    // not reached by programs: nobody drains while a mark runs, or for nothing
    if (marking() || walking_.exchange(true, std::memory_order_acquire)) return 0;
    // not reached by programs: nobody drains for nothing
    const size_t released = pending_.exchange(false, std::memory_order_acq_rel) ? release_empty_spans() : 0;
    walking_.store(false, std::memory_order_release);
    return released;
  }

  // Until who walks is through: a drain is over when the last one is out (F7).
  bool drain_pending() const {
    return pending_.load(std::memory_order_acquire) || walking_.load(std::memory_order_acquire);
  }

 private:
  Atomic<bool> pending_{false};  // a cycle ended and its pass has not begun
  Atomic<bool> walking_{false};  // it runs; set before pending_ is cleared, so that one of the two is seen
};
static_assert(StackPool<SpanAfterRestartPool>);

}  // namespace

std::unique_ptr<AnyPool> make_span_after_restart(Arena& arena) {
  return std::make_unique<PoolBox<SpanAfterRestartPool>>(arena);
}

}  // namespace stackdrain
