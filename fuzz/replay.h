// Replay: drives a pool with a recorded trace, accounts cycle by cycle, and compares the pool's decisions with the real
// ones.
//
// A and F rows become allocate and free (retire between S and R, with what the C row said); S begins a cycle with
// mutators running, R ends its mark, E runs the deferred work to its end. Rows of threads without a processor, and rows
// while the world is stopped, go to the pool, past the caches.
//
// When a cache is flushed decides which spans become empty, so it is done where Go 1.19 does it
// (mcache.prepareForSweep): by the processor that restarts the world at R (procresize); by another when a thread takes
// it up (acquirep), of which the trace shows only its first event after R; by what is idle until then after E (forEachP
// in gcMarkTermination). The counts are compared at E, before that last flush, because a trace's Q rows of that flush
// come after E.
//
// A replay goes as fast as it can, or keeps the trace's time: then each row waits until its moment has come, so that
// the caches are as cold as pauses between the rows leave them, and what each call takes is noted; several pools take
// each row in turn, in one pass over the trace.
//
// Violations: a stack of another size than asked, outside the mapped arena, or overlapping a live one; live counts that
// differ from the pool's at a cycle's end; anything left when all is freed at the end.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "fuzz/trace.h"
#include "target/any_pool.h"
#include "target/arena.h"
#include "target/drain/policies.h"

namespace stackdrain {

struct CycleRow {
  uint64_t cycle = 0;
  uint64_t allocations = 0;  // since the row before
  uint64_t frees = 0;
  uint64_t grows = 0;
  uint64_t shrinks = 0;
  uint64_t spans = 0;       // held by our pool when the cycle is over
  uint64_t real_spans = 0;  // held by the real one
  uint64_t held_bytes = 0;  // deferred, or kept back, when the mark is over and no drain has run
  uint64_t stack_bytes = 0;
  uint64_t violations = 0;
};

struct SpansTaken {
  uint64_t ours = 0;
  uint64_t real = 0;
};

struct ReplayResult {
  uint64_t events = 0;
  uint64_t allocations = 0;
  uint64_t frees = 0;
  uint64_t violations = 0;
  std::string first_violation;
  uint64_t peak_held_bytes = 0;
  uint64_t peak_stack_bytes = 0;
  double seconds = 0;
  std::vector<double> pause_ns;  // of each cycle: end_mark
  std::vector<double> drain_ns;  // ... and the work that it left for after the restart
  std::vector<double> call_ns;   // at recorded speed: of each allocation, free and retire, in order
  std::vector<CycleRow> cycles;
  std::map<uint64_t, SpansTaken> taken;  // by stack size
  // Over the cycles' ends: the real number of spans, and how far ours is off.
  double real_spans_mean = 0;
  double spans_mean_abs_error = 0;
};

// The bytes of arena that any of our traces needs, several times over.
inline constexpr size_t kReplayArenaBytes = size_t{2} << 30;

ReplayResult replay(const Trace& trace, AnyPool& pool, PoolParams params);
// At recorded speed; one result a pool.
std::vector<ReplayResult> replay_as_recorded(const Trace& trace, std::span<AnyPool* const> pools, PoolParams params);
// What the rows of a trace say it took to record, in seconds.
double recorded_seconds(const Trace& trace);

}  // namespace stackdrain
