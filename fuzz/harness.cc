#include "fuzz/harness.h"

#include <cstdio>
#include <cstdlib>

#include "fuzz/explain.h"
#include "target/defects.h"

#if STACKDRAIN_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace stackdrain {
namespace {

// Read and cleared by libFuzzer around each input; other engines see a plain array.
__attribute__((section("__libfuzzer_extra_counters"))) uint8_t state_counters[kStateCounters];

[[maybe_unused]] void print_on_death() {
  print_stop(stderr, harness_machine(), "a sanitizer");
}
void print_on_assertion() {
  print_stop(stderr, harness_machine(), "the pool's own assertion");
}

Machine& make_machine() {
  Machine& machine = *new Machine;  // lives as long as the process
  machine.count_states(state_counters);
  on_check_failure = print_on_assertion;
#if STACKDRAIN_ASAN
  __sanitizer_set_death_callback(print_on_death);
#endif
  return machine;
}

}  // namespace

Machine& harness_machine() {
  static Machine& machine = make_machine();
  return machine;
}

const PolicyRow* chosen_policy() {
  const char* name = std::getenv("STACKDRAIN_POLICY");
  if (name == nullptr || name[0] == 0) return nullptr;
  const PolicyRow* row = find_policy(name);
  if (row != nullptr) return row;
  std::fprintf(stderr, "STACKDRAIN_POLICY: no policy is called '%s'; see: stackdrain list policies\n", name);
  std::exit(2);
}

void plant_chosen_defect() {
  const char* name = std::getenv("STACKDRAIN_DEFECT");
  if (name == nullptr || name[0] == 0) return;
#if STACKDRAIN_DEFECTS
  for (size_t i = 0; i < kDefects.size(); ++i) {
    if (kDefects[i].name != name) continue;
    planted_defect = static_cast<Defect>(i);
    return;
  }
  std::fprintf(stderr, "STACKDRAIN_DEFECT: no defect is called '%s'; see: stackdrain list defects\n", name);
#else
  std::fprintf(stderr, "STACKDRAIN_DEFECT: this build has no planted defects; build with -DSTACKDRAIN_DEFECTS=ON\n");
#endif
  std::exit(2);
}

}  // namespace stackdrain
