// The verb `replay`: traces through policies, as tables or JSON.
#pragma once

#include <string>
#include <vector>

namespace stackdrain {

struct ReplayOptions {
  std::string policy = "sound";
  std::string preset = "go1.19";
  bool json = false;
  bool all_cycles = false;
  // Keeps the time of traces that took at most so many seconds to record, and leaves longer ones out; 0: as fast as
  // can be.
  double recorded = 0;
};

// Exit code: 0, or 1 if a violation was found. Throws InputError for bad input.
int replay_verb(const std::vector<std::string>& files, const ReplayOptions& options);

}  // namespace stackdrain
