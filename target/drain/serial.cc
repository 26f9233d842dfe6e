// serial: the seed, as it is (serial_pool.h).
#include "target/drain/policy_list.h"
#include "target/drain/serial_pool.h"

namespace stackdrain {

static_assert(StackPool<SerialPool>);

std::unique_ptr<AnyPool> make_serial(Arena& arena) {
  return std::make_unique<PoolBox<SerialPool>>(arena);
}

}  // namespace stackdrain
