// What a pool under test is: the StackPool concept, its type-erased form AnyPool, and what a pool tells of itself.
//
// The life of a cycle, and which call is legal when (W: world stopped, no mutator runs):
//
//   mutators run ──begin_cycle (W)──▶ mark ──end_mark (W)──▶ marked ──restarted (W, last act)──▶ mutators run
//                                      │ flush_cache(p), retire(...)    │ drain in the pause is inside end_mark
//                                      │ retire while markers hold pointers                drain_step(...) any time
//                                      after
//
// * allocate / free: any time. `free` says "no marker can hold a pointer into this": the memory may be re-issued at
// once.
// * retire: a stack that somebody may still hold a pointer into (shrunk, grown away from, or dead while a mark runs).
//   The policy decides whether it is freed now or later: this is the call the whole suite is about. It may be called by
//   several markers at once.
// * end_mark: every marker is done; runs in the pause. What it does is the policy's pause contribution.
// * reading / quiescent (optional): a reader may hold pointers into stacks by value from here on / holds none any more.
//   A marker reads from its LOAD to its RESOLVE and in its root jobs, a processor's write buffer while it is not empty.
//   reclaim (optional): a marker is between two root jobs. For a policy that frees while the mark runs.
// * help: a thread that waits for end_mark takes a share of it. Optional, and from any thread at any time: outside of
//   end_mark it does nothing.
// * drain_step: one interruptible step of what the policy moved out of the pause; thread-safe against allocate/free.
//   A next begin_cycle may come while work is left; the drain goes on after that cycle.
//
// Thread-safety: allocate/free/retire/reclaim/drain_step/locate from any thread, except that a processor's cache (proc
// >= 0) has one owner at a time (whoever takes over from a thread that is gone: Collector::adopt); reading/quiescent by
// whoever is the reader. begin_cycle, end_mark, restarted, flush_cache of a foreign cache, stats, walk and reset want
// the world stopped. Errors: allocate and allocate_heap answer an empty Stack / 0 when the arena is exhausted, or the
// system refuses it more, and leave everything as it was.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "target/base.h"
#include "target/params.h"
#include "target/stack.h"
#include "target/yield.h"

namespace stackdrain {

// Free: in the page heap. Stack: holds stacks. InUse: holds heap objects. Dead: a descriptor merged into a neighbour
// (or never used). Unmapped is only an answer of locate(): no descriptor covers the address.
enum class SpanState : uint8_t { kFree, kStack, kInUse, kDead, kUnmapped };
inline constexpr std::string_view kSpanStateNames[] = {"Free", "Stack", "InUse", "Dead", "Unmapped"};

// Why a stack is given up while a mark may run.
enum class RetireWhy : uint8_t {
  kShrunk,  // a marker halved the goroutine's stack
  kGrown,   // a running mutator doubled it (concurrent marking only)
  kDead,    // the goroutine is dead
};

// Who may hold a pointer into a stack by value: the markers, then the processors' write buffers.
using Reader = size_t;
inline constexpr size_t kReaders = size_t{kMaxMarkers} + kMaxProcs;
constexpr Reader marker_reader(int marker) {
  return static_cast<size_t>(marker);
}
constexpr Reader buffer_reader(Proc proc) {
  return size_t{kMaxMarkers} + static_cast<size_t>(proc);
}

struct CycleKind {
  int markers = 1;          // >= 1
  bool concurrent = false;  // mutators run during mark
};

// What the bad-pointer check and the checker see of an address.
struct Location {
  SpanState state = SpanState::kUnmapped;
  uint32_t generation = 0;  // of the span: changes each time it is issued as Stack or InUse
  uintptr_t base = 0;
  uint32_t pages = 0;
};

// Byte- and count-exact accounts. Bytes are of address space mapped by the pool; counts are events since reset.
struct PoolStats {
  uint64_t system_bytes = 0;    // mapped = heap_bytes + stack_bytes + idle_bytes
  uint64_t heap_bytes = 0;      // in spans InUse
  uint64_t stack_bytes = 0;     // in spans Stack
  uint64_t idle_bytes = 0;      // in spans Free
  uint64_t released_bytes = 0;  // of idle_bytes, given back to the system
  uint64_t live_stacks = 0;     // allocations - frees - held_stacks
  uint64_t live_bytes = 0;
  uint64_t cached_bytes = 0;  // in processors' caches and on their shelves
  uint64_t held_stacks = 0;   // deferred: retired and not yet freed
  uint64_t held_bytes = 0;    // deferred stacks' bytes, and empty spans kept because a mark runs
  uint64_t peak_stack_bytes = 0;
  uint64_t allocations = 0;
  uint64_t frees = 0;           // stacks back to pool, cache or heap, however they came there
  uint64_t spans_taken = 0;     // small-stack spans and large stacks taken from the page heap
  uint64_t spans_released = 0;  // ... and given back
  uint64_t locks_taken = 0;     // of the pool and the page heap

