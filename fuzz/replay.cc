#include "fuzz/replay.h"

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <iterator>
#include <map>
#include <memory>
#include <thread>
#include <unordered_map>

namespace stackdrain {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

// Sleeps what is long enough to, and spins for the rest.
void wait_until(Clock::time_point when) {
  constexpr auto kSpun = std::chrono::microseconds(200);
  if (when - Clock::now() > kSpun) std::this_thread::sleep_until(when - kSpun);
  while (Clock::now() < when) {
  }
}

class Replayer {
 public:
  // `times_calls`: notes what each call takes.
  Replayer(const Trace& trace, AnyPool& pool, PoolParams params, bool times_calls)
      : trace_(trace), pool_(pool), times_calls_(times_calls) {
    params.procs = trace.procs;
    pool_.reset(params);
    flushed_.assign(static_cast<size_t>(trace.procs), true);
    live_.reserve(1 << 16);
  }

  void take(const TraceEvent& event) {
    ++result_.events;
    ++line_;
    if (event.proc >= 0) flush_late(event.proc);
    step(event);
  }

  ReplayResult end() {
    finish();
    return std::move(result_);
  }

 private:
  void step(const TraceEvent& event) {
    switch (event.kind) {
      case TraceKind::kAlloc:
        return allocate(event);
      case TraceKind::kFree:
        return free(event);
      case TraceKind::kCopy:
        why_[event.address] = event.b < event.a ? RetireWhy::kShrunk : RetireWhy::kGrown;
        ++(event.b < event.a ? row_.shrinks : row_.grows);
        return;
      case TraceKind::kSpanTaken:
        ++result_.taken[event.b].real;
        ++real_spans_;
        return;
      case TraceKind::kSpanGiven:
        --real_spans_;
        return;
      case TraceKind::kStop:
        pool_.begin_cycle({1, true});
        marking_ = stopped_ = true;
        return;
      case TraceKind::kTerminate:
        stopped_ = true;
        return;
      case TraceKind::kMark:
      case TraceKind::kUndo:
        stopped_ = false;
        return;
      case TraceKind::kRestart:
        end_mark();
        if (event.proc >= 0) flush_late(event.proc);
        return;
      case TraceKind::kPassBegin:
        // The pass over the pools runs here, before the caches of idle processors are flushed.
        drain();
        return;
      case TraceKind::kPassEnd:
        return end_cycle(event);
      default:
        return;
    }
  }

  // not reached by seeds: a sound pool violates nothing
  void violate(const char* what, uint64_t left, uint64_t right) {
    ++row_.violations;
    if (result_.violations++ != 0) return;
    char text[200];
    std::snprintf(text, sizeof text, "row %" PRIu64 ": %s: %" PRIu64 " against %" PRIu64, line_ + 1, what, left, right);
    result_.first_violation = text;
  }

  Proc user_of(const TraceEvent& event) const { return stopped_ ? kNoProc : event.proc; }

  // A stack was issued: none that lives shares a byte with it.
  void claim(Stack stack) {
    const auto above = claimed_.upper_bound(stack.lo);
    if (above != claimed_.end() && above->first < stack.hi)
      // not reached by seeds: a sound pool violates nothing
      violate("a stack overlaps a live one", stack.hi, above->first);
    if (above != claimed_.begin() && std::prev(above)->second > stack.lo) {
      // not reached by seeds: a sound pool violates nothing
      violate("a stack overlaps a live one", stack.lo, std::prev(above)->second);
    }
    claimed_[stack.lo] = stack.hi;
  }

  void allocate(const TraceEvent& event) {
    const uint64_t taken = pool_.stats().spans_taken;
    const Clock::time_point start = call_begins();
    const Stack stack = pool_.allocate(user_of(event), event.a);
    call_ends(start);
    result_.taken[event.a].ours += pool_.stats().spans_taken - taken;
    ++result_.allocations;
    ++row_.allocations;
    // not reached by seeds: a sound pool violates nothing
    if (stack.bytes() != event.a || pool_.locate(stack.lo).state != SpanState::kStack) {
      violate("a stack of the wrong size or place was issued, bytes", stack.bytes(), event.a);
      return;
    }
    claim(stack);
    live_[event.address] = stack;
    live_bytes_ += event.a;
  }

  void free(const TraceEvent& event) {
    const auto at = live_.find(event.address);
    if (at == live_.end()) return;  // its allocation was the violation
    const Stack stack = at->second;
    live_.erase(at);
    live_bytes_ -= event.a;
    ++result_.frees;
    ++row_.frees;
    RetireWhy why = RetireWhy::kDead;
    if (const auto copied = why_.find(event.address); copied != why_.end()) {
      why = copied->second;
      why_.erase(copied);
    }
    claimed_.erase(stack.lo);
    const Clock::time_point start = call_begins();
    if (marking_) {
      pool_.retire(user_of(event), stack, why);
      pool_.reclaim();  // a trace tells of no pointers that anybody holds
    } else {
      pool_.free(event.proc, stack);
    }
    call_ends(start);
  }

  Clock::time_point call_begins() const { return times_calls_ ? Clock::now() : Clock::time_point{}; }
  void call_ends(Clock::time_point start) {
    if (times_calls_) result_.call_ns.push_back(since(start));
  }

