// What harnesses share.
//
// STACKDRAIN_POLICY and STACKDRAIN_DEFECT in the environment name a policy and a planted defect; OSS-Fuzz runs
// harnesses with neither. A name that is not known ends the process with one line and exit code 2.
#pragma once

#include "fuzz/machine.h"
#include "target/drain/policies.h"

namespace stackdrain {

// The chosen policy; nullptr if none was chosen.
const PolicyRow* chosen_policy();
void plant_chosen_defect();

// A harness that takes programs runs no more of an input than this, whatever the engine's limit: what one input costs
// is bounded. It is four times what engines are told to make (fuzz/oss-fuzz/fuzzer.options).
inline constexpr size_t kMostInputBytes = 1024;

// Call at the start of each input: counts it. With a defect planted the process says at its end after how many inputs
// and seconds the defect's site was first reached, and how many there were: "canary: reached 12 0.004 ended 130 0.041".
void note_input();

// That line, now; a harness that found something calls it before it aborts.
void say_what_was_reached();

// From now on `say` tells where the process was when a sanitizer or the pool's own assertion ends it; else the machine.
void say_stops_with(void (*say)(const char* stopped_by));

// The process's one machine. It tells the engine which states a program reached, and when a sanitizer or the pool's own
// assertion ends the process it says which operation that was.
Machine& harness_machine();

}  // namespace stackdrain
