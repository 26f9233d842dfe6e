// A schedule for people: who ran at which point, step by step, beside the program.
#pragma once

#include <cstddef>
#include <cstdio>
#include <span>

#include "fuzz/schedule.h"

namespace stackdrain {

// Prints a violation, the program, and the schedule up to where it was seen. After Scheduler::run. Allocates nothing.
void print_schedule_finding(std::FILE* out, const Scheduler& scheduler, const PolicyRow& policy);
// The same for when something else than the checker ended the process in the middle of a run.
void print_schedule_stop(std::FILE* out, const Scheduler& scheduler, const char* stopped_by);
// The faults that a run has met, and how long a mutator waited for a drainer at most.
void print_faults(std::FILE* out, const ScheduleVerdict& verdict);
// Not each point: where somebody begins, ends, or loses the processor.
bool worth_telling(std::span<const ScheduleStep> steps, size_t i);
// Who ran, operation by operation, and where each was interrupted.
void print_steps(std::FILE* out, const Scheduler& scheduler);

}  // namespace stackdrain
