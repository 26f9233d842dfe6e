// A stack: the address range [lo, hi) that a goroutine runs on. Grows down from hi.
#pragma once

#include <cstddef>
#include <cstdint>

#include "target/base.h"

namespace stackdrain {

struct Stack {
  uintptr_t lo = 0;  // 0: no stack
  uintptr_t hi = 0;

  constexpr size_t bytes() const { return hi - lo; }
  constexpr explicit operator bool() const { return lo != 0; }
  // not reached by programs: an address above it, which only who compares policies may ask about
  constexpr bool contains(uintptr_t address) const { return address >= lo && address < hi; }
  constexpr bool operator==(const Stack&) const = default;
};

constexpr size_t order_bytes(int order) {
  return kMinStackBytes << order;
}

// How many stacks of an order are in so many bytes: no division, of which the processor has no fast one.
constexpr size_t slots_in(size_t bytes, int order) {
  return bytes / kMinStackBytes >> order;
}

// The order of a stack of `bytes` (a power of two >= 2 KiB); may be beyond a pool's last order, then it is large. Not
// std::countr_zero, which has an answer for 0, too: its step more is one that a free waits for.
constexpr int order_of(size_t bytes) {
  return __builtin_ctzll(bytes) - __builtin_ctzll(kMinStackBytes);
}

constexpr uint32_t pages_for(size_t bytes) {
  return static_cast<uint32_t>((bytes + kPageBytes - 1) >> kPageShift);
}

}  // namespace stackdrain
