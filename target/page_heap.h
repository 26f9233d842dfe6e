// PageHeap: spans tile the arena; best fit; coalescing; byte-exact accounts.
//
// One lock (SD capability `mutex_`), the innermost of target: order lock, then page-heap lock; nothing is taken under
// it. Free spans are kept by page count: exact lists for 1..127 pages (last freed first used), one list for the rest,
// best fit (smallest, then lowest). When nothing fits the heap maps at least PoolParams::grow_chunk_bytes more of the
// arena.
//
// Page map: every page of a Stack or InUse span maps to its descriptor; of a Free span only the first and the last need
// to. An interior page of a Free span may still name a descriptor that was merged away and recycled, so locate() also
// checks the descriptor's range.
//
// A merged-away descriptor keeps its range and nothing else, and nobody writes to it before it is taken again (F6).
// A Free or Dead descriptor's generation is 0, so that a reader without a lock who sees Stack or InUse with generation
// 0 saw a state before its metadata (A8).
//
// Invariants: A6 (tiling, no two adjacent Free spans, map), A7 (all metadata set on each issue), A8 (metadata before
// the state), A9 (needs_zero), E1, E4, E5. Source: Go commit 91e8554b8b, mheap.c, in our own words.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "target/any_pool.h"
#include "target/arena.h"
#include "target/defects.h"
#include "target/mutex.h"
#include "target/span.h"

namespace stackdrain {

// What a span is issued as.
struct SpanUse {
  SpanState state = SpanState::kInUse;  // kStack or kInUse
  uint8_t order = kNoOrder;             // kStack: 0..3 or kLargeOrder
  uint32_t slot_bytes = 0;              // kStack: bytes of a slot
};

struct HeapAccounts {
  uint64_t system_bytes = 0;
  uint64_t heap_bytes = 0;
  uint64_t stack_bytes = 0;
  uint64_t idle_bytes = 0;
  uint64_t released_bytes = 0;
  uint64_t peak_stack_bytes = 0;
  uint64_t stack_spans_taken = 0;
  uint64_t stack_spans_released = 0;
  uint64_t locks_taken = 0;

  PoolStats stats() const {
    return {.system_bytes = system_bytes,
            .heap_bytes = heap_bytes,
            .stack_bytes = stack_bytes,
            .idle_bytes = idle_bytes,
            .released_bytes = released_bytes,
            .live_stacks = 0,
            .live_bytes = 0,
            .cached_bytes = 0,
            .held_stacks = 0,
            .held_bytes = 0,
            .peak_stack_bytes = peak_stack_bytes,
            .allocations = 0,
            .frees = 0,
            .spans_taken = stack_spans_taken,
            .spans_released = stack_spans_released,
            .locks_taken = locks_taken};
  }
};

// Spans on their way to Free, as runs of neighbours; one thread's, see PageHeap::collect.
struct FreeRuns {
  Span* first = nullptr;  // a run's first descriptor keeps the run; by `next`, in ascending addresses
  Span* last = nullptr;
  uint32_t end = 0;         // page behind the last run, whose descriptor learns its length when it is over
  Span* dropped = nullptr;  // the other descriptors: Dead, last in first out
  Span* first_dropped = nullptr;
  uint64_t pages = 0;
  uint64_t spans = 0;
};

class PageHeap {
 public:
  explicit PageHeap(Arena& arena) : arena_(arena), poisoned_pages_(arena.poison_at_once()) {}

  // Back to nothing mapped. `page_limit`: pages that may be mapped (0: the whole arena). World stopped.
  void reset(uint32_t page_limit, size_t grow_chunk_bytes) SD_EXCLUDES(mutex_);

