// Shared data, marked: which plain fields more than one thread comes to, and the atomics that hand them over.
//
// A plain field that a lock or a phase guards is marked where it is read and written: shared_read(field),
// shared_write(field). A harness that installs a hook learns who came to which field and whether anything orders them;
// elsewhere a mark is nothing. Atomic<T> is std::atomic<T>; where marks are compiled in, each step on one is told too,
// is a place where its thread can be interrupted, and a store may become visible to others later than it was made.
//
// Marks are compiled in with the yield points, but for the harnesses that run programs: those have one thread, and an
// eighth of an execution would go into asking whether anybody is to be told (STACKDRAIN_MARKS=0).
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

#include "target/yield.h"

#ifndef STACKDRAIN_MARKS
#define STACKDRAIN_MARKS STACKDRAIN_YIELDS
#endif

namespace stackdrain {

enum class AtomicStep : uint8_t { kLoad, kStore, kModify };

constexpr bool acquires(std::memory_order order) {
  return order != std::memory_order_relaxed && order != std::memory_order_release;
}
constexpr bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}

// std::atomic_thread_fence. Of a sequentially consistent one clang makes an mfence, which on x86-64 waits for more than
// memory's order, three times as long (measured: 31 against 9 ns behind a store); any locked instruction is such a
// fence, and is what gcc makes of it.
#if defined(__clang__) && defined(__x86_64__)
#define STACKDRAIN_LOCKED_FENCE !__has_feature(thread_sanitizer)
#else
#define STACKDRAIN_LOCKED_FENCE 0
#endif
inline void thread_fence(std::memory_order order) {
#if STACKDRAIN_LOCKED_FENCE
  // not reached by programs: all ask for a sequentially consistent one
  if (order != std::memory_order_seq_cst) return std::atomic_thread_fence(order);
  __asm__ volatile("lock orl $0, (%%rsp)" ::: "memory", "cc");
#else
  std::atomic_thread_fence(order);
#endif
}

// A place in the source. Not std::source_location: clang 14, which is AFL++'s, has none with libstdc++.
struct Place {
  const char* file = "";
  unsigned line = 0;
  const char* function = "";

  static constexpr Place here(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE(),
                              const char* function = __builtin_FUNCTION()) {
    return {file, line, function};
  }
};

// Who watches a thread's shared data. Installed per thread.
class AccessHook {
 public:
  virtual void plain(const void* field, bool writes, const Place& where) = 0;
  // Before a step on an atomic; the thread may be interrupted there.
  virtual void before(const void* atomic, AtomicStep step, std::memory_order order) = 0;
  // After a load or a modification.
  virtual void after(const void* atomic, AtomicStep step, std::memory_order order) = 0;
  virtual void fence(std::memory_order order) = 0;
  // A store: true if it is kept back; make(atomic, bits) is to be called when it becomes visible.
  virtual bool keeps(void* atomic, uint64_t bits, std::memory_order order, void (*make)(void*, uint64_t)) = 0;
  // The value of this thread's own store that is kept back, if there is one.
  virtual bool kept(const void* atomic, uint64_t& bits) = 0;

 protected:
  ~AccessHook() = default;
};

#if STACKDRAIN_MARKS
inline thread_local AccessHook* access_hook = nullptr;
// Has any thread a hook? Looked at first, because where nobody has one a mark must cost next to nothing, and sanitizers
// check each look at a thread's own variable, but not one at a constant address.
inline std::atomic<bool> accesses_watched{false};

inline bool access_watched() {
  if (!accesses_watched.load(std::memory_order_relaxed)) return false;
  return access_hook != nullptr;
}
// Does somebody run threads on terms of its own? They may share a thread, and their stores be seen late, by a walk too.
inline bool threads_are_watched() {
  return accesses_watched.load(std::memory_order_relaxed);
}
// Installs this thread's hook (nullptr: none any more). Only one thread at a time has one.
inline void watch_accesses(AccessHook* hook) {
  access_hook = hook;
  accesses_watched.store(hook != nullptr, std::memory_order_relaxed);
}

// Out of line: a mark costs its caller a test and a jump, and makes nothing too large to be inlined.
#define SD_WATCHED __attribute__((noinline, cold))
SD_WATCHED inline void tell_plain(const void* field, bool writes, const Place& where) {
  access_hook->plain(field, writes, where);
}

