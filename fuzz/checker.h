// Checker: holds the invariants over a pool, its goroutines and collector, and the model.
//
// check_step: what costs O(1) (rows of cost 1, and A3 and A2 for what is held or shrunk): after every operation, and at
// yield points. check_walk: the full walk. check_quiescent: what holds when nothing is deferred. Each stops at the
// first violation, which stays until reset. Allocates nothing; prints nothing. Not thread-safe.
#pragma once

#include <array>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fuzz/invariants.h"
#include "fuzz/model.h"
#include "fuzz/unit_set.h"
#include "target/any_pool.h"
#include "target/collector.h"
#include "target/drain/policies.h"
#include "target/goroutine.h"

namespace stackdrain {

struct Violation {
  Invariant invariant = Invariant::kA1;
  std::array<char, 400> message{};  // one line: both sides of what disagreed
};

// What the checker looks at; all by reference, owned by the machine.
struct Watched {
  AnyPool* pool = nullptr;
  const Collector* collector = nullptr;
  std::span<const Goroutine> goroutines;
  const Model* model = nullptr;
  PolicyClaims claims;
};

class Checker final : private WalkVisitor {
 public:
  void reset(const Watched& watched);

  // O(1) checks. `nested`: inside another operation, whose own effect on the accounts is not yet in the model.
  // `spans_moved`: false if nothing atomic was stored into since the last call, so each span that it saw is where it
  // was.
  bool check_step(bool nested, bool spans_moved = true);
  // How much of a goroutine's frames is looked at. An operation that does not move a stack writes to its youngest frame
  // at most; the walk looks at all.
  enum class Frames : uint8_t { kWords, kYoungest, kAll };  // the youngest one's words; and its pattern; all of all
  // One goroutine's stack, frames and records, word by word (D1, D2, D4, B2, G1).
  bool check_goroutine(uint32_t goroutine, Frames frames = Frames::kAll);
  // The full walk; all goroutines too.
  bool check_walk();
  // The same right after a check_step that was not nested, which has asked for the accounts.
  bool check_walk_after_step();
  // Everything deferred is freed: nothing is held back (C3).
  bool check_nothing_held();
  // ... and the full walk: C4, and with `nothing_left` E6.
  bool check_quiescent(bool nothing_left);
  // After a drain step that freed `freed` stacks: takes those that are deferred no more out of the model (C3, C8).
  bool settle_drained(Model& model, size_t freed);
  // For a policy that frees after a grace, after an operation: takes what was freed out of the model; all of it must be
  // out of its grace (A2). `job_over`: a root job has ended, and nothing ran inside it: what is out of two graces must
  // be gone (C7).
  bool settle_graces(Model& model, bool job_over);
  // A8, by somebody who takes no lock: every page's span whose state can be seen has its metadata.
  bool check_published();
  // C5: what a drain frees next was retired; the first of `left`.
  bool check_next_of_drain(uintptr_t next, size_t left);
  // F7, by a drainer that has taken its share, `freed` stacks of the unsettled having been freed: the drain is not over
  // while stacks are in somebody's hands.
  bool check_not_over(size_t freed);
  // Call between Collector::begin and the first root job, with the spans that were given back by then, and after the
  // last before end_mark: A2 strong.
  void note_mark_began(uint64_t spans_released);
  bool check_mark_ended();
  // A run begins with nothing, whatever was before it (E6).
  bool check_fresh(const PoolParams& params);
  // `pages` pages were refused, for a stack of that order (kLargeOrder: a large one; kNoOrder: for the heap): there
  // were none (A6), and no more to be had unless the system refused them. Asks nothing where operations overlap.
  bool check_refused(uint32_t pages, int order, bool by_system);
  // `before` bytes were mapped, then `pages` pages were wanted for the heap: so much is mapped for them at most (E5).
  bool check_mapped(size_t before, uint32_t pages);
  // Cycle number `cycle` has begun as it was said (F3), and the caches, which held `cached_before`, are flushed or not
  // (B5).
  bool check_begun(CycleKind kind, uint32_t cycle, uint64_t cached_before);
  // The accounts, when they were last checked.
  const PoolStats& stats() const { return stats_; }
  // The caches are flushed and stay empty until the restart (B5).
  void note_flushed(bool flushed) { flushed_ = flushed; }
  bool flushed() const { return flushed_; }
  // An operation of the allocator begins on `proc`, and the one that began last ends: a processor is in one at a time
  // (F2), and the phase is the same at both ends (F3).
  void entered(Proc proc);
  void left();
  // B6: what a cache gives back is its cold half. Call before it does, and when it has; asks who claims so.
  void note_cache_release();
  bool check_cache_release();
  // C8: a drain step whose policy frees as many as it is told freed `freed` of `left`.
  bool check_step_size(size_t budget, size_t freed, size_t left);
  // The units of work that a drain step with that budget may do under one hold of a lock (C8), with `stacks` deferred
  // and `pages` ever in state Stack at once; kUnbounded: its policy does not say.
  static constexpr uint64_t kUnbounded = ~uint64_t{0};
  uint64_t hold_bound(size_t budget, uint64_t stacks, uint64_t pages) const;
  // F4: the pause's part of the drain did that much work, with so many stacks deferred and pages in state Stack.
  bool check_pause(uint64_t work, uint64_t stacks, uint64_t pages);
  // Somebody has taken over a processor whose thread is gone: what its write barrier had buffered is judged (A3), and
  // it is a thread's again (B5).
  bool check_adopted(Proc proc);
  // The operation under way has others inside it: what is lost now was lost between them (C6).
  void note_overlap(bool overlap) { overlap_ = overlap; }
  bool overlap() const { return overlap_; }

