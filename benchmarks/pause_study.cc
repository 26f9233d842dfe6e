#include "benchmarks/pause_study.h"

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <random>
#include <thread>

#include "benchmarks/world.h"
#include "target/collector.h"
#include "target/goroutine.h"

namespace stackdrain {
namespace {

constexpr size_t kBurst = 16;
constexpr int64_t kHiccupNs = 60'000'000;  // a cycle's share of the baseline
constexpr int kOpsPerAssist = 1;           // allocations between two drain steps of a mutator that assists
constexpr size_t kHeldPoints = 400;        // of the graph

enum class Mode : int { kIdle, kHiccup, kWork };

// What one mutator writes; read by the collector when the world is stopped.
struct alignas(128) MutatorRecord {
  Histogram latency;
  Histogram hiccup;
  int64_t worst_ns = 0;
  int64_t resumed_at = 0;
  int64_t drain_cpu_ns = 0;
  int64_t drain_over_at = 0;
};

class Study {
 public:
  explicit Study(const PauseCase& pause_case)
      : case_(pause_case),
        arena_(pause_case.stacks * pause_case.bytes * 4 + (size_t{256} << 20)),
        pool_(case_.variant.policy->make(arena_)),
        goroutines_(std::make_unique<Goroutine[]>(pause_case.stacks)),
        collector_(*pool_, {goroutines_.get(), pause_case.stacks}),
        world_(pause_case.mutators),
        records_(static_cast<size_t>(pause_case.mutators)),
        order_(pause_case.stacks) {
    PoolParams params = go119_preset();
    params.procs = case_.mutators + 1;  // the last is the collector's, for setting up
    params.drain_hold = case_.variant.hold;
    params.drain_batch = case_.variant.batch;
    pool_->reset(params);
    result_.mutator_bytes = std::min(case_.bytes, order_bytes(params.orders - 1));
    std::iota(order_.begin(), order_.end(), 0u);
    std::shuffle(order_.begin(), order_.end(), random_);
    for (const uint32_t g : order_) start_goroutine(g);
  }

  PauseResult run() {
    std::vector<std::thread> threads;
    threads.reserve(records_.size());
    for (int m = 0; m < case_.mutators; ++m) threads.emplace_back([this, m] { mutate(m); });
    for (int cycle = 0; cycle < case_.cycles; ++cycle) {
      hiccup_window();
      run_cycle();
      regrow();
    }
    quit_.store(true, std::memory_order_relaxed);
    for (std::thread& thread : threads) thread.join();
    for (const MutatorRecord& record : records_) {
      result_.latency.merge(record.latency);
      result_.hiccup.merge(record.hiccup);
    }
    result_.expected_interval_ns = static_cast<double>(result_.latency.quantile(0.5));
    return std::move(result_);
  }

 private:
  Proc own_proc() const { return case_.mutators; }

  void start_goroutine(uint32_t g) {
    Goroutine& goroutine = goroutines_[g];
    goroutine.reset(g);
    const bool started = goroutine.spawn(*pool_, own_proc(), case_.bytes, false);
    STACKDRAIN_CHECK(started, "the study's arena is too small");
    goroutine.block(WaitKind::kReceive);
  }

  // ---- mutators ----

  void mutate(int m) {
    MutatorRecord& record = records_[static_cast<size_t>(m)];
    while (!quit_.load(std::memory_order_relaxed)) {
      if (const int64_t resumed = world_.safepoint(); resumed != 0) record.resumed_at = resumed;
      switch (mode_.load(std::memory_order_relaxed)) {
        case Mode::kIdle:
          std::this_thread::yield();
          break;
        case Mode::kHiccup:
          watch_clock(record);
          break;
        case Mode::kWork:
          burst(m, record);
          break;
      }
    }
    world_.leave();
  }

  void watch_clock(MutatorRecord& record) {
    int64_t last = now_ns();
    for (int i = 0; i < 1000; ++i) {
      const int64_t now = now_ns();
      record.hiccup.record(now - last);
      last = now;
    }
  }

