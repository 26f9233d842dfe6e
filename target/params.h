// Parameters of a pool, and the two presets: `seed` (Go at commit 91e8554b8b, 2014-10-08) and `go1.19`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "target/base.h"

namespace stackdrain {

// One lock for all orders (the seed's stackpoolmu), or one for each order (Go since 2019).
enum class LockPlan : uint8_t { kOneLock, kPerOrder };

// How long a drain that runs beside mutators holds on: the whole queue under one hold, batches of `drain_batch`, or
// one stack at a time.
enum class DrainHold : uint8_t { kWhole, kBatch, kEach };

// What a span's descriptor has room for, as the size of its one slot.
inline constexpr size_t kMostStackBytes = size_t{1} << 31;

struct PoolParams {
  // Small-stack orders: 2 KiB << order; 2..4. Larger stacks get a span of their own, of whole pages.
  int orders = 4;
  LockPlan locks = LockPlan::kPerOrder;
  // Processors with a cache: 1..kMaxProcs.
  int procs = 4;
  // Bytes below the stack pointer that a function may use without a check (Go's StackLimit: 384..880 by version).
  size_t guard_bytes = 384;
  // Since 2015-06 a shrink counts the guard as used: used + guard < size/4. Before: used < size/4.
  bool shrink_counts_guard = true;
  // Largest stack in bytes, kMostStackBytes at most; growth beyond is refused (1 GiB on 64-bit in Go).
  size_t max_stack_bytes = size_t{1} << 30;
  // Bytes the page heap maps at least when it grows; a multiple of the page size. Go: 1 MiB.
  size_t grow_chunk_bytes = size_t{1} << 20;
  // Pages of the arena that may be mapped; 0 means all of it.
  uint32_t arena_pages = 0;
  // after-restart: how long a drain step keeps the lock, and the batch in stacks (>= 1).
  DrainHold drain_hold = DrainHold::kBatch;
  uint32_t drain_batch = 64;
  // sorted-batch: bytes of the arena that a share of the pause's drain has at least, and more where 64 shares would not
  // cover the arena; a power of two from 128 KiB to 1 MiB. At 1 MiB the marks of two shares never lie on one cache
  // line; less is for small worlds, which would have one share otherwise.
  size_t least_share_bytes = size_t{1} << 20;
  // sorted-batch: chunks of notes that lie side by side, whatever their share, before each share has a row of its own;
  // a multiple of 4 from 0 to 256, which is most of what 8 Ki stacks take. Less is for small worlds, which would have
  // no rows.
  uint32_t first_chunks = 256;
  // Nanoseconds of some clock; read once for each span that becomes Free in a PageHeap, which then remembers it, as
  // Go's scavenger wanted it until 1.13 (MHeap_FreeSpanLocked: unusedsince). nullptr: nobody wants to know.
  int64_t (*idle_clock)() = nullptr;

  bool operator==(const PoolParams&) const = default;
};

// Go at the seed commit: three orders, one lock, the guard not counted by the shrink rule.
constexpr PoolParams seed_preset() {
  PoolParams params;
  params.orders = 3;
  params.locks = LockPlan::kOneLock;
  params.guard_bytes = 384;
  params.shrink_counts_guard = false;
  return params;
}

// Go 1.19: four orders, one lock an order, StackLimit of 800 bytes counted by the shrink rule.
constexpr PoolParams go119_preset() {
  PoolParams params;
  params.orders = 4;
  params.locks = LockPlan::kPerOrder;
  params.guard_bytes = 800;
  params.shrink_counts_guard = true;
  return params;
}

// A preset by its name in programs and on the command line; the one table of presets.
struct PresetRow {
  std::string_view name;
  PoolParams (*make)();
  std::string_view what;
};
inline constexpr PresetRow kPresets[] = {
    {"seed", +[] { return seed_preset(); }, "Go at commit 91e8554b8b: 3 orders, one lock, guard not counted"},
    {"go1.19", +[] { return go119_preset(); }, "Go 1.19: 4 orders, a lock each, guard counted"},
};

}  // namespace stackdrain
