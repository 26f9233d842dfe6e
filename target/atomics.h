// What the lock-free protocols of target are written over: the standard's atomics here (watched ones where yield points
// are compiled in, shared.h), another implementation of the same names where a memory model is explored
// (target/relacy/).
//
// Each protocol names the order of each of its accesses in a struct of orders, with the edge that the order makes
// beside it; an exploration weakens one of them at a time and must see it fail.
#pragma once

#include <atomic>

#include "target/shared.h"

namespace stackdrain {

struct StdAtomics {
  template <class T>
  using Atomic = stackdrain::Atomic<T>;

  static void fence(std::memory_order order) { shared_fence(order); }
};

}  // namespace stackdrain
