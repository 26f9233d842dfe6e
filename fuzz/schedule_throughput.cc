// How fast schedule_fuzzer is: programs whose schedule has about 64 points, one policy, under the sanitizers of the
// build that it is part of. As throughput.cc, of which it is the other half: what runs schedules is linked to other
// libraries.
//
// Prints a JSON object a policy: executions a second of the processor's time, and how many points and interruptions a
// run has. `schedule_throughput train`: as `throughput train`.
#include <array>
#include <cstdint>
#include <cstdio>
#include <ctime>

#include "fuzz/rates.h"
#include "fuzz/schedule.h"
#include "fuzz/schedule_mutator.h"

namespace stackdrain {
namespace {

constexpr size_t kSchedules = 256;
constexpr size_t kBytes = 64 * kBytesPerOperation;
constexpr size_t kFewestPoints = 48;
constexpr size_t kMostPoints = 80;

struct Schedule {
  std::array<uint8_t, kBytes> bytes{};
  size_t size = 0;
};

// Grown by the mutator from nothing until a run of it has about 64 points.
Schedule make_schedule(Scheduler& scheduler, const PolicyRow& policy, uint32_t seed) {
  Schedule schedule;
  for (uint32_t turn = 0;; ++turn) {
    schedule.size = mutate_schedule(schedule.bytes.data(), schedule.size, kBytes, seed * 4096 + turn, nullptr);
    const ScheduleVerdict& verdict = scheduler.run({schedule.bytes.data(), schedule.size}, policy);
    if (verdict.steps >= kFewestPoints && verdict.steps <= kMostPoints && verdict.switches != 0) return schedule;
    if (verdict.steps > kMostPoints) schedule.size = 0;
  }
}

using Schedules = std::array<Schedule, kSchedules>;

void make_schedules(Schedules& schedules, Scheduler& scheduler, const PolicyRow& policy, uint32_t first_seed) {
  for (uint32_t i = 0; i < kSchedules; ++i) schedules[i] = make_schedule(scheduler, policy, first_seed + i);
}

int run(double seconds) {
  static Scheduler scheduler;
  static Schedules schedules;
  for (const PolicyRow& policy : policies()) {
    if (!policy.claims.sound) continue;
    make_schedules(schedules, scheduler, policy, kMeasured);
    uint64_t executions = 0;
    uint64_t points = 0;
    uint64_t switches = 0;
    double elapsed = 0;
    for (const std::clock_t begun = std::clock(); elapsed < seconds;) {  // of the processor: one thread, nothing waits
      for (const Schedule& schedule : schedules) {
        const ScheduleVerdict& verdict = scheduler.run({schedule.bytes.data(), schedule.size}, policy);
        points += verdict.steps;
        switches += verdict.switches;
      }
      executions += kSchedules;
      elapsed = static_cast<double>(std::clock() - begun) / CLOCKS_PER_SEC;
    }
    const double runs = static_cast<double>(executions);
    std::printf(
        "{\"fuzzer\":\"schedule_fuzzer\",\"policy\":\"%s\",\"points\":%.1f,\"interruptions\":%.1f,"
        "\"executions_per_second\":%.0f}\n",
        policy.name.data(), static_cast<double>(points) / runs, static_cast<double>(switches) / runs, runs / elapsed);
  }
  return 0;
}

int train() {
  static Scheduler scheduler;
  static Schedules schedules;
  for (const PolicyRow& policy : policies()) {
    if (!policy.claims.sound) continue;
    make_schedules(schedules, scheduler, policy, kTrained);
    for (int turn = 0; turn < kTrainings; ++turn) {
      for (const Schedule& schedule : schedules) scheduler.run({schedule.bytes.data(), schedule.size}, policy);
    }
  }
  return 0;
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  return stackdrain::measure_or_train(argc, argv, stackdrain::run, stackdrain::train);
}
