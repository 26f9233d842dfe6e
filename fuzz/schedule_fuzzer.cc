// schedule_fuzzer: one program and its schedule, as cooperative threads, against one policy or each sound one in turn
//
// STACKDRAIN_POLICY and STACKDRAIN_DEFECT in the environment choose a policy and a planted defect by name (OSS-Fuzz
// runs it with neither). Deterministic: all state is reset in place. Silent on the happy path; a finding prints the
// invariant, the program as text, and who ran at which point, then aborts.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/harness.h"
#include "fuzz/schedule.h"
#include "fuzz/schedule_mutator.h"
#include "fuzz/schedule_text.h"

namespace stackdrain {
namespace {

// Read and cleared by libFuzzer around each input: what was interrupted where, and by what.
__attribute__((section("__libfuzzer_extra_counters"))) uint8_t switch_counters[kSwitchCounters];

Scheduler& make_scheduler() {
  Scheduler& instance = *new Scheduler;  // lives as long as the process
  instance.count_switches(switch_counters);
  return instance;
}

Scheduler& scheduler() {
  static Scheduler& instance = make_scheduler();
  return instance;
}

void say_stop(const char* stopped_by) {
  print_schedule_stop(stderr, scheduler(), stopped_by);
}

void run(const ScheduleInput& input, const PolicyRow& policy) {
  const ScheduleVerdict& verdict = scheduler().run(input, policy);
  if (!verdict.violated) return;
  print_schedule_finding(stderr, scheduler(), policy);
  say_what_was_reached();
  std::abort();
}

}  // namespace
}  // namespace stackdrain

extern "C" {
int LLVMFuzzerInitialize(int*, char***);
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// libFuzzer has it, other engines may not.
__attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed);

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  static const bool plain = std::getenv("STACKDRAIN_PLAIN_MUTATION") != nullptr;
  if (plain && LLVMFuzzerMutate != nullptr) return LLVMFuzzerMutate(data, size, max_size);
  return stackdrain::mutate_schedule(data, size, max_size, seed, LLVMFuzzerMutate);
}
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  stackdrain::plant_chosen_defect();
  stackdrain::chosen_policy();
  stackdrain::say_stops_with(stackdrain::say_stop);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stackdrain;
  static const PolicyRow* const chosen = chosen_policy();
  note_input();
  const ScheduleInput input(data, size);
  if (chosen != nullptr) {
    run(input, *chosen);
  } else {
    for (const PolicyRow& policy : policies()) {
      if (policy.claims.sound) run(input, policy);
    }
  }
  scheduler().put_away();
  return 0;
}
