// Yield points: the named places where a pool, a copy or a marker can be interrupted.
//
// Interleaving is data: a harness installs a hook, and the program's bytes say what runs at which point. In builds
// without STACKDRAIN_YIELDS (release, benchmarks) a yield point compiles to nothing. A point listed as `unlocked` is
// reached with no lock of target held, so anything may run there; at a `locked` one only other threads may.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#ifndef STACKDRAIN_YIELDS
#define STACKDRAIN_YIELDS 0
#endif

namespace stackdrain {

// The one table: enumerator, name in program text, locked?, what has just happened there.
#define STACKDRAIN_YIELD_POINTS(X)                                                     \
  X(kCopyAlloc, "alloc", false, "copy: the new stack was allocated")                   \
  X(kCopyAdjust, "adjust", false, "copy: frame slots and records were adjusted")       \
  X(kCopyCopy, "copy", false, "copy: the used bytes were copied")                      \
  X(kCopySwap, "swap", false, "copy: the goroutine's bounds were swapped")             \
  X(kCopyFree, "free", false, "copy: the old stack was freed or retired")              \
  X(kSendElem, "send", false, "send: elem was read, the value is not yet written")     \
  X(kCacheRefill, "refill", false, "cache: about to refill from the pool")             \
  X(kCacheRelease, "release", false, "cache: about to release its excess to the pool") \
  X(kFlush, "flush", false, "flush: a cache is about to be emptied")                   \
  X(kRetire, "retire", false, "policy: a stack is about to be queued or freed")        \
  X(kDrainStep, "drain", false, "policy: one stack or batch of the drain was freed")   \
  X(kHandOff, "handoff", false, "policy: the deferred set was detached")               \
  X(kPoolLock, "pool-lock", true, "pool: an order's lock was taken")                   \
  X(kHeapLock, "heap-lock", true, "page heap: its lock was taken")                     \
  X(kScan, "scan", false, "marker: a goroutine was shrunk and is about to be scanned")

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

 protected:
  ~YieldHook() = default;
};

#if STACKDRAIN_YIELDS
inline thread_local YieldHook* yield_hook = nullptr;
inline void yield_point(Yield point) {
  if (yield_hook != nullptr) yield_hook->at(point);
}
#else
inline void yield_point(Yield) {}
#endif

}  // namespace stackdrain
