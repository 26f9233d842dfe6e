// Explores a protocol of target under C++'s memory model, with Relacy in the place of the standard's atomics.
//
// What runs is the protocol's own template. The right orders must hold in every schedule that is tried; a copy in which
// one order is weaker must not. Relacy plays stale values that x86 never shows, and reports a data race where an edge
// is missing: what an edge protects is an rl::var, a plain word of memory. Its limits: a load never sees a store of the
// future, and two sequentially consistent fences are an edge, which the standard does not promise; so it finds no error
// where only those differ.
//
// Relacy switches stacks by itself and replaces operator new: each exploration is a program of its own, without
// sanitizers and without GoogleTest. Include this first.
#pragma once

#include <relacy/relacy.hpp>
// Relacy's names for what the standard has under the same.
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <iostream>

namespace stackdrain::relacy {

constexpr rl::memory_order order_of(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed:
      return rl::mo_relaxed;
    case std::memory_order_consume:
      return rl::mo_consume;
    case std::memory_order_acquire:
      return rl::mo_acquire;
    case std::memory_order_release:
      return rl::mo_release;
    case std::memory_order_acq_rel:
      return rl::mo_acq_rel;
    default:
      return rl::mo_seq_cst;
  }
}

// What a failed exchange may read with, of an order that it would write with.
constexpr std::memory_order failure_of(std::memory_order order) {
  if (order == std::memory_order_acq_rel) return std::memory_order_acquire;
  return order == std::memory_order_release ? std::memory_order_relaxed : order;
}

// std::atomic's interface, as far as the protocols use it.
template <class T>
class Atomic {
 public:
  Atomic() = default;
  explicit Atomic(T value) { word_.store(raw(value), rl::mo_relaxed, RL_INFO); }

  T load(std::memory_order order) const { return static_cast<T>(word_.load(order_of(order), RL_INFO)); }
  void store(T value, std::memory_order order) { word_.store(raw(value), order_of(order), RL_INFO); }
  T exchange(T value, std::memory_order order) {
    return static_cast<T>(word_(RL_INFO).exchange(raw(value), order_of(order)));
  }
  T fetch_add(T value, std::memory_order order) {
    return static_cast<T>(word_(RL_INFO).fetch_add(raw(value), order_of(order)));
  }
  T fetch_sub(T value, std::memory_order order) {
    return static_cast<T>(word_(RL_INFO).fetch_sub(raw(value), order_of(order)));
  }
  T fetch_or(T value, std::memory_order order) {
    return static_cast<T>(word_(RL_INFO).fetch_or(raw(value), order_of(order)));
  }
  T fetch_and(T value, std::memory_order order) {
    return static_cast<T>(word_(RL_INFO).fetch_and(raw(value), order_of(order)));
  }
  bool compare_exchange_strong(T& expected, T value, std::memory_order order) {
    uint64_t seen = raw(expected);
    const bool done =
        word_(RL_INFO).compare_exchange_strong(seen, raw(value), order_of(order), order_of(failure_of(order)));
    expected = static_cast<T>(seen);
    return done;
  }
  bool compare_exchange_weak(T& expected, T value, std::memory_order order) {
    return compare_exchange_strong(expected, value, order);
  }

 private:
  static uint64_t raw(T value) { return static_cast<uint64_t>(value); }

  rl::atomic<uint64_t> word_;
};

struct System {
  template <class T>
  using Atomic = relacy::Atomic<T>;

  static void fence(std::memory_order order) { rl::atomic_thread_fence(order_of(order), RL_INFO); }
};

// How a test is searched: at random, so many schedules; all of them; or all in which a thread that could go on is
// interrupted so many times at most (what each load sees is tried to the full, and errors want few switches).
struct Search {
  rl::scheduler_type_e scheduler = rl::random_scheduler_type;
  rl::iteration_t schedules = 30000;  // at random alone
  unsigned switches = 0;
};
inline constexpr Search kAll = {.scheduler = rl::fair_full_search_scheduler_type};
inline constexpr Search kFewSwitches = {.scheduler = rl::fair_context_bound_scheduler_type, .switches = 3};

// One line a test; counts those of which something else came than must.
class Explored {
 public:
  // Every schedule must hold.
  template <class Test>
  void holds(const char* what, Search search = {}) {
    run<Test>(what, search, true);
  }
  // Some schedule must break it.
  template <class Test>
  void breaks(const char* what, Search search = {}) {
    run<Test>(what, search, false);
  }
  int exit_code() const { return wrong_ == 0 ? 0 : 1; }

 private:
  template <class Test>
  void run(const char* what, Search search, bool must_hold) {
    std::ostream nowhere(nullptr);  // a stream that grows would grow in Relacy's memory
    rl::test_params params;
    params.search_type = search.scheduler;
    params.iteration_count = search.schedules;
    params.context_bound = search.switches;
    params.output_stream = &nowhere;
    params.progress_stream = &nowhere;
    const bool held = rl::simulate<Test>(params);
    std::printf("%-4s %-66s %s after %llu schedules\n", held == must_hold ? "ok" : "FAIL", what,
                held ? "holds" : rl::test_result_str(params.test_result),
                static_cast<unsigned long long>(params.stop_iteration));
    std::fflush(stdout);
    if (held == must_hold) return;
    ++wrong_;
    params.output_stream = &std::cout;
    if (!held) rl::simulate<Test>(params);  // again, and tells its history
  }

  int wrong_ = 0;
};

}  // namespace stackdrain::relacy
