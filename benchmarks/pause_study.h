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
//
// Cycles go before that are not measured: the first touches the shrunk stacks' pages for the first time, which takes
// several times as long as the mark itself and is no policy's doing, and in a fresh process stacks lie in the order in
// which they are queued. Large stacks, of which most pages are never touched, meet new ones in some cycles more.
//
// The last cycle is also watched: held bytes while the mark goes on and while the drain does, the stretches in which
// the first mutator got nothing done, and, if asked, the states of some spans as a marker's locate() answers them. What
// watching takes during the mark is not counted as mark.
#pragma once

#include <array>
#include <cstdint>
#include <string>
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
  int ageing = 1;  // cycles before the first that is measured
  int cycles = 3;
  int least_cycles = 2;            // done even after...
  int64_t until_ns = INT64_MAX;    // ... this time of the clock
  int64_t hiccup_ns = 60'000'000;  // each cycle's share of the baseline
  size_t watched_spans = 0;        // whose states are noted in the last cycle
};

// Stretches in which a thread that reads the clock all the time got nothing done. Takes no memory while it records:
// when it is full it forgets the short ones and is blind to such from then on.
class StallList {
 public:
  // Noted from that length on.
  int64_t from_ns() const { return from_ns_; }
  // [start, start + ns); one that begins when the last one has hardly ended continues it.
  void note(int64_t start, int64_t ns) {
    if (ns >= from_ns_) [[unlikely]]
      add(start, ns);
  }
  // (start - since, length) of each, by start.
  std::vector<std::pair<double, double>> since(int64_t since) const;
  void clear() {
    count_ = 0;
    from_ns_ = kFirstFromNs;
  }

 private:
  static constexpr int64_t kFirstFromNs = 1000;
  struct Stall {
    int64_t start = 0;
    int64_t end = 0;
  };
  void add(int64_t start, int64_t ns);

  std::array<Stall, 1024> stalls_;
  size_t count_ = 0;
  int64_t from_ns_ = kFirstFromNs;
};

// Some spans that held stacks when a cycle was asked for, and what locate() said of them at moments of it.
struct SpanTimeline {
  std::vector<uint64_t> offsets;                        // of the spans, from the arena's base
  std::vector<std::pair<double, std::string>> moments;  // (ns since the stop, phase)
  std::vector<std::string> states;  // of each moment, a letter a span: S as it was, R reissued, F free, H heap, - gone
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
  std::vector<double> mark_faults;    // pages that the mark was the first to touch
  std::vector<double> drain_cpu_ns;   // of the drain, wherever it ran
  std::vector<double> drain_over_ns;  // from the call that restarts until nothing is deferred; 0 if it was in the pause
  std::vector<double> stall_ns;       // worst single allocation or free after the restart
  std::vector<double> hiccup_ns;      // the worst gap of the same cycle's hiccup window
  Histogram latency;                  // of one allocation and one free
  Histogram hiccup;                   // gaps between two readings of the clock, same threads, no pool
  double expected_interval_ns = 0;    // median latency: what an operation takes when nothing holds it up
  double hiccup_seconds = 0;
  size_t mutator_bytes = 0;                       // of the stacks that mutators allocate
  std::vector<std::pair<double, uint64_t>> held;  // (ns since the stop, bytes) of the last cycle
  // The last cycle's, of the first mutator: (ns since the stop, length), the pause itself first; and of the hiccup
  // window before it, since that began.
  std::vector<std::pair<double, double>> stalls;
  std::vector<std::pair<double, double>> hiccup_stalls;
  double stalls_from_ns = 0;  // shorter ones were not noted
  double watched_ns = 0;      // from the stop to when the watch ended
  uint64_t switches = 0;      // involuntary context switches of the mutators
  SpanTimeline timeline;
};

inline constexpr int64_t kAfterRestartNs = 200'000'000;

PauseResult run_pause_study(const PauseCase& pause_case);

}  // namespace stackdrain
