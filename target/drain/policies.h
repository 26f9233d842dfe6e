// The one table of policies: every fuzzer, differential run, benchmark, test and the report takes each row of it.
// To add a policy: one file in this folder, one row in policies.cc, and what makes it declared in policy_list.h.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "target/any_pool.h"
#include "target/arena.h"

namespace stackdrain {

// What the work that a drain does under one hold of a lock depends on.
enum class HoldBound : uint8_t {
  kUnsaid,  // nothing, or it has no drain step
  kAsTold,  // PoolParams::drain_hold and the step's budget: that many stacks
  kBatch,   // PoolParams::drain_batch stacks, whatever the budget
  kBudget,  // the step's budget
  kPages,   // a walk: as many as pages were ever in state Stack at once
};

// What a policy promises; the checker holds it to this, and the harnesses run what it claims to survive.
struct PolicyClaims {
  bool sound = true;             // false: known-bad control; a harness must find its bug
  bool concurrent_mark = false;  // sound while mutators run during mark
  bool strong_a2 = false;        // no span at all leaves Stack during mark (else only those with a shrunk stack)
  bool defers_shrunk = false;    // a shrunk stack is queued, not freed, while a mark runs (C1)
  // ... and is freed, in mark too, not before every reader from before the retire was quiescent (in the place of A2),
  // and at the latest two such graces after it (C7).
  bool frees_after_grace = false;
  bool empties_in_pause = false;   // nothing is deferred any more when end_mark returns
  bool keeps_empty_spans = false;  // empty spans stay Stack until the drain (A4)
  // ... and of an order, after it, so many as were put to use in the cycle before; all leave after one that used none
  // (C4).
  bool keeps_reserve = false;
  bool shrinks_in_place = false;  // a shrink need not be a copy
  // Units of work (yield.h) that end_mark may do: for each stack then deferred, and for each page then in state Stack.
  uint32_t pause_work_per_stack = 0;
  uint32_t pause_work_per_page = 0;
  // Units of work that a drain step does under one hold of a lock at most: who waits for it waits for no more (C8).
  HoldBound hold_bound = HoldBound::kUnsaid;
  uint32_t hold_of_step = 0;  // kBudget: without a budget
  bool tells_places = true;   // its walk shows every span and slot; else only what the program sees is checked
  bool pools_as_go = false;   // its caches are filled and its spans carved by Go's rules; it refuses only what it lacks
  bool releases_cold_half = false;   // what a full cache gives back to the pool are the stacks that lay in it longest
  bool keeps_shelves = false;        // what leaves a full cache waits on its processor's shelf for its next refill (B4)
  bool retires_past_caches = false;  // a small stack that is retired while a mark runs goes into no processor's cache
  bool span_records = true;          // its page heap has a record a span, recycled and merged (else bits)
  bool aligns_stacks = false;  // a span of stacks lies at a multiple of its size, or of 64 pages; nothing else serves
  bool by_address = false;     // which slot of a span is issued next depends on where it lies, not on its history
};

struct PolicyRow {
  std::string_view name;
  std::string_view summary;  // one line: where the old stack waits, where it is freed
  std::string_view origin;   // commit or release it models
  PolicyClaims claims;
  std::unique_ptr<AnyPool> (*make)(Arena& arena);
};

// Rows that there can be, ours and others.
inline constexpr size_t kMaxPolicies = 32;

// Our own, then those that are not ours (foreign.cmake).
std::span<const PolicyRow> policies();
// The rows of the latter alone.
std::span<const PolicyRow> foreign_policies();
// The row of that name, or nullptr.
const PolicyRow* find_policy(std::string_view name);

}  // namespace stackdrain
