// How pages become zero again: what may have been written to of them, and no more.
#include <utility>

#include "target/arena.h"

namespace stackdrain {

void Arena::clear_page(uint32_t page) {
  const uint32_t dirty = std::exchange(dirty_[page], uint8_t{0});
  const uintptr_t base = address_of(page);
  if (dirty == kDirtyAll) return clear_unused<kPageBytes>(base);
  for (uint32_t unit = 0; unit < kUnitsPerPage; ++unit) {
    const uintptr_t lo = base + unit * kMinStackBytes;
    if ((dirty >> unit & kDirtyUnit) != 0) {
      clear_unused<kMinStackBytes>(lo);
    } else if ((dirty >> unit & kDirtyLink) != 0) {
      clear_unused<kLinkBytes>(lo);
    }
  }
}

}  // namespace stackdrain
