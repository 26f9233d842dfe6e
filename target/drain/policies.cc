#include "target/drain/policies.h"

#include <array>

#include "target/drain/policy_list.h"

namespace stackdrain {
namespace {

constexpr PolicyRow kPolicies[] = {
    {.name = "immediate",
     .summary = "nowhere: freed at once, in mark (known-bad control)",
     .origin = "Go before commit 91e8554b8b",
     .claims = {.sound = false, .concurrent_mark = true, .empties_in_pause = true, .pools_as_go = true},
     .make = make_immediate},
    {.name = "serial",
     .summary = "an intrusive queue, drained one by one in the pause",
     .origin = "Go commit 91e8554b8b (2014-10-08)",
     .claims = {.concurrent_mark = true,
                .defers_shrunk = true,
                .empties_in_pause = true,
                .pause_work_per_stack = 1,
                .pools_as_go = true},
     .make = make_serial},
    {.name = "after-restart",
     .summary = "the same queue, handed off in O(1), drained while the mutators run",
     .origin = "the commit's own suggestion",
     .claims = {.concurrent_mark = true, .defers_shrunk = true, .hold_bound = HoldBound::kAsTold, .pools_as_go = true},
     .make = make_after_restart},
    {.name = "span-in-pause",
     .summary = "its span; empty spans wait for one pass at the end of the pause",
     .origin = "Go 1.5",
     .claims = {.concurrent_mark = true,
                .strong_a2 = true,
                .empties_in_pause = true,
                .keeps_empty_spans = true,
                .pause_work_per_page = 1,
                .pools_as_go = true},
     .make = make_span_in_pause},
    {.name = "span-after-restart",
     .summary = "its span; empty spans wait for one pass after the restart",
     .origin = "Go 1.6 to today (modelled on go1.19)",
     .claims = {.concurrent_mark = true,
                .strong_a2 = true,
                .keeps_empty_spans = true,
                .hold_bound = HoldBound::kPages,
                .pools_as_go = true},
     .make = make_span_after_restart},
    {.name = "sorted-batch",
     .summary = "a list of numbers outside the stacks; drained span by span in the pause, in address order",
     .origin = "ours",
     .claims = {.concurrent_mark = true,
                .defers_shrunk = true,
                .empties_in_pause = true,
                .pause_work_per_stack = 2,
                .pools_as_go = true,
                .by_address = true},
     .make = make_sorted_batch},
    {.name = "bitmap",
     .summary =
         "bits outside the stacks, reusable at once; empty spans beyond last cycle's demand leave after the restart",
     .origin = "ours",
     .claims = {.concurrent_mark = true,
                .strong_a2 = true,
                .keeps_empty_spans = true,
                .keeps_reserve = true,
                .hold_bound = HoldBound::kBudget,
                .hold_of_step = 256,
                .pools_as_go = true,
                .keeps_shelves = true,
                .retires_past_caches = true,
                .span_records = false,
                .aligns_stacks = true,
                .by_address = true},
     .make = make_bitmap},
    {.name = "in-place",
     .summary = "a large stack: nowhere, its lower half is freed where it lies; a small one: as in serial",
     .origin = "Go, March to July 2014",
     .claims = {.concurrent_mark = true,
                .defers_shrunk = true,
                .empties_in_pause = true,
                .shrinks_in_place = true,
                .pause_work_per_stack = 1,
                .pools_as_go = true},
     .make = make_in_place},
    {.name = "quiescent",
     .summary = "a queue, until each marker from before was quiescent: microseconds, freed while the mark runs",
     .origin = "ours (QSBR)",
     .claims = {.concurrent_mark = true,
                .defers_shrunk = true,
                .frees_after_grace = true,
                .hold_bound = HoldBound::kBatch,
                .pools_as_go = true},
     .make = make_quiescent},
};

// Both tables as one.
class AllRows {
 public:
  AllRows() {
    for (const PolicyRow& row : kPolicies) rows_[count_++] = row;
    STACKDRAIN_CHECK(foreign_policies().size() <= rows_.size() - count_, "more pools than there is room for");
    // not reached by programs: a build with a pool that is not ours has some
    for (const PolicyRow& row : foreign_policies()) rows_[count_++] = row;
  }
  std::span<const PolicyRow> view() const { return {rows_.data(), count_}; }

 private:
  std::array<PolicyRow, kMaxPolicies> rows_{};
  size_t count_ = 0;
};

}  // namespace

std::span<const PolicyRow> policies() {
  static const AllRows all;
  return all.view();
}

const PolicyRow* find_policy(std::string_view name) {
  for (const PolicyRow& row : policies()) {  // not reached by programs: every name is one of these
    if (row.name == name) return &row;
  }
  // not reached by programs: every name is one of these
  return nullptr;
}

}  // namespace stackdrain
