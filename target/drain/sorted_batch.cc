// sorted-batch: what is put off is noted outside the dead stacks, and drained in the pause span by span.
//
//   retire ─▶ notes_[n]: 4 bytes, the stack's first 2 KiB unit in the arena      one atomic addition, one store
//   end_mark: notes ─▶ marks_, one bit a unit (a distribution sort: random, but in a bitmap that fits a cache)
//             marks_, in address order ─▶ span by span: one page-map lookup, one visit, all its slots at once
//             (ReferencePool::Sweep) ─▶ what became empty ─▶ page heap, runs of neighbours as one
//
// No dead stack is touched: the slots of a span that stays are free by a bit in its descriptor, until somebody takes
// them. Each stack can be put off once, so an arena's units bound the notes: they are reserved once, and nothing can
// run out.
//
// Thread-safety: markers retire at once; the addition gives each its own note. Relaxed is enough: end_mark runs when
// every marker is done, and whoever waited for them (join, or the safepoint's lock) made their stores visible.
// Locks: all order locks for the drain, then the page heap's once.
#include <algorithm>
#include <atomic>
#include <bit>

#include "target/drain/deferring.h"
#include "target/drain/policy_list.h"
#include "target/drain/units.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

class SortedBatchPool : public DeferringPool {
 public:
  explicit SortedBatchPool(Arena& arena)
      : DeferringPool(arena),
        notes_(size_t{arena.pages()} * kUnitsPerPage),
        marks_(size_t{arena.pages()} * kUnitsPerPage / kWordBits + 2) {}

  void reset(const PoolParams& params) {
    DeferringPool::reset(params);
    noted_.store(0, std::memory_order_relaxed);
  }

  void begin_cycle(CycleKind kind) {
    DeferringPool::begin_cycle(kind);
    drain_early_ = planted(Defect::kQ5DrainWhileMarking);
  }

  void retire(Proc proc, Stack stack, RetireWhy why) {
    yield_point(Yield::kRetire);
    if (!queues(why)) {
      free(proc, stack);
      return;
    }
    asan_poison(stack.lo + kLinkBytes, stack.bytes() - kLinkBytes);
    const uint64_t share = (uint64_t{stack.bytes() / kMinStackBytes} << kCountBits) | 1;
    const uint64_t before = noted_.fetch_add(share, std::memory_order_relaxed);
    notes_[count_of(before)] = static_cast<uint32_t>((stack.lo - arena_base()) / kMinStackBytes);
    // not reached by programs: the planted defect Q5 alone sets it
    if (drain_early_) drain();
  }

  void end_mark() {
    mark_done();
    drain_early_ = false;
    drain();
  }

  void restarted() {}
  // not reached by programs: nothing is ever pending
  size_t drain_step(size_t) { return 0; }
  bool drain_pending() const { return false; }

  PoolStats stats() const {
    PoolStats stats = DeferringPool::stats();
    const uint64_t noted = noted_.load(std::memory_order_relaxed);
    stats.held_stacks += count_of(noted);
    stats.held_bytes += bytes_of(noted);
    stats.live_stacks -= count_of(noted);
    stats.live_bytes -= bytes_of(noted);
    return stats;
  }

  void walk(WalkVisitor& visitor) const {
    DeferringPool::walk(visitor);
    const size_t count = count_of(noted_.load(std::memory_order_relaxed));
    for (size_t i = 0; i < count; ++i) {
      const uintptr_t lo = address_of(notes_[i]);
      const Span* span = heap_.span_of(lo);
      // not reached by programs: only a damaged pool is so
      if (span == nullptr || span->current() != SpanState::kStack) {
        visitor.fault(WalkFault::kDeferred, lo);
        return;
      }
      visitor.slot({lo, span->slot_bytes, SlotPlace::kDeferred, kNoProc});
    }
  }

