// policy_fuzzer: one program against one policy, or against each sound one in turn when none is chosen
//
// STACKDRAIN_POLICY and STACKDRAIN_DEFECT in the environment choose a policy and a planted defect by name (OSS-Fuzz
// runs it with neither). Deterministic: all state is reset in place. Silent on the happy path; a finding prints the
// invariant, the operation, the program as text and the span map, then aborts. Works under libFuzzer and under AFL++'s
// driver; uses no custom mutator.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/explain.h"
#include "fuzz/harness.h"
#include "fuzz/machine.h"
#include "target/drain/policies.h"

#if STACKDRAIN_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace stackdrain {
namespace {

// Read and cleared by libFuzzer around each input; other engines see a plain array.
__attribute__((section("__libfuzzer_extra_counters"))) uint8_t state_counters[kStateCounters];

Machine& machine() {
  static Machine& instance = *new Machine;  // lives as long as the process
  return instance;
}

// When a sanitizer or the pool's own assertion, not the checker, stops the process: say which operation that was.
[[maybe_unused]] void print_on_death() {
  print_stop(stderr, machine(), "a sanitizer");
}
void print_on_assertion() {
  print_stop(stderr, machine(), "the pool's own assertion");
}

void run(ProgramView program, const PolicyRow& policy) {
  const Verdict& verdict = machine().run(program, policy);
  if (!verdict.violated) return;
  print_finding(stderr, program, policy, verdict, machine());
  std::abort();
}

}  // namespace
}  // namespace stackdrain

extern "C" int LLVMFuzzerInitialize(int*, char***);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  stackdrain::plant_chosen_defect();
  stackdrain::chosen_policy();
  stackdrain::machine().count_states(stackdrain::state_counters);
  stackdrain::on_check_failure = stackdrain::print_on_assertion;
#if STACKDRAIN_ASAN
  __sanitizer_set_death_callback(stackdrain::print_on_death);
#endif
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stackdrain;
  static const PolicyRow* const chosen = chosen_policy();
  const ProgramView program(data, size);
  if (chosen != nullptr) {
    run(program, *chosen);
    return 0;
  }
  for (const PolicyRow& policy : policies()) {
    if (policy.claims.sound) run(program, policy);
  }
  return 0;
}