  bool operator==(const PoolStats&) const = default;
};

// Where a slot is. Live is not listed: what no walk entry names is live (or in transit).
enum class SlotPlace : uint8_t { kLive, kPoolFree, kCached, kDeferred, kShelved };
inline constexpr std::string_view kSlotPlaceNames[] = {"live", "pool-free", "cached", "deferred", "shelved"};

enum class SpanList : uint8_t { kNone, kHeapFree, kOrder, kLargeReserve };

inline constexpr uint8_t kLargeOrder = 0xfe;  // SpanView::order of a large stack's span
inline constexpr uint8_t kNoOrder = 0xff;     // ... of a span that holds no stacks

struct SpanView {
  uintptr_t base = 0;
  uint32_t pages = 0;
  SpanState state = SpanState::kDead;
  uint32_t generation = 0;
  uint8_t order = kNoOrder;
  SpanList list = SpanList::kNone;
  uint32_t slot_bytes = 0;  // Stack: bytes of a slot (a large stack's size); else 0
  uint16_t capacity = 0;    // slots
  uint16_t out = 0;         // slots that are not on the span's free list
  uintptr_t limit = 0;      // end of the last slot
  bool has_free_list = false;
  bool needs_zero = false;      // the memory may be non-zero
  bool released = false;        // all of the memory was given back to the system
  uint32_t released_pages = 0;  // so many pages of it were
};

struct SlotView {
  uintptr_t lo = 0;
  size_t bytes = 0;
  SlotPlace place = SlotPlace::kLive;
  Proc proc = kNoProc;  // kCached, kShelved: whose
};

// Broken structure that a walk meets; the checker says which invariant that is.
enum class WalkFault : uint8_t {
  kTiling,       // spans do not tile the mapped arena (A6)
  kPageMap,      // a page maps to the wrong descriptor (A6)
  kDeadReached,  // a dead descriptor is reachable (A6)
  kListMember,   // a list holds a span of the wrong state, order or twice (A5)
  kListLink,     // links are not symmetric (A5)
  kFreeList,     // a slot list leaves its span, is misaligned, cyclic or of the wrong length (B3)
  kCacheSize,    // a cache's byte count is not its length times the slot (B4)
  kDeferred,     // the deferred set is cyclic, or its count or bytes are wrong (C2)
  kDescriptor,   // a descriptor changed after it was merged away, or was lost (F6)
};
inline constexpr std::string_view kWalkFaultNames[] = {"spans do not tile the arena",
                                                       "a page maps to the wrong span",
                                                       "a dead descriptor is reachable",
                                                       "a span list holds a wrong span",
                                                       "a span list's links are not symmetric",
                                                       "a slot list is damaged",
                                                       "a cache's size is not its length times the slot",
                                                       "the deferred set is damaged",
                                                       "a descriptor changed after it was merged away, or was lost"};

// Receives a walk: all spans in address order, then every slot that is not live, then faults as they are met. A walk
// ends in bounded steps however damaged the pool is.
class WalkVisitor {
 public:
  virtual void span(const SpanView& view) = 0;
  virtual void slot(const SlotView& view) = 0;
  virtual void fault(WalkFault fault, uintptr_t address) = 0;
  // A pool whose future depends on more than spans and slots show (the order of a list, where a queue is cut) tells
  // that here, in words without addresses (offsets from the arena's base), to those who ask for it: explore merges
  // states that a walk can't tell apart.
  virtual bool wants_hidden() const { return false; }
  // not reached by programs: who wants it has its own
  virtual void hidden(uint64_t) {}
  // Who asks about spans alone says so; then a pool may tell no slots, and look for no fault but what keeps it from
  // telling the spans.
  virtual bool wants_slots() const { return true; }

