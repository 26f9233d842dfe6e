// Chase: a pointer chase over given stacks: the least that any walk of links lying in those stacks can cost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "target/stack.h"

namespace stackdrain {

// Writes links into the first words of live stacks: stacks[order[last]] → … → stacks[order[0]] → 0, the order in which
// a last-in first-out queue filled in `order` is walked. The first stack of the walk.
uintptr_t link_for_chase(std::span<const Stack> stacks, std::span<const uint32_t> order);
// Follows the links to the end; the number of stacks seen. Each load depends on the one before.
size_t chase(uintptr_t first);

// Puts the given stacks' first lines, and with `everything` whatever else the caches hold, out of them.
class CacheFlusher {
 public:
  CacheFlusher();
  void flush(std::span<const Stack> stacks, std::span<const uint32_t> order, bool everything);

 private:
  std::vector<uint64_t> buffer_;  // larger than the last-level cache
};

}  // namespace stackdrain
