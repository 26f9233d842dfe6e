// The verb `explain`: what a program comes to, for people (text, a page to look at) and for machines (JSON, a
// reproducer, a bundle of all); and the smallest program that still does it.
#pragma once

#include <string>

#include "fuzz/machine.h"

namespace stackdrain {

struct ExplainOptions {
  std::string policy;  // "": the first sound one that fails, else the first that does; or "differential"
  std::string defect;  // for the command that reproduces; it is planted already
  bool minimize = false;
  std::string minimize_to;  // each "": not written
  std::string html;
  std::string cpp;
  std::string bundle;
  std::string commit;  // of this source, for the bundle
  bool json = false;
};

// Exit code: 0 if it passes, 1 if not. Throws InputError.
int explain_verb(Machine& machine, const std::string& path, const ExplainOptions& options);

}  // namespace stackdrain
