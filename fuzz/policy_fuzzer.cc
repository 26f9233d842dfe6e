// policy_fuzzer: one program against one policy, or against each sound one in turn when none is chosen
//
// STACKDRAIN_POLICY and STACKDRAIN_DEFECT in the environment choose a policy and a planted defect by name (OSS-Fuzz
// runs it with neither). Deterministic: all state is reset in place. Silent on the happy path; a finding prints the
// invariant, the operation, the program as text and the span map, then aborts. Works under libFuzzer and under AFL++'s
// driver; libfuzzer_mutator.cc is linked to it, and it needs none.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/explain.h"
#include "fuzz/harness.h"

namespace stackdrain {
namespace {

void run(ProgramView program, const PolicyRow& policy) {
  const Verdict& verdict = harness_machine().run(program, policy);
  if (!verdict.violated) return;
  harness_machine().walk_always(true);
  harness_machine().run(program, policy);
  print_finding(stderr, program, policy, verdict, harness_machine());
  say_what_was_reached();
  std::abort();
}

}  // namespace
}  // namespace stackdrain

extern "C" int LLVMFuzzerInitialize(int*, char***);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  stackdrain::plant_chosen_defect();
  stackdrain::chosen_policy();
  stackdrain::harness_machine();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stackdrain;
  static const PolicyRow* const chosen = chosen_policy();
  note_input();
  const ProgramView program(data, std::min(size, kMostInputBytes));
  if (chosen != nullptr) {
    run(program, *chosen);
  } else {
    for (const PolicyRow& policy : policies()) {
      if (policy.claims.sound) run(program, policy);
    }
  }
  harness_machine().put_away();
  return 0;
}