  // C4, the other way: of a reserve, the first drain step after a pause leaves as many empty spans as there are, or as
  // were carved in the cycle before. Call at the pause's end, before each drain step, and after it, which released so
  // many spans; `given_up`: inside it somebody was short, and got some of it.
  void note_pause_ended();
  void note_drain_begins();
  bool check_demand_kept(uint64_t released, bool given_up);

  // Records a violation that the machine saw itself; always false.
  bool report(Invariant invariant, const char* format, ...) __attribute__((format(printf, 3, 4)));

  bool failed() const { return failed_; }
  const Violation& violation() const { return violation_; }
  // Spans and slots that the last walk saw: the next one is due the later the more they are.
  size_t walk_size() const { return walk_size_; }

 private:
  static constexpr size_t kMaxArenaUnits = (size_t{8} << 20) / kMinStackBytes;
  using Units = UnitSet<kMaxArenaUnits>;
  static constexpr size_t kMaxSpans = (size_t{8} << 20) / kPageBytes;

  void span(const SpanView& view) override;
  void slot(const SlotView& view) override;
  void fault(WalkFault fault, uintptr_t address) override;

  bool check_held_pointers();
  bool check_buffered_pointers();
  bool check_watched_pointer(const Held& held, const char* who, int number);
  bool check_shrunk_spans();
  bool check_two_graces(ModelRetired& retired);
  bool check_accounts();
  bool check_roots(const ModelGoroutine& expected, const Goroutine& goroutine);
  bool check_frames(const ModelGoroutine& expected, const Goroutine& goroutine, Frames frames);
  bool check_frame(const ModelGoroutine& expected, uint32_t id, size_t frame, uint32_t high);
  bool check_frame_pattern(const ModelGoroutine& expected, uint32_t id, size_t frame, uint32_t high);
  bool check_span_view(const SpanView& view);
  bool check_stack_span(const SpanView& view);
  bool check_old_memory(const ModelRetired& retired);
  bool check_places();
  bool check_disjoint();
  void begin_walk();
  bool claim_live();
  bool claim(uintptr_t lo, size_t bytes, SlotPlace place, Proc proc);
  bool check_room(const SlotView& view);
  bool finish_walk();
  bool finish_span(const SpanView& view);
  bool check_totals();
  bool check_reserve();
  bool check_reserve_given_up(uint32_t pages);
  bool check_held_bytes();
  bool check_caches();
  bool check_peak();
  bool check_empty_spans();
  SlotPlace place_of(size_t unit) const;
  size_t unit_of(uintptr_t address) const { return (address - arena_base_) / kMinStackBytes; }
  uintptr_t offset(uintptr_t address) const { return address - arena_base_; }

  struct Entry {
    Proc proc = kNoProc;
    Phase phase = Phase::kOff;
  };
  static constexpr size_t kMaxInside = 8;
  // A cached stack, in the walk's order: of a cache the hottest first.
  struct Cached {
    uintptr_t lo = 0;
    size_t bytes = 0;
    Proc proc = kNoProc;
  };
  class CacheOrder;

  Watched watched_;
  std::array<Entry, kMaxInside> inside_{};
  size_t inside_count_ = 0;
  std::array<Cached, 512> before_release_{};
  size_t before_release_count_ = 0;
  size_t shrunk_checked_ = 0;  // of the model's shrunk stacks: those whose spans were looked at
  uintptr_t arena_base_ = 0;
  const PoolParams* params_ = nullptr;  // the pool's own
  Violation violation_;
  bool failed_ = false;
  bool flushed_ = false;
  bool overlap_ = false;
  uint64_t releases_at_begin_ = 0;
  size_t snapshot_count_ = 0;
  std::array<Location, kMaxSpans> snapshot_;  // Stack spans at gc-begin
  // Of a reserve.
  bool knows_demand_ = false;                // a pause has ended, and no drain step has
  uint32_t newest_span_ = 0;                 // its generation, at the last pause's end
  uint64_t taken_at_end_ = 0;                // spans, until then
  std::array<size_t, kMaxOrders> carved_{};  // spans between the two last pauses' ends
  std::array<size_t, kMaxOrders> empty_before_{};
  // Of the walk under way: units that are somewhere, the first unit of each stack, of each that is free in the pool,
  // and of each that the model says is deferred.
  Location claimed_in_;  // the span that the last stack lay in
  Units claimed_;
  Units starts_;
  Units pool_free_;
  Units expected_deferred_;
  std::array<SlotPlace, kMaxArenaUnits> place_{};  // by first unit
  std::array<SpanView, kMaxSpans> spans_;
  size_t span_count_ = 0;
  std::array<std::array<size_t, kMaxOrders>, kMaxProcs> cache_bytes_{};
  std::array<std::array<size_t, kMaxOrders>, kMaxProcs> shelf_bytes_{};
  size_t walk_size_ = 0;
  size_t deferred_seen_ = 0;
  PoolStats stats_;  // when they were last checked
};

}  // namespace stackdrain
