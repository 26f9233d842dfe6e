// Explain: a program's run for people: the text, what each operation did, the broken invariant with both sides, the
// span map.
#pragma once

#include <cstddef>
#include <cstdio>

#include "fuzz/differential.h"
#include "fuzz/machine.h"

namespace stackdrain {

// Prints a violation with its signature, the program as text with the operation marked, and the span map before and
// after it, for which the program is run again. `program` is what the machine ran. Allocates nothing.
void print_finding(std::FILE* out, ProgramView program, const PolicyRow& policy, const Verdict& verdict,
                   Machine& machine);

// A difference between two policies, as print_finding prints a violation; the span maps of both.
void print_difference(std::FILE* out, ProgramView program, const Difference& difference, Machine& machine);

// For when something else than the checker ends the process in the middle of a program (a sanitizer, the pool's own
// assertion): says which operation of which program that was. Allocates nothing.
void print_stop(std::FILE* out, const Machine& machine, const char* stopped_by);

// Runs the program and prints the story operation by operation, then the verdict and the span maps. The verdict.
const Verdict& explain(std::FILE* out, Machine& machine, ProgramView program, const PolicyRow& policy);

}  // namespace stackdrain