 protected:
  ~WalkVisitor() = default;
};

// A pool under test.
template <class P>
concept StackPool = requires(P pool, const P constant, const PoolParams& params, Stack stack, size_t bytes, Proc proc,
                             uintptr_t address, WalkVisitor& visitor, CycleKind kind, RetireWhy why) {
  { pool.reset(params) } -> std::same_as<void>;
  { pool.allocate(proc, bytes) } -> std::same_as<Stack>;
  { pool.free(proc, stack) } -> std::same_as<void>;
  { pool.retire(proc, stack, why) } -> std::same_as<void>;
  { pool.flush_cache(proc) } -> std::same_as<void>;
  { pool.begin_cycle(kind) } -> std::same_as<void>;
  { pool.end_mark() } -> std::same_as<void>;
  { pool.restarted() } -> std::same_as<void>;
  { pool.drain_step(bytes) } -> std::same_as<size_t>;
  { constant.drain_pending() } -> std::same_as<bool>;
  { pool.allocate_heap(uint32_t{}, bool{}) } -> std::same_as<uintptr_t>;
  { pool.free_heap(address) } -> std::same_as<void>;
  { pool.release_idle() } -> std::same_as<uint64_t>;
  { constant.locate(address) } -> std::same_as<Location>;
  { constant.stats() } -> std::same_as<PoolStats>;
  { constant.walk(visitor) } -> std::same_as<void>;
  { constant.params() } -> std::same_as<const PoolParams&>;
  { constant.arena_base() } -> std::same_as<uintptr_t>;
  { constant.arena_mapped() } -> std::same_as<size_t>;
};

// A StackPool behind virtual calls, so that one machine, oracle and clock serve every policy.
class AnyPool {
 public:
  virtual ~AnyPool() = default;
  // Back to the empty pool with these parameters, in place: no system call, no heap allocation, microseconds.
  virtual void reset(const PoolParams& params) = 0;
  // A stack of exactly `bytes`: a power of two from 2 KiB to params().max_stack_bytes. Empty when the arena is
  // exhausted.
  virtual Stack allocate(Proc proc, size_t bytes) = 0;
  virtual void free(Proc proc, Stack stack) = 0;
  virtual void retire(Proc proc, Stack stack, RetireWhy why) = 0;
  // Behind retire, here as in memory: after a long mark a pause waits for each line of instructions that it is the
  // first to need, 130 ns, and these come with those of the last retire.
  virtual void end_mark() = 0;
  // Shrinks a stack where it is, world stopped: frees its lower half, to which nothing points, at once; the upper half.
  // Empty: not this stack, or not this pool; then a shrink copies.
  virtual Stack halve(Stack stack) = 0;
  // Empties proc's cache into the pool.
  virtual void flush_cache(Proc proc) = 0;
  virtual void begin_cycle(CycleKind kind) = 0;
  virtual void reading(Reader reader) = 0;
  virtual void quiescent(Reader reader) = 0;
  // The stacks freed.
  virtual size_t reclaim() = 0;
  // Takes part in what end_mark does, from another thread: a marker that is done calls it while it waits for the
  // pause's end. The stacks that it freed; 0 at once if there is nothing to take, or the pool's pause is not to be
  // shared.
  virtual size_t help() = 0;
  virtual void restarted() = 0;
  // Frees deferred work worth about `budget` stacks (0: as PoolParams::drain_hold says); the stacks (or spans) freed.
  virtual size_t drain_step(size_t budget) = 0;
  virtual bool drain_pending() const = 0;
  // A span of `pages` pages for heap objects; zeroed if `zeroed`. Its base, or 0 when the arena is exhausted.
  virtual uintptr_t allocate_heap(uint32_t pages, bool zeroed) = 0;
  virtual void free_heap(uintptr_t base) = 0;
  // Gives the memory of all Free spans back to the system; the bytes newly given back.
  virtual uint64_t release_idle() = 0;
  // The owner of a stack or a heap span writes to [lo, lo + bytes) of it, or may from now on: so that a reset clears no
  // more than that. A pool that clears all that it issued need not care.
  virtual void note_written(uintptr_t lo, size_t bytes) = 0;
  virtual Location locate(uintptr_t address) const = 0;
  virtual PoolStats stats() const = 0;
  virtual void walk(WalkVisitor& visitor) const = 0;
  virtual const PoolParams& params() const = 0;
  virtual uintptr_t arena_base() const = 0;
  virtual size_t arena_mapped() const = 0;
};

// The adapter from the concept to the interface; adds the virtual call, and tells a hook who is inside.
template <StackPool P>
class PoolBox final : public AnyPool {
 public:
  template <class... Args>
  explicit PoolBox(Args&&... args) : pool_(static_cast<Args&&>(args)...) {}

