// Minimize: the fewest operations, then the simplest arguments, with which a program still does the same.
//
//   operations    chunks of half the program, of a quarter, …, of one, then two at a time where few are left (ddmin)
//   names         goroutines in the order of their first use from g0, or at least g7 to g0 if there is no g0; markers,
//                 processors and heap slots likewise
//   arguments     each field of each operation towards 0, by the table of operations
//
// until nothing gets smaller. Deterministic: the same program and the same answers, the same result. Bounded by the
// number of tries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "fuzz/program.h"

namespace stackdrain {

struct Minimized {
  std::vector<uint8_t> program;
  size_t tries = 0;
  bool complete = true;  // false: the tries were used up before nothing got smaller
};

inline constexpr size_t kMostTries = 5000;

// `same`: does a program still do what is looked for? It does, for `program`.
Minimized minimize(ProgramView program, const std::function<bool(ProgramView)>& same, size_t most_tries = kMostTries);

}  // namespace stackdrain
