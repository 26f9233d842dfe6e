#include "fuzz/explain.h"

#include <array>

#include "fuzz/signature.h"
#include "target/yield.h"

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

// Watches a second run of a program that was seen to be wrong at `index`, and keeps the span map of just before and of
// just after.
class MapsAround final : public MachineObserver {
 public:
  explicit MapsAround(size_t index) : index_(index) {}

  void operation(size_t index, Operation, bool nested, const Outcome&) override {
    last_ = index;
    locked_ = locked_ && nested;
    const bool there = index == index_;
    if (!seen_ && !locked_ && near()) keep(there ? after() : before());
    seen_ = seen_ || there;
  }
  void reached(Yield point, bool) override {
    locked_ = kYieldPoints[static_cast<size_t>(point)].locked;
    const bool another = machine_->current_index() != index_;  // what runs inside it may be the one
    if (another && !seen_ && !locked_ && near()) keep(before());
  }
  bool wants_story() const override { return false; }

  void run(Machine& machine, ProgramView program, const PolicyRow& policy) {
    machine_ = &machine;
    before()[0] = after()[0] = 0;
    machine.run(program, policy, this);
    if (after()[0] == 0) keep(after());  // at the program's end, or where a lock was held
  }
  void print(std::FILE* out, const PolicyRow& policy) const {
    const char* name = policy.name.data();
    std::fprintf(out, "span map before it, under %s (offsets in the arena):\n%s", name, before().data());
    std::fprintf(out, "span map after it, under %s:\n%s", name, after().data());
  }

 private:
  using Map = std::array<char, size_t{64} * 1024>;
  static constexpr size_t kMostInside = 6;  // an operation and those that run inside it

  static Map& before() {
    static Map map;
    return map;
  }
  static Map& after() {
    static Map map;
    return map;
  }
  bool near() const { return last_ + kMostInside >= index_; }
  void keep(Map& map) { map[machine_->format_span_map(map.data(), map.size())] = 0; }

  size_t index_;
  size_t last_ = 0;
  bool seen_ = false;
  bool locked_ = false;  // at a point where a lock is held, which a walk would wait for
  Machine* machine_ = nullptr;
};

void print_maps(std::FILE* out, Machine& machine, ProgramView program, const PolicyRow& policy, size_t index) {
  MapsAround maps(index);
  maps.run(machine, program, policy);
  maps.print(out, policy);
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

void print_signature(std::FILE* out, const Signature& signature) {
  std::fprintf(out, "signature: %s\n", signature.data());
}

}  // namespace

void print_finding(std::FILE* out, ProgramView program, const PolicyRow& policy, const Verdict& verdict,
                   Machine& machine) {
  const size_t index = verdict.index;  // the verdict may be the machine's
  print_violation(out, policy, verdict.violation, index, verdict.operations);
  print_signature(out, signature_of(verdict));
  print_program(out, program, index);
  print_maps(out, machine, program, policy, index);
}

void print_difference(std::FILE* out, ProgramView program, const Difference& difference, Machine& machine) {
  if (difference.by_itself) {
    print_finding(out, program, *difference.right, machine.verdict(), machine);
    return;
  }
  const InvariantRow& row = kInvariants[static_cast<size_t>(Invariant::kG2)];
  std::fprintf(out, "policies %s and %s violate %s at operation %zu of %zu: %s\n%s: %s\n", difference.left->name.data(),
               difference.right->name.data(), row.id.data(), difference.index, program.size(),
               difference.message.data(), row.id.data(), row.what.data());
  print_signature(out, signature_of(program, difference, machine.verdict()));
  print_program(out, program, difference.index);
  print_maps(out, machine, program, *difference.left, difference.index);
  print_maps(out, machine, program, *difference.right, difference.index);
}

void print_stop(std::FILE* out, const Machine& machine, const char* stopped_by) {
  const PolicyRow* policy = machine.running();
  if (policy == nullptr) return;
  const ProgramView program = machine.program();
  const size_t index = machine.current_index();
  if (const Violation* seen = machine.seen()) print_violation(out, *policy, *seen, index, program.size());
  std::fprintf(out, "policy %s stopped by %s at operation %zu of %zu\n", policy->name.data(), stopped_by, index,
               program.size());
  print_signature(out, signature_of_stop(machine.verdict().site, machine.seen()));
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
    print_signature(out, signature_of(verdict));
    print_maps(out, machine, program, policy, verdict.index);
  } else {
    std::fprintf(out, "policy %s passes: %zu operations, %zu no-ops, %llu cycles, %llu stacks shrunk\n",
                 policy.name.data(), verdict.operations, verdict.no_ops,
                 static_cast<unsigned long long>(verdict.cycles), static_cast<unsigned long long>(verdict.shrinks));
  }
  return verdict;
}

}  // namespace stackdrain