  void drain() {
    const Clock::time_point start = Clock::now();
    while (pool_.drain_pending()) pool_.drain_step(0);
    drained_ns_ += since(start);
  }

  void flush_late(int proc) {
    if (flushed_[static_cast<size_t>(proc)]) return;
    flushed_[static_cast<size_t>(proc)] = true;
    pool_.flush_cache(proc);
  }

  void end_mark() {
    row_.held_bytes = pool_.stats().held_bytes;
    result_.peak_held_bytes = std::max(result_.peak_held_bytes, row_.held_bytes);
    const Clock::time_point start = Clock::now();
    pool_.end_mark();
    result_.pause_ns.push_back(since(start));
    pool_.restarted();
    marking_ = stopped_ = false;
    flushed_.assign(flushed_.size(), false);
  }

  void end_cycle(const TraceEvent& event) {
    drain();
    result_.drain_ns.push_back(drained_ns_);
    drained_ns_ = 0;
    const PoolStats stats = pool_.stats();  // E is before the idle processors' flush, and so is the real count
    for (int proc = 0; proc < trace_.procs; ++proc) flush_late(proc);
    if (stats.live_stacks != live_.size())
      // not reached by seeds: a sound pool violates nothing
      violate("live stacks, by the pool and by the trace", stats.live_stacks, live_.size());
    if (stats.live_bytes != live_bytes_)
      // not reached by seeds: a sound pool violates nothing
      violate("live bytes, by the pool and by the trace", stats.live_bytes, live_bytes_);
    row_.cycle = event.b;
    row_.spans = stats.spans_taken - stats.spans_released;
    row_.real_spans = real_spans_;
    row_.stack_bytes = stats.stack_bytes;
    result_.cycles.push_back(row_);
    row_ = {};
  }

  // Frees what the process left and sees that nothing stays behind.
  void finish() {
    if (marking_) end_mark();
    result_.peak_stack_bytes = pool_.stats().peak_stack_bytes;
    for (const auto& [address, stack] : live_) pool_.free(kNoProc, stack);
    while (pool_.drain_pending()) pool_.drain_step(0);
    for (int proc = 0; proc < trace_.procs; ++proc) pool_.flush_cache(proc);
    // What waits for a next growth leaves after a cycle in which nothing grew.
    if (pool_.stats().stack_bytes != 0) pass_idle_cycles(pool_);
    const PoolStats stats = pool_.stats();
    if (stats.stack_bytes != 0) violate("stack bytes are left when all is freed", stats.stack_bytes, 0);
    if (stats.held_stacks != 0) violate("stacks are deferred when all is freed", stats.held_stacks, 0);
    double error = 0;
    double real = 0;
    for (const CycleRow& row : result_.cycles) {
      real += static_cast<double>(row.real_spans);
      error += row.spans > row.real_spans ? static_cast<double>(row.spans - row.real_spans)
                                          : static_cast<double>(row.real_spans - row.spans);
    }
    const double cycles = result_.cycles.empty() ? 1 : static_cast<double>(result_.cycles.size());
    result_.real_spans_mean = real / cycles;
    result_.spans_mean_abs_error = error / cycles;
  }

  const Trace& trace_;
  AnyPool& pool_;
  ReplayResult result_;
  CycleRow row_;
  std::unordered_map<uint64_t, Stack> live_;  // by the trace's address
  std::unordered_map<uint64_t, RetireWhy> why_;
  std::vector<bool> flushed_;
  std::map<uintptr_t, uintptr_t> claimed_;  // live stacks, lo to hi
  uint64_t live_bytes_ = 0;
  uint64_t real_spans_ = 0;
  uint64_t line_ = 0;
  double drained_ns_ = 0;  // since the last cycle's end
  bool times_calls_;
  bool marking_ = false;
  bool stopped_ = false;  // whoever has stopped the world may not use a cache
};

}  // namespace

ReplayResult replay(const Trace& trace, AnyPool& pool, PoolParams params) {
  const Clock::time_point start = Clock::now();
  Replayer replayer(trace, pool, params, false);
  for (const TraceEvent& event : trace.events) replayer.take(event);
  ReplayResult result = replayer.end();
  result.seconds = since(start) / 1e9;
  return result;
}

std::vector<ReplayResult> replay_as_recorded(const Trace& trace, std::span<AnyPool* const> pools, PoolParams params) {
  std::vector<std::unique_ptr<Replayer>> replayers;
  for (AnyPool* pool : pools) replayers.push_back(std::make_unique<Replayer>(trace, *pool, params, true));
  const Clock::time_point start = Clock::now();
  Clock::time_point moment = start;
  for (const TraceEvent& event : trace.events) {
    moment += std::chrono::nanoseconds(event.dns);
    wait_until(moment);
    for (const auto& replayer : replayers) replayer->take(event);
  }
  std::vector<ReplayResult> results;
  for (const auto& replayer : replayers) {
    results.push_back(replayer->end());
    results.back().seconds = since(start) / 1e9;
  }
  return results;
}

double recorded_seconds(const Trace& trace) {
  double ns = 0;  // no sum of a hostile file's numbers is too large for it
  for (const TraceEvent& event : trace.events) ns += static_cast<double>(event.dns);
  return ns / 1e9;
}

}  // namespace stackdrain