  // A span of `pages` (>= 1) pages, or nullptr when the arena is exhausted. Thread-safe.
  Span* allocate(uint32_t pages, SpanUse use) SD_EXCLUDES(mutex_);
  // The span becomes Free and merges with Free neighbours; the descriptor may be Dead afterwards. Thread-safe.
  void free(Span* span) SD_EXCLUDES(mutex_);
  // The same for many in one go, under one hold of the lock. collect() takes in one Stack span that is on no list and
  // that nobody else knows of, without the lock and touching its descriptor once; spans come in ascending addresses,
  // and those that touch are one from then on. free_runs() frees what was collected, which is then empty again.
  void collect(Span* span, FreeRuns& runs) const;
  void free_runs(FreeRuns& runs) SD_EXCLUDES(mutex_);
  // Keeps the upper half of a large stack's span, under the same descriptor and generation, and frees the lower. The
  // bytes must be two pages at least. Thread-safe; who reads the upper half's span without a lock finds it all the
  // time.
  void free_lower_half(Span* span) SD_EXCLUDES(mutex_);
  // Gives idle memory back to the system, all of it or what is Free since before that time of the idle clock; the bytes
  // newly released. Thread-safe.
  uint64_t release_idle(int64_t before = INT64_MAX) SD_EXCLUDES(mutex_);
  // What spans that become Free from now on are stamped with (PoolParams::idle_clock). World stopped.
  void stamp_idle(int64_t (*clock)()) { idle_clock_ = clock; }

  // The descriptor that a page maps to, if its range covers the address; else nullptr. Lock-free.
  Span* span_of(uintptr_t address) const {
    if (!arena_.contains(address)) return nullptr;
    const uint32_t page = arena_.page_of(address);
    const uint32_t index = arena_.page_map()[page].load(std::memory_order_acquire);
    if (index == 0) return nullptr;
    Span* span = arena_.spans() + index;
    return span->covers(page) ? span : nullptr;
  }
  // Of a span that can't go away, what it is. Lock-free.
  Location locate(uintptr_t address) const;

  HeapAccounts accounts() const SD_EXCLUDES(mutex_);
  // What a pool's accounts have of its heap; the rest is 0.
  PoolStats stats() const SD_EXCLUDES(mutex_);
  size_t mapped_bytes() const {
    return static_cast<size_t>(mapped_pages_.load(std::memory_order_relaxed)) << kPageShift;
  }
  // Spans in address order, then faults. World stopped.
  void walk(WalkVisitor& visitor) const SD_EXCLUDES(mutex_);

  Arena& arena() const { return arena_; }
  uintptr_t base_of(const Span& span) const { return arena_.address_of(span.first()); }
  // What a Free span has: no order, slots, free list, limit.
  static void clear_metadata(Span& span);
  static SpanView view_of(const Span& span, uintptr_t base);

 private:
  static constexpr uint32_t kExactLists = 128;

  Span* new_descriptor() SD_REQUIRES(mutex_);
  void drop_descriptor(Span* span) SD_REQUIRES(mutex_);
  SpanLinks& list_for(uint32_t pages) SD_REQUIRES(mutex_) { return free_[pages < kExactLists ? pages : 0]; }
  void insert_free(Span* span) SD_REQUIRES(mutex_);
  void remove_free(Span* span) SD_REQUIRES(mutex_);
  Span* best_fit(uint32_t pages) SD_REQUIRES(mutex_);
  bool grow(uint32_t pages) SD_REQUIRES(mutex_);
  void split(Span* span, uint32_t pages) SD_REQUIRES(mutex_);
  void issue(Span* span, SpanUse use) SD_REQUIRES(mutex_);
  void merge_and_list(Span* span) SD_REQUIRES(mutex_);
  void withdraw(Span* span) SD_REQUIRES(mutex_);
  static void end_run(FreeRuns& runs);
  void set_map(uint32_t page, const Span* span);
  uint32_t index_of(const Span* span) const { return static_cast<uint32_t>(span - arena_.spans()); }
  bool at_rest(uint32_t mapped) const SD_REQUIRES(mutex_);
  void take_lock_again();
  bool give_back_memory(uint32_t first, uint32_t pages) SD_REQUIRES(mutex_);
  uint64_t release_list(const SpanLinks& list, int64_t before) SD_REQUIRES(mutex_);
  void walk_free_lists(WalkVisitor& visitor, uint32_t free_spans) const SD_REQUIRES(mutex_);
  uint32_t walk_free_list(WalkVisitor& visitor, uint32_t n) const SD_REQUIRES(mutex_);
  void tell_hidden(WalkVisitor& visitor) const SD_REQUIRES(mutex_);
  void walk_spare(WalkVisitor& visitor, uint32_t spans) const SD_REQUIRES(mutex_);
  void walk_map(const Span& span, WalkVisitor& visitor) const;

