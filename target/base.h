// Base: the few things every file of target needs: sizes, the assertion, and ASan poisoning.
//
// target knows nothing of fuzzing, timing or printing. A failed STACKDRAIN_CHECK is a broken precondition of our
// own code (never of a program's input): it prints one line and aborts, in every build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STACKDRAIN_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define STACKDRAIN_ASAN 1
#endif
#ifndef STACKDRAIN_ASAN
#define STACKDRAIN_ASAN 0
#endif

#if STACKDRAIN_ASAN
#include <sanitizer/asan_interface.h>
#endif

// A broken precondition of our own code: says what and where, then aborts. Stays on in release builds: every use is
// outside the hot paths or costs one predicted branch.
#define STACKDRAIN_CHECK(condition, what)                                                         \
  do {                                                                                            \
    if (!(condition)) [[unlikely]] {                                                              \
      std::fprintf(stderr, "%s:%d: stackdrain: %s (%s)\n", __FILE__, __LINE__, what, #condition); \
      if (stackdrain::on_check_failure != nullptr) stackdrain::on_check_failure();                \
      std::abort();                                                                               \
    }                                                                                             \
  } while (false)

namespace stackdrain {

// Called by a failed STACKDRAIN_CHECK before it aborts: a harness says here what it was doing.
inline void (*on_check_failure)() = nullptr;

// Unit of a span: 8 KiB, Go's page size on linux/amd64 (commit 91e8554b8b, malloc.h).
inline constexpr uint32_t kPageShift = 13;
inline constexpr size_t kPageBytes = size_t{1} << kPageShift;
constexpr uint64_t bytes_of(uint64_t pages) {
  return pages << kPageShift;
}
// Smallest stack, order 0: 2 KiB.
inline constexpr size_t kMinStackBytes = 2048;
// A page has so many of them, its units.
inline constexpr uint32_t kUnitsPerPage = kPageBytes / kMinStackBytes;
// Orders a pool may have; PoolParams::orders says how many it has (3 at the seed, 4 since 2014-12).
inline constexpr int kMaxOrders = 4;
// Pages of a small-stack span (32 KiB), and also the cap of one processor's cache per order.
inline constexpr uint32_t kPoolSpanPages = 4;
inline constexpr size_t kPoolSpanBytes = kPoolSpanPages * kPageBytes;
// Bytes at the low end of a dead stack that hold links while it is free, cached or deferred.
inline constexpr size_t kLinkBytes = 16;
// Processors a pool can serve; each has a cache of its own.
inline constexpr int kMaxProcs = 64;

// Markers that a cycle can have.
inline constexpr int kMaxMarkers = 16;

// A function that fuzzers' coverage does not look into; inlined, it would.
#if defined(__clang__)
#define SD_NO_COVERAGE __attribute__((no_sanitize("coverage"), noinline))
#else
#define SD_NO_COVERAGE
#endif

// A processor's index, or kNoProc for markers and drainers, which have no cache and go to the pool.
using Proc = int;
inline constexpr Proc kNoProc = -1;

// Poisons [address, address + bytes) for ASan; nothing without ASan. Poisoned memory faults on any instrumented use.
inline void asan_poison([[maybe_unused]] uintptr_t address, [[maybe_unused]] size_t bytes) {
#if STACKDRAIN_ASAN
  STACKDRAIN_CHECK(bytes < size_t{1} << 40,
                   "a stack of an impossible size");  // ASan itself would die of it, unexplained
  __asan_poison_memory_region(reinterpret_cast<void*>(address), bytes);
#endif
}

// The opposite of asan_poison.
inline void asan_unpoison([[maybe_unused]] uintptr_t address, [[maybe_unused]] size_t bytes) {
#if STACKDRAIN_ASAN
  __asan_unpoison_memory_region(reinterpret_cast<void*>(address), bytes);
#endif
}

// Zeroes memory that nobody uses, all of it poisoned afterwards if it was before. clang's inlined memset is none of
// ASan's, and three calls of its runtime are saved; other compilers make them.
#if defined(__has_builtin)
#if STACKDRAIN_ASAN && __has_builtin(__builtin_memset_inline)
#define STACKDRAIN_CLEARS_POISONED 1
#endif
#endif
#ifndef STACKDRAIN_CLEARS_POISONED
#define STACKDRAIN_CLEARS_POISONED 0
#endif
#if STACKDRAIN_CLEARS_POISONED
template <size_t kBytes>
SD_NO_COVERAGE __attribute__((no_sanitize("address"))) void clear_unused(uintptr_t address) {
  __builtin_memset_inline(reinterpret_cast<void*>(address), 0, kBytes);
}
#else
template <size_t kBytes>
void clear_unused(uintptr_t address) {
  asan_unpoison(address, kBytes);
  std::memset(reinterpret_cast<void*>(address), 0, kBytes);
  asan_poison(address, kBytes);
}
#endif

// True if ASan poisons the byte at `address`; false without ASan (ask asan_enabled first).
// not reached by programs: asked only where ASan runs
inline bool asan_is_poisoned([[maybe_unused]] uintptr_t address) {
#if STACKDRAIN_ASAN
  return __asan_address_is_poisoned(reinterpret_cast<void*>(address)) != 0;
#else
  return false;
#endif
}

// The lowest poisoned byte of [address, address + bytes); 0: none is.
inline uintptr_t asan_first_poisoned([[maybe_unused]] uintptr_t address, [[maybe_unused]] size_t bytes) {
#if STACKDRAIN_ASAN
  return reinterpret_cast<uintptr_t>(__asan_region_is_poisoned(reinterpret_cast<void*>(address), bytes));
#else
  return 0;
#endif
}

inline constexpr bool asan_enabled = STACKDRAIN_ASAN != 0;

}  // namespace stackdrain