template <class T>
void shared_read(const T& field, const Place& where = Place::here()) {
  if (access_watched()) [[unlikely]]
    tell_plain(static_cast<const void*>(&field), false, where);
}
template <class T>
void shared_write(const T& field, const Place& where = Place::here()) {
  if (access_watched()) [[unlikely]]
    tell_plain(static_cast<const void*>(&field), true, where);
}

inline void shared_fence(std::memory_order order) {
  if (access_watched()) [[unlikely]]
    access_hook->fence(order);
  thread_fence(order);
}

template <class T>
class Atomic {
 public:
  constexpr Atomic() = default;
  constexpr Atomic(T value) : value_(value) {}  // NOLINT(google-explicit-constructor): as std::atomic
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(std::memory_order order) const {
    if (!access_watched()) [[likely]]
      return value_.load(order);
    return watched_load(order);
  }
  void store(T value, std::memory_order order) {
    if (access_watched()) [[unlikely]]
      return watched_store(value, order);
    value_.store(value, order);
  }
  T exchange(T value, std::memory_order order) {
    return modify(order, [&] { return value_.exchange(value, order); });
  }
  bool compare_exchange_strong(T& expected, T value, std::memory_order order) {
    return modify(order, [&] { return value_.compare_exchange_strong(expected, value, order); });
  }
  bool compare_exchange_weak(T& expected, T value, std::memory_order order) {
    // Never fails without a reason: a run must be the same twice.
    return compare_exchange_strong(expected, value, order);
  }
  T fetch_add(T by, std::memory_order order) {
    return modify(order, [&] { return value_.fetch_add(by, order); });
  }
  T fetch_sub(T by, std::memory_order order) {
    return modify(order, [&] { return value_.fetch_sub(by, order); });
  }
  T fetch_or(T bits, std::memory_order order) {
    return modify(order, [&] { return value_.fetch_or(bits, order); });
  }
  T fetch_and(T bits, std::memory_order order) {
    return modify(order, [&] { return value_.fetch_and(bits, order); });
  }
  // Of threads: who runs on a hook's terms is woken at once, and looks again.
  // not reached by programs: nobody else has a share of a pause
  void wait(T seen, std::memory_order order) const {
    if (!access_watched()) [[likely]]
      return value_.wait(seen, order);
    access_hook->before(this, AtomicStep::kModify, order);
  }
  void notify_one() { value_.notify_one(); }

 private:
  static_assert(sizeof(T) <= sizeof(uint64_t));

  template <class Step>
  auto modify(std::memory_order order, Step step) {
    if (!access_watched()) [[likely]]
      return step();
    return watched_modify(order, step);
  }
  template <class Step>
  SD_WATCHED auto watched_modify(std::memory_order order, Step step) {
    access_hook->before(this, AtomicStep::kModify, order);
    const auto result = step();
    access_hook->after(this, AtomicStep::kModify, order);
    return result;
  }
  SD_WATCHED T watched_load(std::memory_order order) const {
    access_hook->before(this, AtomicStep::kLoad, order);
    uint64_t bits = 0;
    if (access_hook->kept(this, bits)) return from_bits(bits);
    const T value = value_.load(order);
    access_hook->after(this, AtomicStep::kLoad, order);
    return value;
  }
  SD_WATCHED void watched_store(T value, std::memory_order order) {
    access_hook->before(this, AtomicStep::kStore, order);
    if (access_hook->keeps(this, to_bits(value), order, make)) return;
    value_.store(value, order);
  }
  static uint64_t to_bits(T value) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
  }
  static T from_bits(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  static void make(void* atomic, uint64_t bits) {
    static_cast<Atomic*>(atomic)->value_.store(from_bits(bits), std::memory_order_release);
  }

  std::atomic<T> value_{};
};
#else
constexpr bool threads_are_watched() {
  return false;
}
template <class T>
constexpr void shared_read(const T&) {}
template <class T>
constexpr void shared_write(const T&) {}
inline void shared_fence(std::memory_order order) {
  thread_fence(order);
}
template <class T>
using Atomic = std::atomic<T>;
#endif

}  // namespace stackdrain
