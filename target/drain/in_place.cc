// in-place: a large stack is shrunk where it lies, by freeing its lower half: no copy, no adjusted pointer, no old
// stack that anybody could hold a pointer into, nothing to drain. Go did so from March to July 2014.
//
//     before  [ lower half: unused | upper half: at most a quarter of the whole in use ]   one Stack span
//     after   [ Free, coalesced    | the stack, same descriptor, same generation       ]
//
// Why nothing points into the lower half: a shrink wants used < size/4, every record and frame pointer lies in what is
// used (D1), and the world is stopped, so nothing was in use there when a marker LOADed. With mutators running that is
// not so: a marker may have LOADed the record of a frame that was popped since. There it copies, as serial does.
//
// What it costs is fragmentation: the half that is left blocks its neighbourhood, at an odd place, for as long as the
// goroutine lives. Small stacks share their span and can't be split; they are copied, and wait as in serial.
//
// Invariants: A6 (the halves tile), B7 (the half's size class), E1, E4.
#include "target/drain/policy_list.h"
#include "target/drain/serial_pool.h"

namespace stackdrain {
namespace {

class InPlacePool : public SerialPool {
 public:
  using SerialPool::SerialPool;

  Stack halve(Stack stack) {
    const size_t half = stack.bytes() / 2;
    // not reached by programs: with three orders or four, what is below a page is small
    if (cycle().concurrent || is_small(half) || half < kPageBytes) return {};
    Span* span = heap_.span_of(stack.lo);
    STACKDRAIN_CHECK(span != nullptr && span->order == kLargeOrder, "a large stack has a span of its own");
    heap_.free_lower_half(span);
    count_halved(half);
    return {stack.lo + half, stack.hi};
  }
};
static_assert(StackPool<InPlacePool>);

}  // namespace

std::unique_ptr<AnyPool> make_in_place(Arena& arena) {
  return std::make_unique<PoolBox<InPlacePool>>(arena);
}

}  // namespace stackdrain
