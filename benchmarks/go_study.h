// Go study: the program that was run in the real Go runtime (reports/data/README.md), with a pool of ours under it.
//
// n goroutines start on the smallest stack; each, when it runs, calls itself until its stack has the wanted size,
// returns and blocks; then one collection halves them all. That repeats, the first time included. They run in the order
// in which the scheduler of that time picks those that one goroutine made ready (run_order), and are met by the mark in
// the order in which they were made. Nothing else is put in order, aged or chosen. So this, not the drain study's
// random order, is what real Go's figures may be held against. The caches hold what our mark left, which takes a
// hundredth of the time of Go's (it unwinds no frames by tables), or nothing: real Go's lie between the two. A span
// that becomes free is stamped with the time, as there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "benchmarks/chase.h"
#include "target/drain/policies.h"

namespace stackdrain {

struct GoCase {
  const PolicyRow* policy = nullptr;
  size_t stacks = 0;
  size_t bytes = 0;  // of each, before the collection; more than kStartStack
  int repetitions = 7;
  bool cold = false;  // everything is flushed before the drain
};

// In which order goroutines run that one goroutine made ready, one after the other, before it blocked itself: Go's
// scheduler with one processor, from 1.1 to the runnext slot of 1.5 (proc.c: runqput, runqputslow, schedule,
// globrunqget). They wait in a local queue of 256; when it runs over, the first half of it and the new one go to the
// global queue. The local queue's first runs, but every 61st time the global queue's; an empty local queue is given
// half a queue at most.
std::vector<uint32_t> run_order(std::span<const uint32_t> ready);

// What end_mark took in each repetition, in ns.
std::vector<double> run_go_study(const GoCase& go_case, CacheFlusher& flusher);

}  // namespace stackdrain
