// Go study: the program that was run in the real Go runtime (reports/data/README.md), with a pool of ours under it.
//
// n goroutines start on the smallest stack; each in turn calls itself until its stack has the wanted size, returns and
// blocks; then one collection halves them all. That repeats, the first time included. Nothing is put in order, aged or
// chosen: stacks are queued in the order in which the runtime meets its goroutines. So this, not the drain study's
// random order, is what real Go's figures may be held against. The caches hold what our mark left, which takes a
// hundredth of the time of Go's (it unwinds no frames by tables), or nothing: real Go's lie between the two.
#pragma once

#include <cstddef>
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

// What end_mark took in each repetition, in ns.
std::vector<double> run_go_study(const GoCase& go_case, CacheFlusher& flusher);

}  // namespace stackdrain