  Arena& arena_;
  mutable Mutex mutex_;
  std::array<SpanLinks, kExactLists> free_ SD_GUARDED_BY(mutex_);  // [0]: spans of kExactLists pages and more
  std::array<uint64_t, 2> non_empty_ SD_GUARDED_BY(mutex_) = {};   // bit n: free_[n] has a span (n >= 1)
  Span* spare_ SD_GUARDED_BY(mutex_) = nullptr;                    // recycled descriptors, last in first out
  uint32_t descriptors_used_ SD_GUARDED_BY(mutex_) = 0;
  uint32_t generation_ SD_GUARDED_BY(mutex_) = 0;
  uint32_t page_limit_ SD_GUARDED_BY(mutex_) = 0;
  uint32_t grow_pages_ SD_GUARDED_BY(mutex_) = 0;
  uint32_t poisoned_pages_ SD_GUARDED_BY(mutex_);  // those below are poisoned, but for what is issued
  // Written under mutex_. Read without it by who only needs what covers spans that it knows: whoever got those from the
  // heap, under this lock, has handed them on under another.
  std::atomic<uint32_t> mapped_pages_{0};
  mutable HeapAccounts accounts_ SD_GUARDED_BY(mutex_);
  int64_t (*idle_clock_)() = nullptr;  // written with the world stopped
};

inline void PageHeap::clear_metadata(Span& span) {
  shared_write(span.limit);
  shared_write(span.free_list);
  shared_write(span.out);
  if (!planted(Defect::kFreelistKept)) span.free_list = 0;
  span.order = kNoOrder;
  span.slot_bytes = 0;
  span.capacity = span.out = span.given_units = 0;
  if (!planted(Defect::kStaleSpanLimit)) span.limit = 0;
  span.clear_generation();
}

inline void PageHeap::end_run(FreeRuns& runs) {
  if (runs.last != nullptr) runs.last->set_range(runs.last->first(), runs.end - runs.last->first());
}

// What withdraw and drop_descriptor do, with the accounts left to free_runs. A run's own descriptor is Dead until it is
// Free: a reader without a lock must not see Stack with the generation gone (A8).
inline void PageHeap::collect(Span* span, FreeRuns& runs) const {
  STACKDRAIN_CHECK(span->current() == SpanState::kStack, "only a Stack span can be collected");
  const uint32_t first = span->first();
  const uint32_t pages = span->page_count();
  asan_poison(base_of(*span), size_t{pages} << kPageShift);
  runs.pages += pages;
  ++runs.spans;
  span->publish(SpanState::kDead);
  clear_metadata(*span);
  if (runs.last != nullptr && runs.end == first) {
    span->needs_zero = span->released = false;
    span->next = runs.dropped;
    if (runs.dropped == nullptr) runs.first_dropped = span;
    runs.dropped = span;
  } else {
    end_run(runs);
    if (!planted(Defect::kNeedsZeroLost)) span->needs_zero = true;
    span->next = nullptr;
    (runs.last == nullptr ? runs.first : runs.last->next) = span;
    runs.last = span;
  }
  runs.end = first + pages;
}

}  // namespace stackdrain
