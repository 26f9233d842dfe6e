// Workload study: what a drain study of n equal stacks does not show. No mutator runs beside; costs are of the pool's
// calls alone, and bytes are counted. A pool that has not so many stacks: std::bad_alloc.
//
//   burst      all goroutines grow, then idle through collections that halve them to the smallest stack, again and
//              again: what was given back is taken again (ping-pong), and what a burst leaves in spans stays.
//   halved     large stacks are halved once, then as many again want the first size: whoever shrinks in place has left
//              holes of half the size, whoever copies has mapped room for the copies.
//   pinned     a few stacks stay, at random, of many that are retired: each keeps its span.
//   processors one cycle with a full cache on each of p processors: how its cost grows with p.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "benchmarks/chase.h"
#include "benchmarks/drain_study.h"

namespace stackdrain {

struct BurstCase {
  Variant variant;
  size_t goroutines = 0;
  size_t bytes = 0;  // to which each grows; each goes back to kStartStack
  int bursts = 5;
};

// One entry a burst; the first, in a fresh pool, too.
struct BurstResult {
  std::vector<double> grow_ns;   // allocating what the goroutines grow to, and freeing what they grow from
  std::vector<double> pause_ns;  // end_mark of all its collections
  std::vector<double> after_ns;  // drain steps of all its collections
  std::vector<uint64_t> spans_taken;
  std::vector<uint64_t> spans_released;
  std::vector<uint64_t> held_bytes;        // at most
  std::vector<uint64_t> span_bytes_grown;  // in spans of stacks when all have grown
  std::vector<uint64_t> span_bytes_idle;   // ... and when all are small again
  std::vector<uint64_t> live_bytes_idle;   // of these, in live stacks
};

BurstResult run_burst(const BurstCase& burst_case);

struct HalvedResult {
  uint64_t grown_bytes = 0;      // mapped when the first have their size
  uint64_t collected_bytes = 0;  // ... when a collection has halved them
  uint64_t again_bytes = 0;      // ... when as many again have the first size
  uint64_t live_bytes = 0;       // then, in live stacks
};

// `goroutines` on stacks of `bytes`, more than the last order.
HalvedResult run_halved(const Variant& variant, size_t goroutines, size_t bytes);

struct PinnedCase {
  Variant variant;
  size_t stacks = 0;
  size_t bytes = 0;
  size_t every = 8;  // one in so many stays
  int repetitions = 5;
};

struct PinnedResult {
  std::vector<double> pause_ns;
  std::vector<double> after_ns;
  uint64_t span_bytes = 0;  // in spans of stacks when all is drained
  uint64_t live_bytes = 0;  // of them, in stacks that stay
};

PinnedResult run_pinned(const PinnedCase& pinned_case, CacheFlusher& flusher);

struct ProcessorsCase {
  Variant variant;
  int procs = 1;
  size_t stacks = 0;  // retired besides what the caches hold
  size_t bytes = 0;
  int repetitions = 9;
};

// Flushing the caches, end_mark and all drain steps, of each repetition, in ns.
std::vector<double> run_processors(const ProcessorsCase& processors_case);

}  // namespace stackdrain