 private:
  static constexpr int kCountBits = 28;  // of noted_: stacks; above: their 2 KiB units
  static constexpr size_t kWordBits = 64;

  static size_t count_of(uint64_t noted) { return noted & ((uint64_t{1} << kCountBits) - 1); }
  static size_t bytes_of(uint64_t noted) { return (noted >> kCountBits) * kMinStackBytes; }
  uintptr_t address_of(uint32_t unit) const { return arena_base() + uintptr_t{unit} * kMinStackBytes; }

  void drain() {
    yield_point(Yield::kHandOff);
    const uint64_t noted = noted_.load(std::memory_order_relaxed);
    size_t count = count_of(noted);
    if (count == 0) return;
    if (planted(Defect::kQ7LastNodeSkipped) && --count == 0) return;
    uint32_t low = ~uint32_t{0};
    uint32_t high = 0;
    for (size_t i = 0; i < count; ++i) {
      count_work();
      const uint32_t unit = notes_[i];
      marks_[unit / kWordBits] |= uint64_t{1} << (unit % kWordBits);
      low = std::min(low, unit);
      high = std::max(high, unit);
    }
    if (!planted(Defect::kQ4HeadNotReset)) noted_.store(0, std::memory_order_relaxed);
    count_many_given_back(count_of(noted), bytes_of(noted));
    sweep(low, high);
    if (planted(Defect::kQ3DrainedTwice)) release(kNoProc, stack_at(notes_[0]));
    yield_point(Yield::kDrainStep);
  }

  // not reached by programs: the planted defect Q3 alone asks
  Stack stack_at(uint32_t unit) const {
    const uintptr_t lo = address_of(unit);
    const Span* span = heap_.span_of(lo);
    return {lo, lo + (span == nullptr ? kMinStackBytes : span->slot_bytes)};
  }

  // Every marked stack from unit `low` to `high`, in address order, back to its span; leaves marks_ zero.
  void sweep(uint32_t low, uint32_t high) {
    Sweep sweep(*this);
    for (size_t word = low / kWordBits; word <= high / kWordBits; ++word) {
      while (marks_[word] != 0) {
        const auto unit = static_cast<uint32_t>(word * kWordBits + static_cast<size_t>(std::countr_zero(marks_[word])));
        Span* span = heap_.span_of(address_of(unit));
        STACKDRAIN_CHECK(span != nullptr && span->current() == SpanState::kStack, "a deferred stack has no span");
        sweep.give(span, span->order == kLargeOrder ? take_marks(unit, 1)
                                                    : take_marks(span->first() * kUnitsPerPage, kUnitsPerSpan));
      }
    }
  }

  // The marks of `count` (1..16) units from `first`, which it clears. They may lie in two words.
  uint32_t take_marks(uint32_t first, uint32_t count) {
    const size_t word = first / kWordBits;
    const uint32_t shift = first % kWordBits;
    const uint64_t mask = (uint64_t{1} << count) - 1;
    uint64_t taken = marks_[word] >> shift & mask;
    marks_[word] &= ~(mask << shift);
    if (shift + count > kWordBits) {
      const uint32_t in_first = static_cast<uint32_t>(kWordBits) - shift;
      taken |= (marks_[word + 1] & (mask >> in_first)) << in_first;
      marks_[word + 1] &= ~(mask >> in_first);
    }
    return static_cast<uint32_t>(taken);
  }

  Table<uint32_t> notes_;           // units of the stacks put off
  Table<uint64_t> marks_;           // zero but within drain()
  std::atomic<uint64_t> noted_{0};  // how many notes, and their bytes
  bool drain_early_ = false;        // only the planted defect Q5; written with the world stopped
};
static_assert(StackPool<SortedBatchPool>);

}  // namespace

std::unique_ptr<AnyPool> make_sorted_batch(Arena& arena) {
  return std::make_unique<PoolBox<SortedBatchPool>>(arena);
}

}  // namespace stackdrain
