// Drain study: what one drain costs: n stacks are retired in one cycle, then end_mark, then what is left for after the
// restart.
//
// One rig is a pool with its stacks; run() is one repetition: a pointer chase over the stacks about to be retired, in
// the order in which a last-in first-out queue walks them (caches flushed), then the cycle: retire all (enqueue),
// flush, end_mark (pause), restarted, drain steps to the end (after). Of a policy that keeps empty spans for the next
// growth two idle cycles follow, flushed like the first: the one's drain gives back what was kept and does nothing else
// (release), the other's gives back nothing (idle). The stacks are allocated again afterwards. No mutator runs: stalls
// are the pause study's question.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "benchmarks/chase.h"
#include "target/any_pool.h"
#include "target/arena.h"
#include "target/drain/policies.h"

namespace stackdrain {

// A policy with the parameters that a measurement varies; the name is for tables.
struct Variant {
  const PolicyRow* policy = nullptr;
  std::string name;  // "" for the policy's only way
  DrainHold hold = DrainHold::kBatch;
  uint32_t batch = 64;
  bool by_mutators = false;  // allocating mutators drain, not a background thread (pause study)
};

// Every policy; those that leave work for after the restart in each way of holding the lock (seen by asking a pool).
std::vector<Variant> all_variants(const std::vector<std::string>& policy_names);

// The pool's parameters of every study.
PoolParams params_of(const Variant& variant);
// Retires a shrunk stack as a marker does, in a root job of its own.
void retire_as_marker(AnyPool& pool, const Variant& variant, Stack stack);

struct DrainCase {
  Variant variant;
  size_t stacks = 0;   // retired in a cycle
  size_t bytes = 0;    // of one
  bool random = true;  // order of retiring; else by address
  bool half = false;   // as many stay live, at random between them
  bool aged = true;    // freed and allocated again at random; else fresh, in address order
};

// What is flushed before end_mark, and before each idle cycle. Cold: everything, code and the pool's own fields too.
// Warm: only the stacks' lines, and one stack is retired after it, as at the end of a real mark, where the pool itself
// was in use a moment ago. That takes a warm run before it: a cold one leaves nothing in the caches.
enum class CacheState { kCold, kWarm };

struct DrainSample {
  double chase_ns = 0;
  double enqueue_ns = 0;
  double pause_ns = 0;
  double after_ns = 0;
  uint64_t held_bytes = 0;
  uint64_t locks_taken = 0;
  uint64_t spans_released = 0;
  // Where PolicyClaims::keeps_reserve.
  double release_ns = 0;
  double idle_ns = 0;
  uint64_t spans_kept = 0;  // by the drain, and given back in release_ns
};

// Addresses to reserve, and memory that a case really touches (one page a stack at most), in bytes.
size_t arena_bytes_of(const DrainCase& drain_case);
size_t resident_bytes_of(const DrainCase& drain_case);

// Of so many live stacks (whole pages each) whose memory was given back to the system, those whose memory is there
// again once all are retired in one cycle: what enqueueing touches, seen from outside. Nothing of a pool whose stacks
// are not whole pages.
std::optional<size_t> stacks_touched_by_retire(const Variant& variant, size_t stacks, size_t bytes);

// A pool that shows no places may have its stacks from elsewhere than the arena, so they don't go with that: who made
// it gives each back.
void give_back_all(AnyPool& pool, const PolicyRow& policy, std::vector<Stack>& stacks);

class DrainRig {
 public:
  // std::bad_alloc where the pool has not so many stacks (mmap's can't be more than 32,765).
  DrainRig(const DrainCase& drain_case, uint32_t seed);
  ~DrainRig();
  DrainRig(const DrainRig&) = delete;
  DrainRig& operator=(const DrainRig&) = delete;
  DrainSample run(CacheFlusher& flusher, CacheState cache);
  const DrainCase& drain_case() const { return case_; }

 private:
  void allocate_missing();
  void age();
  void choose();
  double drain_of_idle_cycle(CacheFlusher& flusher, bool cold);

  DrainCase case_;
  std::mt19937 random_;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<AnyPool> pool_;
  std::vector<Stack> stacks_;
  std::vector<uint32_t> order_;  // indexes of the stacks to retire, in order
  std::vector<Stack> given_;     // these stacks
};

}  // namespace stackdrain
