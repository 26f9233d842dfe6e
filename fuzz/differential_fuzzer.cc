// differential_fuzzer: one program on every sound policy at once; what a program can see must be the same
//
// See fuzz/differential.h for what is compared. STACKDRAIN_DEFECT in the environment plants a defect by name.
// Deterministic: all state is reset in place. Silent on the happy path; a finding prints both policies, the operation
// and the program as text, then aborts.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/differential.h"
#include "fuzz/explain.h"
#include "fuzz/harness.h"

namespace stackdrain {
namespace {

Differential& differential() {
  static Differential& instance = *new Differential(harness_machine());  // lives as long as the process
  return instance;
}

}  // namespace
}  // namespace stackdrain

extern "C" int LLVMFuzzerInitialize(int*, char***);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  stackdrain::plant_chosen_defect();
  stackdrain::harness_machine();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stackdrain;
  note_input();
  const ProgramView program(data, std::min(size, kMostInputBytes));
  const Difference& difference = differential().run(program);
  if (!difference.found()) {
    harness_machine().put_away();
    return 0;
  }
  print_difference(stderr, program, difference, harness_machine());
  say_what_was_reached();
  std::abort();
}
