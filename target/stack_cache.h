// StackCache: one processor's free stacks, per order; no lock, because only its owner touches it.
//
// A cache holds at most 32 KiB an order (B4). An empty one is refilled to 16 KiB from the pool; one that is full when a
// stack comes back releases down to 16 KiB from its head first, so the hottest half goes back (B6; Go does so too). It
// is flushed when a cycle begins; until the restart nobody touches it (B5). Source: Go commit 91e8554b8b, in our own
// words.
//
//   head ─▶ [next|..] ─▶ [next|..] ─▶ 0      links in the first word of each cached stack
//
// Shelf: where a policy has shelves, what leaves a full cache waits behind it, for the same processor's next refill,
// and both are some moves without a lock or an atomic step: who frees many stacks and takes as many again pays for
// neither the pool's lock nor the spans that it would empty and carve again. A shelf is filled and emptied by whole
// batches of kCacheFillBytes, the hottest on top; when it is full, the colder half of it goes to the pool under one
// hold. It is its owner's alone and is flushed with the cache: until then nobody else is served from it, so all shelves
// together hold an eighth of the arena at most.
//
//   free ──▶ cache ──▶ shelf ──▶ pool      allocate ◀── cache ◀── shelf, or if that is empty ◀── pool
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "target/base.h"
#include "target/params.h"
#include "target/shared.h"
#include "target/stack.h"

namespace stackdrain {

inline constexpr size_t kCacheCapBytes = kPoolSpanBytes;
inline constexpr size_t kCacheFillBytes = kCacheCapBytes / 2;
inline constexpr size_t kShelfSlots = 64;

// What a processor's shelf of an order may hold, in whole batches.
constexpr size_t shelf_cap_bytes(const PoolParams& params, size_t arena_bytes, int order) {
  const size_t share = arena_bytes / 8 / (static_cast<size_t>(params.procs) * static_cast<size_t>(params.orders));
  const size_t most = kShelfSlots * order_bytes(order);
  return (share < most ? share : most) / kCacheFillBytes * kCacheFillBytes;
}

// What a full shelf gives back to the pool: half of its batches, rounded up.
constexpr size_t shelf_excess_bytes(size_t cap_bytes) {
  return (cap_bytes / kCacheFillBytes + 1) / 2 * kCacheFillBytes;
}

// The link in the first word of a free, cached or deferred stack.
inline uintptr_t& link_of(uintptr_t lo) {
  return *reinterpret_cast<uintptr_t*>(lo);
}

struct CacheList {
  uintptr_t head = 0;
  size_t bytes = 0;
  uint64_t allocations = 0;  // from this list, whatever came of a refill
  uint64_t given_back = 0;   // to this list, by free()

  void push(uintptr_t lo, size_t slot_bytes) {
    link(lo);
    store_head(lo, slot_bytes);
  }
  // The two halves of push: between them a goroutine must stay on its processor.
  void link(uintptr_t lo) const {
    shared_read(head);
    link_of(lo) = head;
  }
  void store_head(uintptr_t lo, size_t slot_bytes) {
    shared_write(head);
    head = lo;
    bytes += slot_bytes;
  }
  // The first stack; the list must not be empty.
  uintptr_t pop(size_t slot_bytes) {
    shared_write(head);
    const uintptr_t lo = head;
    head = link_of(lo);
    bytes -= slot_bytes;
    return lo;
  }
};

struct Shelf {
  uint32_t count = 0;
  std::array<uintptr_t, kShelfSlots> stacks{};  // the coldest first
};

// A processor's shelves, on cache lines of their own.
struct alignas(128) StackShelves {
  std::array<Shelf, kMaxOrders> lists;
};

// A processor's cache and its own event counts, a cache line apart from the next processor's.
struct alignas(128) StackCache {
  std::array<CacheList, kMaxOrders> lists;
  // What its owner did past its lists: large stacks, and what was retired.
  uint64_t allocations = 0;
  uint64_t allocated_bytes = 0;
  uint64_t given_back = 0;
  uint64_t given_back_bytes = 0;
};

}  // namespace stackdrain