  // As many allocations as no cache holds, then as many frees; the i-th of both is one sample.
  void burst(int m, MutatorRecord& record) {
    std::array<Stack, kBurst> stacks;
    std::array<int64_t, kBurst> took{};
    int64_t last = now_ns();
    for (size_t i = 0; i < kBurst; ++i) {
      stacks[i] = pool_->allocate(m, result_.mutator_bytes);
      if (case_.variant.by_mutators && i % kOpsPerAssist == 0) assist(record);
      const int64_t now = now_ns();
      took[i] = now - last;
      last = now;
    }
    for (size_t i = 0; i < kBurst; ++i) {
      if (stacks[i]) pool_->free(m, stacks[i]);
      const int64_t now = now_ns();
      const int64_t free_ns = now - last;
      last = now;
      record.worst_ns = std::max({record.worst_ns, took[i], free_ns});
      record.latency.record(took[i] + free_ns);
    }
  }

  void assist(MutatorRecord& record) {
    if (!drain_left_.load(std::memory_order_relaxed)) return;
    const int64_t cpu = thread_cpu_ns();
    pool_->drain_step(0);
    const bool over = !pool_->drain_pending();
    record.drain_cpu_ns += thread_cpu_ns() - cpu;
    if (!over) return;
    drain_left_.store(false, std::memory_order_relaxed);
    record.drain_over_at = now_ns();
  }

  // ---- collector ----

  void set_mode(Mode mode) {
    world_.stop();
    mode_.store(mode, std::memory_order_relaxed);
    world_.start();
  }

