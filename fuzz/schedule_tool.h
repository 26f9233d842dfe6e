// The verb `schedule`: what an input of schedule_fuzzer comes to: the input as text, who ran at which point, what
// broke; as a page; as short as it can be.
#pragma once

#include <string>

namespace stackdrain {

struct ScheduleOptions {
  std::string policy;  // "": the first that fails, else the first
  std::string defect;  // for the command that reproduces; it is planted already
  bool minimize = false;
  std::string minimize_to;  // each "": not written
  std::string html;
  bool json = false;
};

// Exit code: 0 if it passes, 1 if not. Throws InputError; for a file that can't be written, before it runs anything.
int schedule_verb(const std::string& path, const ScheduleOptions& options);

}  // namespace stackdrain
