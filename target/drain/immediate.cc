// immediate: before the seed commit. A shrunk stack is freed at once, while markers may hold pointers into it.
//
// The known-bad control: whoever watches it must find A3 (a marker's pointer into a freed span).
#include "target/drain/policy_list.h"
#include "target/stack_pool.h"

namespace stackdrain {
namespace {

class ImmediatePool : public ReferencePool {
 public:
  using ReferencePool::ReferencePool;
  void retire(Proc proc, Stack stack, RetireWhy) { free(proc, stack); }
  void end_mark() { mark_done(); }
  void restarted() {}
  // not reached by programs: nothing is ever pending
  size_t drain_step(size_t) { return 0; }
  bool drain_pending() const { return false; }
};
static_assert(StackPool<ImmediatePool>);

}  // namespace

std::unique_ptr<AnyPool> make_immediate(Arena& arena) {
  return std::make_unique<PoolBox<ImmediatePool>>(arena);
}

}  // namespace stackdrain