  void hiccup_window() {
    set_mode(Mode::kHiccup);
    const int64_t start = now_ns();
    std::this_thread::sleep_for(std::chrono::nanoseconds(kHiccupNs));
    result_.hiccup_seconds += static_cast<double>(now_ns() - start) / 1e9 * case_.mutators;
    set_mode(Mode::kWork);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  void clear_records() {
    for (MutatorRecord& record : records_) {
      record.worst_ns = record.resumed_at = record.drain_cpu_ns = record.drain_over_at = 0;
    }
  }

  void mark() {
    std::vector<std::thread> helpers;
    for (int marker = 1; marker < case_.markers; ++marker) {
      helpers.emplace_back([this, marker] { collector_.run_marker(marker); });
    }
    collector_.run_marker(0);
    for (std::thread& helper : helpers) helper.join();
  }

  void run_cycle() {
    PauseSplit split;
    const int64_t asked = now_ns();
    world_.stop();
    const int64_t stopped = now_ns();
    clear_records();
    // Latencies count from the restart on; what came before is dropped with the mutators stopped.
    keep_latency_before();
    collector_.begin({case_.markers, false});
    mark();
    const int64_t marked = now_ns();
    const uint64_t held = pool_->stats().held_bytes;
    const int64_t drain_cpu = thread_cpu_ns();
    const int64_t drain_began = now_ns();
    collector_.end_mark();
    const int64_t drained = now_ns();
    double drain_cpu_ns = static_cast<double>(thread_cpu_ns() - drain_cpu);
    collector_.restart();
    const uint64_t left = pool_->stats().held_bytes;
    const bool pending = pool_->drain_pending();
    drain_left_.store(pending && case_.variant.by_mutators, std::memory_order_relaxed);
    const int64_t restarting = now_ns();
    world_.start();
    const int64_t restarted = now_ns();

    result_.held = {{0, 0}, {static_cast<double>(marked - asked), held}, {static_cast<double>(drained - asked), left}};
    int64_t over_at = 0;
    if (pending && !case_.variant.by_mutators) {
      const int64_t cpu = thread_cpu_ns();
      over_at = drain_beside_mutators(asked, left);
      drain_cpu_ns = static_cast<double>(thread_cpu_ns() - cpu);
    }
    sleep_until(restarted + kAfterRestartNs);
    world_.stop();
    collect(split, {asked, restarting, restarted}, over_at, drain_cpu_ns, pending);
    split.stop_ns = static_cast<double>(stopped - asked);
    split.mark_ns = static_cast<double>(marked - stopped);
    split.drain_ns = static_cast<double>(drained - drain_began);
    split.restart_ns = static_cast<double>(restarted - restarting);
    result_.splits.push_back(split);
    finish_drain();
  }

  // The collector's thread frees what is left while the mutators run; the ns at which it was done.
  int64_t drain_beside_mutators(int64_t asked, uint64_t left) {
    const size_t points = std::max<size_t>(1, case_.stacks / kHeldPoints);
    size_t freed = 0;
    size_t noted = 0;
    bool by_stack = false;
    while (pool_->drain_pending()) {
      freed += pool_->drain_step(0);
      by_stack = by_stack || freed * case_.bytes <= left;
      if (freed - noted < points || !by_stack) continue;
      noted = freed;
      const uint64_t gone = std::min<uint64_t>(left, freed * case_.bytes);
      result_.held.emplace_back(static_cast<double>(now_ns() - asked), left - gone);
    }
    const int64_t over = now_ns();
    result_.held.emplace_back(static_cast<double>(over - asked), 0);
    return over;
  }

  static void sleep_until(int64_t when) {
    const int64_t left = when - now_ns();
    if (left > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(left));
  }

  // When a cycle's pause was asked for, when the call that ends it began and when that returned. On a busy machine
  // mutators may have done much, and even drained all, before it returns.
  struct Moments {
    int64_t asked;
    int64_t restarting;
    int64_t restarted;
  };

  // With the world stopped again: what the mutators felt.
  void collect(PauseSplit& split, Moments at, int64_t over_at, double drain_cpu_ns, bool pending) {
    int64_t last_resumed = at.restarted;
    int64_t worst = 0;
    for (const MutatorRecord& record : records_) {
      last_resumed = std::max(last_resumed, resumed_first(record, at.restarted));
      worst = std::max(worst, record.worst_ns);
      drain_cpu_ns += static_cast<double>(record.drain_cpu_ns);
      over_at = std::max(over_at, record.drain_over_at);
    }
    split.resumed_ns = static_cast<double>(last_resumed - at.restarted);
    result_.stall_ns.push_back(static_cast<double>(worst));
    result_.drain_cpu_ns.push_back(drain_cpu_ns);
    const bool seen_over = over_at != 0;
    if (!seen_over) over_at = at.restarted + kAfterRestartNs;
    result_.drain_over_ns.push_back(pending ? static_cast<double>(over_at - at.restarting) : 0);
    if (pending && case_.variant.by_mutators) {
      result_.held.emplace_back(static_cast<double>(over_at - at.asked), seen_over ? 0 : pool_->stats().held_bytes);
    }
    for (MutatorRecord& record : records_) {
      kept_.merge(record.latency);
      record.latency = {};
    }
  }

  static int64_t resumed_first(const MutatorRecord& record, int64_t otherwise) {
    return record.resumed_at == 0 ? otherwise : record.resumed_at;
  }

  void keep_latency_before() {
    for (MutatorRecord& record : records_) record.latency = {};
  }

  void finish_drain() {
    while (pool_->drain_pending()) pool_->drain_step(0);
    drain_left_.store(false, std::memory_order_relaxed);
  }

  // World stopped: every goroutine gets its first size back, and the mutators go on. In another order each time, so
  // that markers meet the stacks in no order of addresses, as in a process that has run for a while.
  void regrow() {
    std::shuffle(order_.begin(), order_.end(), random_);
    for (const uint32_t g : order_) {
      Goroutine& goroutine = goroutines_[g];
      if (goroutine.stack().bytes() < case_.bytes) goroutine.grow(*pool_, own_proc(), case_.bytes, false);
    }
    mode_.store(Mode::kIdle, std::memory_order_relaxed);
    result_.latency = kept_;
    world_.start();
  }

  PauseCase case_;
  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
  std::unique_ptr<Goroutine[]> goroutines_;
  Collector collector_;
  World world_;
  std::vector<MutatorRecord> records_;
  std::atomic<Mode> mode_{Mode::kIdle};
  std::atomic<bool> quit_{false};
  std::atomic<bool> drain_left_{false};
  Histogram kept_;
  std::vector<uint32_t> order_;  // of the goroutines, for setting up
  std::mt19937 random_{1};
  PauseResult result_;
};

}  // namespace

PauseResult run_pause_study(const PauseCase& pause_case) {
  return Study(pause_case).run();
}

}  // namespace stackdrain
