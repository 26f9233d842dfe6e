// Reproducer: a recorded run as a C++ program of its own against target's public interface: the calls that the machine
// made, in a row; what ran inside an operation runs in a yield hook.
//
// Its exit code is 1 if what was seen is seen again, 0 if not: a pointer that dangles, a lock taken twice, the
// process's end; for whatever else the checker told from history, that the state is the same, word for word.
#pragma once

#include <string>

#include "fuzz/timeline.h"

namespace stackdrain {

// The program's text. `name`: the file's, for the line that says how to compile it. Only of a recording that failed.
std::string reproducer_of(const Recording& recording, const std::string& name);

}  // namespace stackdrain
