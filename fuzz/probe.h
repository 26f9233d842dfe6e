// Probe: runs a program in a process of its own: a broken pool may end the process that runs it, or run for ever.
#pragma once

#include <cstdio>
#include <functional>
#include <string>

#include "fuzz/machine.h"

namespace stackdrain {

// The signature of a program's run, "" if it passes. `policy`: nullptr for all sound ones against each other.
std::string probe(Machine& machine, ProgramView program, const PolicyRow* policy);

// What `speak` says; if the process ends in a run, what print_stop says of that, too.
std::string said_by(Machine& machine, const std::function<void(std::FILE*)>& speak);

}  // namespace stackdrain
