// Probe: runs a program in a process of its own: a broken pool may end the process that runs it, or run for ever.
#pragma once

#include <cstdio>
#include <functional>
#include <string>

#include "fuzz/machine.h"

namespace stackdrain {

struct Probed {
  std::string signature;  // "": it passes; "stop": the process ended, and nobody could say where
  bool at_end = false;    // seen in what the machine does after the last operation
  bool operator==(const Probed&) const = default;
};

// What a program comes to. `policy`: nullptr for all sound ones against each other.
Probed probe(Machine& machine, ProgramView program, const PolicyRow* policy);

// What `speak` says; if the process ends in a run, what print_stop says of that, too.
std::string said_by(Machine& machine, const std::function<void(std::FILE*)>& speak);

}  // namespace stackdrain
