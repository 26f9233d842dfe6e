// Differential: one program, every sound policy, the same world for the program (G2, and E6 for each).
//
// A policy decides where a stack lies and when it is freed, and nothing that a program can see. So what is compared is
// everything a program can see: the answer to each operation (done, or why not) and, when all is at rest at the end,
// each goroutine (Goroutine::digest). What may differ, and ends the comparison where it begins:
//
//   * memory: policies hold back different amounts, so one may refuse where another does not (Verdict::starved_at)
//   * a yield point inside the pool: policies do not all reach it, so what `at` puts there runs inside in one and after
//     in another; the points of a move, a send and a scan are everybody's, and are compared
//   * the answer to `drain` itself: what is deferred is the policy's business
//
// Each policy's own invariants are checked as ever while it runs. Allocates nothing; not thread-safe.
#pragma once

#include <array>
#include <cstddef>

#include "fuzz/machine.h"
#include "fuzz/program.h"
#include "target/drain/policies.h"

namespace stackdrain {

struct Difference {
  const PolicyRow* left = nullptr;   // the first sound policy
  const PolicyRow* right = nullptr;  // the one that differs, or that violated an invariant by itself
  bool by_itself = false;            // right violated an invariant; the machine's verdict says which
  size_t index = 0;                  // the operation; the program's length: at its end
  std::array<char, 300> message{};   // one line, both sides
  bool found() const { return right != nullptr; }
};

class Differential {
 public:
  explicit Differential(Machine& machine) : machine_(machine) {}
  const Difference& run(ProgramView program);

 private:
  struct Answers final : MachineObserver {
    void operation(size_t index, Operation operation, bool nested, const Outcome& outcome) override;
    bool wants_digests() const override { return true; }
    bool wants_story() const override { return false; }
    std::array<const char*, kMaxOperations> no_op{};
    size_t comparable = kNever;           // index of the first operation that may differ from here on
    size_t comparable_in_place = kNever;  // the same, if one of the two policies may not copy to shrink
  };

  void compare(ProgramView program, const PolicyRow& policy, const Verdict& verdict);

  Machine& machine_;
  Answers first_;
  Answers other_;
  Verdict first_verdict_;
  Difference difference_;
};

}  // namespace stackdrain
