#include "fuzz/explain.h"

#include <array>

namespace stackdrain {
namespace {

void print_line(std::FILE* out, size_t index, Operation operation, const char* mark, const char* rest) {
  char text[kMaxOperationText];
  format_operation(operation, text, sizeof text);
  std::fprintf(out, "%s %4zu  %-34s%s%s\n", mark, index, text, rest[0] != 0 ? "  # " : "", rest);
}

class Narrator final : public MachineObserver {
 public:
  explicit Narrator(std::FILE* out) : out_(out) {}
  void operation(size_t index, Operation operation, bool nested, const Outcome& outcome) override {
    char rest[256];
    if (outcome.no_op != nullptr) {
      std::snprintf(rest, sizeof rest, "no-op: %s", outcome.no_op);
    } else {
      std::snprintf(rest, sizeof rest, "%s", outcome.story.data());
    }
    print_line(out_, index, operation, nested ? "  |" : "   ", rest);
  }

 private:
  std::FILE* out_;
};

void print_span_map(std::FILE* out, const Machine& machine) {
  static std::array<char, size_t{64} * 1024> map;
  map[machine.format_span_map(map.data(), map.size())] = 0;
  std::fprintf(out, "span map (offsets in the arena):\n%s", map.data());
}

// The program up to the operation `index`, which is pointed at.
void print_program(std::FILE* out, ProgramView program, size_t index) {
  std::fprintf(out, "program:\n");
  for (size_t i = 0; i < program.size() && i <= index; ++i) {
    print_line(out, i, program[i], i == index ? ">> " : "   ", i == index ? "here" : "");
  }
}

void print_violation(std::FILE* out, const PolicyRow& policy, const Violation& violation, size_t index,
                     size_t operations) {
  const InvariantRow& row = kInvariants[static_cast<size_t>(violation.invariant)];
  std::fprintf(out, "policy %s violates %s at operation %zu of %zu: %s\n", policy.name.data(), row.id.data(), index,
               operations, violation.message.data());
  std::fprintf(out, "%s: %s\n", row.id.data(), row.what.data());
}

}  // namespace

void print_finding(std::FILE* out, ProgramView program, const PolicyRow& policy, const Verdict& verdict,
                   const Machine& machine) {
  print_violation(out, policy, verdict.violation, verdict.index, verdict.operations);
  print_program(out, program, verdict.index);
  print_span_map(out, machine);
}

void print_difference(std::FILE* out, ProgramView program, const Difference& difference, const Machine& machine) {
  if (difference.by_itself) {
    print_finding(out, program, *difference.right, machine.verdict(), machine);
    return;
  }
  const InvariantRow& row = kInvariants[static_cast<size_t>(Invariant::kG2)];
  std::fprintf(out, "policies %s and %s violate %s at operation %zu of %zu: %s\n%s: %s\n", difference.left->name.data(),
               difference.right->name.data(), row.id.data(), difference.index, program.size(),
               difference.message.data(), row.id.data(), row.what.data());
  print_program(out, program, difference.index);
}

void print_stop(std::FILE* out, const Machine& machine, const char* stopped_by) {
  const PolicyRow* policy = machine.running();
  if (policy == nullptr) return;
  const ProgramView program = machine.program();
  const size_t index = machine.current_index();
  if (const Violation* seen = machine.seen()) print_violation(out, *policy, *seen, index, program.size());
  std::fprintf(out, "policy %s stopped by %s at operation %zu of %zu\n", policy->name.data(), stopped_by, index,
               program.size());
  print_program(out, program, index);
  std::fflush(out);
}

const Verdict& explain(std::FILE* out, Machine& machine, ProgramView program, const PolicyRow& policy) {
  Narrator narrator(out);
  std::fprintf(out, "policy %s (%s)\n", policy.name.data(), policy.summary.data());
  std::fprintf(out, "    #   operation                           what happened (| inside the next one without |)\n");
  const Verdict& verdict = machine.run(program, policy, &narrator);
  if (verdict.violated) {
    print_violation(out, policy, verdict.violation, verdict.index, verdict.operations);
  } else {
    std::fprintf(out, "policy %s passes: %zu operations, %zu no-ops, %llu cycles, %llu stacks shrunk\n",
                 policy.name.data(), verdict.operations, verdict.no_ops,
                 static_cast<unsigned long long>(verdict.cycles), static_cast<unsigned long long>(verdict.shrinks));
  }
  print_span_map(out, machine);
  return verdict;
}

}  // namespace stackdrain
