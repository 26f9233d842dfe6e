// How fast a harness is: programs of 64 operations, one policy, under the sanitizers of the build that it is part of.
//
// Prints a JSON object a policy: executions and operations a second as a fuzzer checks (the O(1) invariants after each
// operation, walks by what there is to walk) and with the full walk after every operation. The programs are the
// mutator's, so about as much of them happens as when fuzzing; `done` is the share of operations that were no no-ops.
//
// `throughput train`: runs other programs than these, always the same and so many times, and prints nothing: what a
// build that counts (preset fuzz-counting) makes its profile of.
#include <array>
#include <chrono>
#include <cstdio>

#include "fuzz/machine.h"
#include "fuzz/mutator.h"
#include "fuzz/rates.h"

namespace stackdrain {
namespace {

constexpr size_t kPrograms = 256;
constexpr size_t kOperations64 = 64;
constexpr size_t kBytes = kOperations64 * kBytesPerOperation;
using Program = std::array<uint8_t, kBytes>;
using Programs = std::array<Program, kPrograms>;

// Grown by the mutator from nothing until it has 64 operations.
Program make_program(uint32_t seed) {
  Program program{};
  size_t size = 0;
  for (uint32_t turn = 0; size < kBytes; ++turn) {
    size = mutate_program(program.data(), size, kBytes, seed * 4096 + turn, nullptr);
  }
  return program;
}

void make_programs(Programs& programs, uint32_t first_seed) {
  for (uint32_t i = 0; i < kPrograms; ++i) programs[i] = make_program(first_seed + i);
}

struct Rate {
  double executions = 0;  // a second
  double done = 0;        // share of the operations
};

Rate measure(Machine& machine, const Programs& programs, const PolicyRow& policy, double seconds) {
  using Clock = std::chrono::steady_clock;
  uint64_t executions = 0;
  uint64_t no_ops = 0;
  const auto begun = Clock::now();
  double elapsed = 0;
  while (elapsed < seconds) {
    for (const Program& program : programs) no_ops += machine.run({program.data(), program.size()}, policy).no_ops;
    executions += kPrograms;
    elapsed = std::chrono::duration<double>(Clock::now() - begun).count();
  }
  const double operations = static_cast<double>(executions * kOperations64);
  return {static_cast<double>(executions) / elapsed, 1 - static_cast<double>(no_ops) / operations};
}

int run(double seconds) {
  static Machine machine;
  static Programs programs;
  make_programs(programs, kMeasured);
  for (const PolicyRow& policy : policies()) {
    if (!policy.claims.sound) continue;
    machine.walk_always(false);
    measure(machine, programs, policy, seconds / 10);  // first use, first touch
    const Rate usual = measure(machine, programs, policy, seconds);
    machine.walk_always(true);
    const Rate walked = measure(machine, programs, policy, seconds);
    std::printf(
        "{\"policy\":\"%s\",\"operations\":%zu,\"done\":%.3f,\"executions_per_second\":%.0f,"
        "\"operations_per_second\":%.0f,\"walked_operations_per_second\":%.0f}\n",
        policy.name.data(), kOperations64, usual.done, usual.executions, usual.executions * kOperations64,
        walked.executions * kOperations64);
  }
  return 0;
}

int train() {
  static Machine machine;
  static Programs programs;
  make_programs(programs, kTrained);
  for (const PolicyRow& policy : policies()) {
    if (!policy.claims.sound) continue;
    for (int turn = 0; turn < kTrainings; ++turn) {
      machine.walk_always(turn == 0);
      for (const Program& program : programs) machine.run({program.data(), program.size()}, policy);
    }
  }
  return 0;
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  return stackdrain::measure_or_train(argc, argv, stackdrain::run, stackdrain::train);
}
