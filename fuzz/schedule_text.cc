#include "fuzz/schedule_text.h"

#include <cinttypes>

namespace stackdrain {
namespace {

void print_operation(std::FILE* out, const ScheduleInput& input, size_t index) {
  if (index >= input.program.size()) {
    std::fprintf(out, "(end of the program)");
    return;
  }
  char text[kMaxOperationText];
  format_operation(input.program[index], text, sizeof text);
  std::fprintf(out, "%s", text);
}

void print_program(std::FILE* out, const ScheduleInput& input) {
  std::fprintf(out, "program and schedule (%s%s%s):\n", input.priorities ? "priorities" : "switches",
               input.weak_memory ? ", weak memory" : "", input.deep_buffer ? ", a deep buffer" : "");
  for (size_t i = 0; i < input.program.size(); ++i) {
    std::fprintf(out, "    ");
    print_operation(out, input, i);
    std::fprintf(out, "\n");
  }
  if (input.schedule.empty()) return;
  std::fprintf(out, "    %s", input.priorities ? "priorities" : "switch");
  for (const uint8_t byte : input.schedule) {
    if (input.priorities) {
      std::fprintf(out, " %u", byte);
    } else {
      std::fprintf(out, " %u+%u", byte & 7u, byte >> 3);
    }
  }
  std::fprintf(out, "\n");
}

}  // namespace

bool worth_telling(std::span<const ScheduleStep> steps, size_t i) {
  const ScheduleStep& step = steps[i];
  if (step.point == Point::kBegin || step.switched || i + 1 == steps.size()) return true;
  return i > 0 && steps[i - 1].actor != step.actor;
}

void print_faults(std::FILE* out, const ScheduleVerdict& verdict) {
  for (size_t i = 0; i < kFaults.size(); ++i) {
    if ((verdict.faults >> i & 1) == 0) continue;
    std::fprintf(out, "  fault %s: %s\n", kFaults[i].name.data(), kFaults[i].what.data());
  }
  if (verdict.longest_wait == 0) return;
  std::fprintf(out, "  longest wait of a mutator for a drainer's lock: %" PRIu64 " of its units of work",
               verdict.longest_wait);
  if (verdict.wait_bound != Checker::kUnbounded) std::fprintf(out, ", the policy says %" PRIu64, verdict.wait_bound);
  std::fprintf(out, "\n");
}

void print_steps(std::FILE* out, const Scheduler& scheduler) {
  const std::span<const ScheduleStep> steps = scheduler.steps();
  std::fprintf(out, "  step  who  operation                         point\n");
  for (size_t i = 0; i < steps.size(); ++i) {
    if (!worth_telling(steps, i)) continue;
    const ScheduleStep& step = steps[i];
    if (step.operation >= scheduler.input().program.size() && !scheduler.verdict().violated) break;
    char text[kMaxOperationText] = "(end of the program)";
    if (step.operation < scheduler.input().program.size()) {
      format_operation(scheduler.input().program[step.operation], text, sizeof text);
    }
    const bool last = i + 1 == steps.size();
    std::fprintf(out, "%6zu  %-3s  %-32s  %s%s\n", i, kActorNames[step.actor].data(), text, name_of(step.point).data(),
                 last && scheduler.verdict().violated ? "   <-- seen here"
                 : step.switched                      ? "   ... interrupted"
                                                      : "");
  }
}

void print_schedule_finding(std::FILE* out, const Scheduler& scheduler, const PolicyRow& policy) {
  const ScheduleVerdict& verdict = scheduler.verdict();
  std::fprintf(out, "schedule_fuzzer: policy %s VIOLATES %s at step %zu, %s in `", policy.name.data(),
               id_of(verdict.violation.invariant).data(), verdict.steps == 0 ? 0 : verdict.steps - 1,
               kActorNames[verdict.actor].data());
  print_operation(out, scheduler.input(), verdict.operation);
  std::fprintf(out, "`: %s\n", verdict.violation.message.data());
  print_faults(out, verdict);
  print_program(out, scheduler.input());
  print_steps(out, scheduler);
  std::fflush(out);
}

void print_schedule_stop(std::FILE* out, const Scheduler& scheduler, const char* stopped_by) {
  const PolicyRow* policy = scheduler.running();
  if (policy == nullptr) return;
  if (const Violation* seen = scheduler.seen()) {
    std::fprintf(out, "schedule_fuzzer: policy %s VIOLATES %s: %s\n", policy->name.data(),
                 id_of(seen->invariant).data(), seen->message.data());
  }
  std::fprintf(out, "schedule_fuzzer: policy %s stopped by %s, %s in `", policy->name.data(), stopped_by,
               kActorNames[scheduler.current_actor()].data());
  print_operation(out, scheduler.input(), scheduler.current_operation());
  std::fprintf(out, "`\n");
  print_program(out, scheduler.input());
  print_steps(out, scheduler);
  std::fflush(out);
}

}  // namespace stackdrain
