// Pause study: whole cycles with real mutators: where a pause goes, and what the mutators feel in the 200 ms after the
// restart.
//
// n goroutines wait on channels, each on a stack of which little is used, so that one cycle halves them all. One cycle:
//
//   hiccup window   stop          mark and shrink       drain        restart      last mutator resumed    200 ms after
//   the restart (mutators only  (world.stop)  (k markers run the    (end_mark)   (world.      (they say when) mutators
//   allocate and free,
//    read the clock)              root jobs)                          start)                               each pair
//    timed; the drain runs
//
// The drain runs on the collector's thread, or in the mutators (Variant::by_mutators: a step each few allocations). A
// mutator works in bursts of allocations and frees that its cache can't hold, so that it does take the pool's lock; of
// the size that is drained, because another order has a lock of its own (Go since 2019) and would feel nothing.
// Between cycles, unmeasured, with the world stopped, all goroutines grow to the first size again.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "benchmarks/drain_study.h"
#include "benchmarks/recorder.h"

namespace stackdrain {

struct PauseCase {
  Variant variant;
  size_t stacks = 0;
  size_t bytes = 0;  // of each goroutine's stack before the shrink
  int mutators = 1;
  int markers = 1;
  int cycles = 3;
};

struct PauseSplit {
  double stop_ns = 0;
  double mark_ns = 0;
  double drain_ns = 0;
  double restart_ns = 0;  // the call that lets them go
  double resumed_ns = 0;  // from that call until the last mutator runs
};

struct PauseResult {
  std::vector<PauseSplit> splits;
  std::vector<double> drain_cpu_ns;   // of the drain, wherever it ran
  std::vector<double> drain_over_ns;  // from the call that restarts until nothing is deferred; 0 if it was in the pause
  std::vector<double> stall_ns;       // worst single allocation or free after the restart
  Histogram latency;                  // of one allocation and one free
  Histogram hiccup;                   // gaps between two readings of the clock, same threads, no pool
  double expected_interval_ns = 0;    // median latency: what an operation takes when nothing holds it up
  double hiccup_seconds = 0;
  size_t mutator_bytes = 0;                       // of the stacks that mutators allocate
  std::vector<std::pair<double, uint64_t>> held;  // (ns since the stop, bytes) of the last cycle
};

inline constexpr int64_t kAfterRestartNs = 200'000'000;

PauseResult run_pause_study(const PauseCase& pause_case);

}  // namespace stackdrain
