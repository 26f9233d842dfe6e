// The verb `explore`: what was proved about a small world, or a shortest counterexample; as text or JSON.
#pragma once

#include <cstddef>
#include <string>

#include "fuzz/machine.h"

namespace stackdrain {

struct ExploreOptions {
  std::string policy = "sound";
  std::string defect;  // for the command that reproduces; it is planted already
  std::string world;   // empty: each of the table
  size_t depth = 0;
  double seconds = 0;     // for each policy and world; 0: no bound
  size_t megabytes = 0;   // 0: no bound
  std::string out = "-";  // where a shortest counterexample is written, beside being printed; "-": nowhere
  bool json = false;
};

// Exit code: 0, 1 if a counterexample was found, or 2 if what was found can't be written. Throws InputError for an
// unknown name, and for a file that can't be written, before it searches.
int explore_verb(Machine& machine, const ExploreOptions& options);

}  // namespace stackdrain
