// Yield points: the named places where a pool, a copy or a marker can be interrupted.
//
// Interleaving is data: a harness installs a hook, and the program's bytes say what runs at which point. In builds
// without STACKDRAIN_YIELDS (release, benchmarks) a yield point compiles to nothing. A point listed as `unlocked` is
// reached with no lock of target held, so anything may run there; at a `locked` one only other threads may, or, in one
// thread, what takes no lock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "target/base.h"

#ifndef STACKDRAIN_YIELDS
#define STACKDRAIN_YIELDS 0
#endif

namespace stackdrain {

// The one table: enumerator, name in program text, locked?, what has just happened there.
#define STACKDRAIN_YIELD_POINTS(X)                                                              \
  X(kCopyAlloc, "alloc", false, "copy: the new stack was allocated")                            \
  X(kCopyAdjust, "adjust", false, "copy: frame slots and records were adjusted")                \
  X(kCopyCopy, "copy", false, "copy: the used bytes were copied")                               \
  X(kCopySwap, "swap", false, "copy: the goroutine's bounds were swapped")                      \
  X(kCopyFree, "free", false, "copy: the old stack was freed or retired")                       \
  X(kSendElem, "send", false, "send: elem was read, the value is not yet written")              \
  X(kCacheRefill, "refill", false, "cache: about to refill from the pool")                      \
  X(kCacheRelease, "release", false, "cache: about to release its excess to the pool")          \
  X(kFlush, "flush", false, "flush: a cache is about to be emptied")                            \
  X(kRetire, "retire", false, "policy: a stack is about to be queued or freed")                 \
  X(kDrainStep, "drain", false, "policy: one stack or batch of the drain was freed")            \
  X(kHandOff, "handoff", false, "policy: the deferred set was detached")                        \
  X(kPoolLock, "pool-lock", true, "pool: an order's lock was taken")                            \
  X(kHeapLock, "heap-lock", true, "page heap: its lock was taken")                              \
  X(kScan, "scan", false, "marker: a goroutine was shrunk and is about to be scanned")          \
  X(kClaim, "claim", false, "move: the goroutine's status was read, it is not yet claimed")     \
  X(kPark, "park", false, "block: the goroutine counts as waiting, and is not through with it") \
  X(kCachePush, "cache-push", false, "cache: a stack was linked, the head is not yet stored")   \
  X(kFlushList, "flush-list", false, "flush: one list was read and is about to be given back")  \
  X(kSpanFreed, "span-freed", false, "pool: a large stack's span was given to the page heap")   \
  X(kIssue, "issue", true, "page heap: a span is being issued")

enum class Yield : uint8_t {
#define X(id, name, locked, what) id,
  STACKDRAIN_YIELD_POINTS(X)
#undef X
};

struct YieldRow {
  std::string_view name;
  bool locked;
  std::string_view what;
};

inline constexpr std::array kYieldPoints = {
#define X(id, name, locked, what) YieldRow{name, locked, what},
    STACKDRAIN_YIELD_POINTS(X)
#undef X
};

// What runs at a yield point. Installed per thread.
class YieldHook {
 public:
  virtual void at(Yield point) = 0;
  // The processor on which the interrupted goroutine goes on; it was on `proc`.
  // not reached by programs: the machine has its own
  virtual Proc resumes_on(Proc proc) { return proc; }
  // A drain freed a stack and goes on with the one at `next`, the first of `left` (> 0). Nothing may run there.
  // not reached by programs: the machine has its own
  virtual void drain_goes_on([[maybe_unused]] uintptr_t next, [[maybe_unused]] size_t left) {}
  // A page heap is about to map more of its arena; false: the system refuses.
  // not reached by programs: the machine has its own
  virtual bool maps() { return true; }
  // An operation of the allocator begins, on `proc` (kNoProc: by somebody without a processor), and ends. Nothing may
  // run there.
  virtual void entered([[maybe_unused]] Proc proc) {}
  virtual void left() {}

 protected:
  ~YieldHook() = default;
};

// False: work_so_far() stays 0.
inline constexpr bool kCountsWork = STACKDRAIN_YIELDS != 0;

#if STACKDRAIN_YIELDS
// Units of a drain's work that this thread has done: a stack given back, a span or a word of bits looked at. Time is
// not the same twice; this is, so what a policy may do in the pause is bounded in these (F4, PolicyClaims).
inline thread_local uint64_t work_done = 0;
inline void count_work() {
  ++work_done;
}
inline uint64_t work_so_far() {
  return work_done;
}
inline thread_local YieldHook* yield_hook = nullptr;
inline void yield_point(Yield point) {
  if (yield_hook != nullptr) yield_hook->at(point);
}
// The same, for a goroutine that may be preempted there: the processor that it is on afterwards.
inline Proc yield_and_resume(Yield point, Proc proc) {
  yield_point(point);
  return yield_hook != nullptr ? yield_hook->resumes_on(proc) : proc;
}
inline void tell_drain_goes_on(uintptr_t next, size_t left) {
  if (yield_hook != nullptr && left != 0) yield_hook->drain_goes_on(next, left);
}
// Does the system give a page heap more memory? It always does, but where a harness says that it does not.
inline bool system_maps() {
  return yield_hook == nullptr || yield_hook->maps();
}
// While it lives, an operation of the allocator is under way (F2, F3).
class InAllocator {
 public:
  explicit InAllocator(Proc proc) {
    if (yield_hook != nullptr) yield_hook->entered(proc);
  }
  ~InAllocator() {
    if (yield_hook != nullptr) yield_hook->left();
  }
  InAllocator(const InAllocator&) = delete;
  InAllocator& operator=(const InAllocator&) = delete;
};
#else
inline void count_work() {}
inline uint64_t work_so_far() {
  return 0;
}
inline void yield_point(Yield) {}
inline Proc yield_and_resume(Yield, Proc proc) {
  return proc;
}
inline void tell_drain_goes_on(uintptr_t, size_t) {}
inline bool system_maps() {
  return true;
}
class InAllocator {
 public:
  explicit InAllocator(Proc) {}
};
#endif

}  // namespace stackdrain
