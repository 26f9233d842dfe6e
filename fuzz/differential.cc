#include "fuzz/differential.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "target/yield.h"

namespace stackdrain {
namespace {

// Reached by every policy that copies to shrink.
bool copiers(Yield point) {
  switch (point) {
    case Yield::kCopyAlloc:
    case Yield::kCopyAdjust:
    case Yield::kCopyCopy:
    case Yield::kCopySwap:
    case Yield::kCopyFree:
      return true;
    default:
      return false;
  }
}

// Reached whatever the policy.
bool everybodys(Yield point) {
  return point == Yield::kSendElem || point == Yield::kScan || point == Yield::kClaim || point == Yield::kPark;
}

const char* answer_of(const char* no_op) {
  return no_op == nullptr ? "done" : no_op;
}

// The same reason need not be the same literal.
bool same_answer(const char* left, const char* right) {
  if (left == nullptr || right == nullptr) return left == right;
  return left == right || std::strcmp(left, right) == 0;
}

}  // namespace

void Differential::Answers::operation(size_t index, Operation operation, bool, const Outcome& outcome) {
  no_op[index] = outcome.no_op;
  const bool arms = (operation.op() == Op::kAt || operation.op() == Op::kInside) && outcome.no_op == nullptr;
  if (!arms) return;
  const Yield point = static_cast<Yield>(operation.arg(0));
  if (everybodys(point)) return;
  comparable_in_place = std::min(comparable_in_place, index);
  if (!copiers(point)) comparable = std::min(comparable, index);
}

const Difference& Differential::run(ProgramView program) {
  difference_ = {};
  for (const PolicyRow& policy : policies()) {
    if (!policy.claims.sound || difference_.found()) continue;
    const bool first = difference_.left == nullptr;
    Answers& answers = first ? first_ : other_;
    answers.comparable = answers.comparable_in_place = kNever;
    const Verdict& verdict = machine_.run(program, policy, &answers);
    if (first) {
      difference_.left = &policy;
      first_verdict_ = verdict;
    }
    if (verdict.violated) {
      difference_.right = &policy;
      difference_.by_itself = true;
      difference_.index = verdict.index;
    } else if (!first) {
      compare(program, policy, verdict);
    }
  }
  return difference_;
}

void Differential::compare(ProgramView program, const PolicyRow& policy, const Verdict& verdict) {
  const size_t length = std::min(program.size(), kMaxOperations);
  const bool in_place = policy.claims.shrinks_in_place;
  const size_t may_differ_from = std::min({in_place ? first_.comparable_in_place : first_.comparable,
                                           in_place ? other_.comparable_in_place : other_.comparable,
                                           first_verdict_.starved_at, verdict.starved_at});
  for (size_t i = 0; i < std::min(may_differ_from, length); ++i) {
    if (program[i].op() == Op::kDrain || same_answer(first_.no_op[i], other_.no_op[i])) continue;
    difference_.right = &policy;
    difference_.index = i;
    std::snprintf(difference_.message.data(), difference_.message.size(), "%s says \"%s\", %s says \"%s\"",
                  difference_.left->name.data(), answer_of(first_.no_op[i]), policy.name.data(),
                  answer_of(other_.no_op[i]));
    return;
  }
  if (may_differ_from != kNever) return;  // even if only what is done at the end was short of memory
  for (uint32_t g = 0; g < kGoroutines; ++g) {
    if (first_verdict_.digests[g] == verdict.digests[g]) continue;
    difference_.right = &policy;
    difference_.index = length;
    std::snprintf(difference_.message.data(), difference_.message.size(),
                  "g%u is not the same under %s and under %s when all is at rest", g, difference_.left->name.data(),
                  policy.name.data());
    return;
  }
}

}  // namespace stackdrain
