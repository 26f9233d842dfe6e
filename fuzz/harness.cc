#include "fuzz/harness.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iterator>

#include "fuzz/explain.h"
#include "target/defects.h"

#if STACKDRAIN_ASAN
#include <sanitizer/asan_interface.h>
#endif

#if STACKDRAIN_ASAN && defined(__x86_64__) && defined(__linux__)
#include <ucontext.h>
#include <csignal>
#define STACKDRAIN_EXPLAINS_TRAPS 1
#else
#define STACKDRAIN_EXPLAINS_TRAPS 0
#endif

namespace stackdrain {
namespace {

// Read and cleared by libFuzzer around each input; other engines see a plain array.
__attribute__((section("__libfuzzer_extra_counters"))) uint8_t state_counters[kStateCounters];

using Clock = std::chrono::steady_clock;

#if STACKDRAIN_DEFECTS
// Counts inputs until the planted defect was reached and until the end.
class Canary {
 public:
  void input() {
    look();
    ++inputs_;
  }
  void print() {
    if (printed_ || planted_defect == Defect::kNone) return;
    printed_ = true;
    look();
    std::fprintf(stderr, "canary: reached %llu %.4f ended %llu %.4f\n", static_cast<unsigned long long>(reached_),
                 reached_ == 0 ? 0.0 : seconds(reached_at_), static_cast<unsigned long long>(inputs_),
                 seconds(Clock::now()));
  }

 private:
  void look() {
    if (reached_ != 0 || planted_reached.load(std::memory_order_relaxed) == 0) return;
    reached_ = inputs_;
    reached_at_ = Clock::now();
  }
  double seconds(Clock::time_point at) const { return std::chrono::duration<double>(at - begun_).count(); }

  const Clock::time_point begun_ = Clock::now();
  Clock::time_point reached_at_;
  uint64_t inputs_ = 0;
  uint64_t reached_ = 0;
  bool printed_ = false;
};

Canary& canary() {
  static Canary instance;
  return instance;
}
void print_canary() {
  canary().print();
}
#else
void print_canary() {}
#endif

void say_machine_stop(const char* stopped_by) {
  print_stop(stderr, harness_machine(), stopped_by);
}
void (*say_stop)(const char* stopped_by) = say_machine_stop;

void print_on_assertion() {
  print_canary();
  say_stop("the pool's own assertion");
}

#if STACKDRAIN_EXPLAINS_TRAPS
// What UBSan checks, by the number that clang puts into the trap: `ud1l NUMBER(%eax), %eax`.
constexpr const char* kTrapNames[] = {"add-overflow",       "unreachable",        "cfi",
                                      "division",           "dynamic-type",       "float-cast-overflow",
                                      "function-type",      "conversion",         "invalid-builtin",
                                      "objc-cast",          "load-invalid-value", "missing-return",
                                      "mul-overflow",       "negate-overflow",    "nullability-arg",
                                      "nullability-return", "nonnull-arg",        "nonnull-return",
                                      "out-of-bounds",      "pointer-overflow",   "shift-out-of-bounds",
                                      "sub-overflow",       "type-mismatch",      "alignment-assumption",
                                      "vla-bound"};
constexpr uint8_t kTrap[] = {0x67, 0x0f, 0xb9};

// UBSan traps here instead of calling its runtime, which is faster; so its report is made here, and the process ends as
// with any other finding.
void explain_trap(int, siginfo_t*, void* context) {
  const auto at = static_cast<uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
  const auto* code = reinterpret_cast<const uint8_t*>(at);
  const char* what = "undefined behaviour";
  if (std::equal(std::begin(kTrap), std::end(kTrap), code)) {
    const size_t number = code[3] == 0x40 ? code[4] : 0;  // 0 has no byte of its own
    if (number < std::size(kTrapNames)) what = kTrapNames[number];
  }
  char place[512] = "?";
  __sanitizer_symbolize_pc(reinterpret_cast<void*>(at + 1), "%S in %f", place, sizeof place);
  std::fprintf(stderr, "UndefinedBehaviorSanitizer: %s at %s\n", what, place);
  print_canary();
  print_stop(stderr, harness_machine(), "a sanitizer");
  std::abort();
}

void explain_traps() {
  struct sigaction action{};
  action.sa_sigaction = explain_trap;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &action, nullptr);
}
#else
void explain_traps() {}
#endif

Machine& make_machine() {
  Machine& machine = *new Machine;  // lives as long as the process
  machine.count_states(state_counters);
  on_check_failure = print_on_assertion;
  explain_traps();
  return machine;
}

}  // namespace

#if STACKDRAIN_ASAN
// The sanitizers call these before they end the process; the death callback is the engine's own.
extern "C" void __asan_on_error() {
  print_canary();
  say_stop("a sanitizer");
}
extern "C" void __ubsan_on_report() {  // NOLINT(bugprone-reserved-identifier): the name is the sanitizer's
  __asan_on_error();
}
#endif

#if STACKDRAIN_DEFECTS
void note_input() {
  canary().input();
}
#else
void note_input() {}
#endif

void say_stops_with(void (*say)(const char* stopped_by)) {
  say_stop = say;
  on_check_failure = print_on_assertion;
}

void say_what_was_reached() {
  print_canary();
}

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
    canary();
    std::atexit(print_canary);
    return;
  }
  std::fprintf(stderr, "STACKDRAIN_DEFECT: no defect is called '%s'; see: stackdrain list defects\n", name);
#else
  std::fprintf(stderr, "STACKDRAIN_DEFECT: this build has no planted defects; build with -DSTACKDRAIN_DEFECTS=ON\n");
#endif
  std::exit(2);
}

}  // namespace stackdrain