  void reset(const PoolParams& params) override { pool_.reset(params); }
  Stack allocate(Proc proc, size_t bytes) override {
    const InAllocator inside(proc);
    return pool_.allocate(proc, bytes);
  }
  void free(Proc proc, Stack stack) override {
    const InAllocator inside(proc);
    pool_.free(proc, stack);
  }
  void retire(Proc proc, Stack stack, RetireWhy why) override {
    const InAllocator inside(proc);
    pool_.retire(proc, stack, why);
  }
  void end_mark() override { pool_.end_mark(); }
  Stack halve([[maybe_unused]] Stack stack) override {
    if constexpr (requires { pool_.halve(stack); }) return pool_.halve(stack);
    return {};
  }
  void flush_cache(Proc proc) override {
    const InAllocator inside(proc);
    pool_.flush_cache(proc);
  }
  void begin_cycle(CycleKind kind) override { pool_.begin_cycle(kind); }
  void reading([[maybe_unused]] Reader reader) override {
    if constexpr (requires { pool_.reading(reader); }) pool_.reading(reader);
  }
  void quiescent([[maybe_unused]] Reader reader) override {
    if constexpr (requires { pool_.quiescent(reader); }) pool_.quiescent(reader);
  }
  size_t reclaim() override {
    if constexpr (requires { pool_.reclaim(); }) return pool_.reclaim();
    return 0;
  }
  size_t help() override {
    if constexpr (requires { pool_.help(); }) return pool_.help();
    return 0;
  }
  void restarted() override { pool_.restarted(); }
  size_t drain_step(size_t budget) override {
    const InAllocator inside(kNoProc);
    return pool_.drain_step(budget);
  }
  bool drain_pending() const override { return pool_.drain_pending(); }
  uintptr_t allocate_heap(uint32_t pages, bool zeroed) override { return pool_.allocate_heap(pages, zeroed); }
  void free_heap(uintptr_t base) override { pool_.free_heap(base); }
  uint64_t release_idle() override { return pool_.release_idle(); }
  void note_written([[maybe_unused]] uintptr_t lo, [[maybe_unused]] size_t bytes) override {
    if constexpr (requires { pool_.note_written(lo, bytes); }) pool_.note_written(lo, bytes);
  }
  Location locate(uintptr_t address) const override { return pool_.locate(address); }
  PoolStats stats() const override { return pool_.stats(); }
  void walk(WalkVisitor& visitor) const override { pool_.walk(visitor); }
  const PoolParams& params() const override { return pool_.params(); }
  uintptr_t arena_base() const override { return pool_.arena_base(); }
  size_t arena_mapped() const override { return pool_.arena_mapped(); }

  P& pool() { return pool_; }

 private:
  P pool_;
};

// Lets the cycle that is under way end and one pass in which nothing is put to use: after that a pool keeps nothing for
// a next growth. World stopped.
inline void pass_idle_cycles(AnyPool& pool) {
  for (int cycle = 0; cycle < 2; ++cycle) {
    pool.begin_cycle({});
    pool.end_mark();
    pool.restarted();
    while (pool.drain_pending()) pool.drain_step(0);
  }
}

}  // namespace stackdrain
