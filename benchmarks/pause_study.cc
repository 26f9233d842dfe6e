#include "benchmarks/pause_study.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <numeric>
#include <random>
#include <thread>

#include "benchmarks/world.h"
#include "target/collector.h"
#include "target/goroutine.h"

namespace stackdrain {
namespace {

constexpr size_t kBurst = 16;
constexpr int kOpsPerAssist = 1;     // allocations between two drain steps of a mutator that assists
constexpr size_t kHeldPoints = 400;  // of the graph, after the mark
constexpr size_t kMarkPoints = 64;   // ... and in it

enum class Mode : int { kIdle, kHiccup, kWork };

// What a drain had done by when: ns of the clock, units (stacks or spans) done since the last point.
struct DrainPoint {
  int64_t when = 0;
  size_t done = 0;
};

// Points of a drain, not more than the graph shows; whoever drains keeps one.
class DrainPoints {
 public:
  // Begins anew; a point is kept each `every` units.
  void begin(size_t every) {
    points_.clear();
    points_.reserve(2 * kHeldPoints);
    every_ = every;
    since_ = 0;
  }
  void done(size_t units) {
    since_ += units;
    if (since_ < every_ || points_.size() == points_.capacity()) return;
    points_.push_back({now_ns(), since_});
    since_ = 0;
  }
  void end() {
    if (since_ != 0) points_.push_back({now_ns(), since_});
    since_ = 0;
  }
  const std::vector<DrainPoint>& points() const { return points_; }

 private:
  std::vector<DrainPoint> points_;
  size_t every_ = 1;
  size_t since_ = 0;
};

// What one mutator writes; read by the collector when the world is stopped.
struct alignas(128) MutatorRecord {
  Histogram latency;
  Histogram hiccup;
  StallList stalls;
  StallList hiccup_stalls;
  DrainPoints points;
  uint64_t switches = 0;
  int64_t worst_hiccup_ns = 0;
  int64_t worst_ns = 0;
  int64_t resumed_at = 0;
  int64_t drain_cpu_ns = 0;
  int64_t drain_over_at = 0;
};

// Notes the states of some spans; see SpanTimeline.
class SpanWatch {
 public:
  void begin(const AnyPool& pool, std::span<const Goroutine> goroutines, size_t spans, int64_t since) {
    std::vector<uintptr_t> bases;
    for (const Goroutine& goroutine : goroutines) bases.push_back(pool.locate(goroutine.stack().lo).base);
    std::sort(bases.begin(), bases.end());
    bases.erase(std::unique(bases.begin(), bases.end()), bases.end());
    pool_ = &pool;
    since_ = since;
    spans = std::min(spans, bases.size());
    for (size_t i = 0; i < spans; ++i) {
      const uintptr_t base = bases[i * bases.size() / spans];
      watched_.emplace_back(base, pool.locate(base).generation);
      timeline_.offsets.push_back(base - pool.arena_base());
    }
  }
  void note(const char* phase) {
    if (watched_.empty()) return;
    std::string states;
    for (const auto& [base, generation] : watched_) states.push_back(letter(pool_->locate(base), generation));
    timeline_.moments.emplace_back(static_cast<double>(now_ns() - since_), phase);
    timeline_.states.push_back(states);
  }
  SpanTimeline take() { return std::move(timeline_); }

 private:
  static char letter(const Location& found, uint32_t generation) {
    switch (found.state) {
      case SpanState::kStack:
        return found.generation == generation ? 'S' : 'R';
      case SpanState::kFree:
        return 'F';
      case SpanState::kInUse:
        return 'H';
      case SpanState::kDead:
      case SpanState::kUnmapped:
        break;
    }
    return '-';
  }

  const AnyPool* pool_ = nullptr;
  int64_t since_ = 0;
  std::vector<std::pair<uintptr_t, uint32_t>> watched_;
  SpanTimeline timeline_;
};

// Of the whole process, since it began: those that got a page without waiting for a disk.
int64_t page_faults() {
  rusage usage{};
  return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_minflt : 0;
}

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
    result_.mutator_bytes = case_.bytes;
    std::iota(order_.begin(), order_.end(), 0u);
    std::shuffle(order_.begin(), order_.end(), random_);
    for (const uint32_t g : order_) start_goroutine(g);
  }

  ~Study() { give_back(); }
  Study(const Study&) = delete;
  Study& operator=(const Study&) = delete;

  PauseResult run() {
    std::vector<std::thread> threads;
    threads.reserve(records_.size());
    for (int m = 0; m < case_.mutators; ++m) threads.emplace_back([this, m] { mutate(m); });
    for (int cycle = 0; cycle < case_.ageing; ++cycle) age();
    for (int cycle = 0; cycle < case_.cycles && !last_cycle_; ++cycle) {
      last_cycle_ = cycle + 1 == case_.cycles || (cycle + 1 >= case_.least_cycles && now_ns() > case_.until_ns);
      hiccup_window();
      run_cycle();
      regrow();
    }
    quit_.store(true, std::memory_order_relaxed);
    for (std::thread& thread : threads) thread.join();
    for (const MutatorRecord& record : records_) {
      result_.latency.merge(record.latency);
      result_.hiccup.merge(record.hiccup);
      result_.switches += record.switches;
    }
    result_.timeline = watch_.take();
    result_.expected_interval_ns = static_cast<double>(result_.latency.quantile(0.5));
    return std::move(result_);
  }

 private:
  Proc own_proc() const { return case_.mutators; }

  void give_back() {
    std::vector<Stack> stacks;
    stacks.reserve(case_.stacks);
    for (size_t g = 0; g < case_.stacks; ++g) stacks.push_back(goroutines_[g].stack());
    give_back_all(*pool_, *case_.variant.policy, stacks);
  }

  void start_goroutine(uint32_t g) {
    Goroutine& goroutine = goroutines_[g];
    goroutine.reset(g);
    const bool started = goroutine.spawn(*pool_, own_proc(), case_.bytes, false);
    if (!started) {
      STACKDRAIN_CHECK(!case_.variant.policy->claims.tells_places, "the study's arena is too small");
      give_back();
      throw std::bad_alloc();
    }
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
    rusage usage{};
    if (getrusage(RUSAGE_THREAD, &usage) == 0) record.switches = static_cast<uint64_t>(usage.ru_nivcsw);
    world_.leave();
  }

  void watch_clock(MutatorRecord& record) {
    int64_t last = now_ns();
    for (int i = 0; i < 1000; ++i) {
      const int64_t now = now_ns();
      record.hiccup.record(now - last);
      record.hiccup_stalls.note(last, now - last);
      record.worst_hiccup_ns = std::max(record.worst_hiccup_ns, now - last);
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
      record.stalls.note(last, took[i]);
      last = now;
    }
    for (size_t i = 0; i < kBurst; ++i) {
      if (stacks[i]) pool_->free(m, stacks[i]);
      const int64_t now = now_ns();
      const int64_t free_ns = now - last;
      record.stalls.note(last, free_ns);
      last = now;
      record.worst_ns = std::max({record.worst_ns, took[i], free_ns});
      record.latency.record(took[i] + free_ns);
    }
  }

  void assist(MutatorRecord& record) {
    if (!drain_left_.load(std::memory_order_relaxed)) return;
    const int64_t cpu = thread_cpu_ns();
    record.points.done(pool_->drain_step(0));
    const bool over = !pool_->drain_pending();
    record.drain_cpu_ns += thread_cpu_ns() - cpu;
    if (!over) return;
    record.points.end();
    drain_left_.store(false, std::memory_order_relaxed);
    record.drain_over_at = now_ns();
  }

  // ---- collector ----

  void hiccup_window() {
    world_.stop();
    for (MutatorRecord& record : records_) {
      record.worst_hiccup_ns = 0;
      record.hiccup_stalls.clear();
    }
    mode_.store(Mode::kHiccup, std::memory_order_relaxed);
    world_.start();
    const int64_t start = now_ns();
    std::this_thread::sleep_for(std::chrono::nanoseconds(case_.hiccup_ns));
    result_.hiccup_seconds += static_cast<double>(now_ns() - start) / 1e9 * case_.mutators;
    world_.stop();
    int64_t worst = 0;
    for (const MutatorRecord& record : records_) worst = std::max(worst, record.worst_hiccup_ns);
    result_.hiccup_ns.push_back(static_cast<double>(worst));
    result_.hiccup_stalls = records_.front().hiccup_stalls.since(start);
    mode_.store(Mode::kWork, std::memory_order_relaxed);
    world_.start();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  size_t drain_units_a_point() const { return std::max<size_t>(1, case_.stacks / kHeldPoints); }

  void clear_records() {
    for (MutatorRecord& record : records_) {
      record.worst_ns = record.resumed_at = record.drain_cpu_ns = record.drain_over_at = 0;
      record.stalls.clear();
      record.points.begin(drain_units_a_point());
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

  // The same with one marker, held bytes and spans noted in between; the ns that noting took.
  int64_t mark_watched(int64_t asked) {
    const size_t every = std::max<size_t>(1, case_.stacks / kMarkPoints);
    int64_t noting = 0;
    for (size_t job = 0; collector_.run_next_job(0).ran; ++job) {
      if (job % every != 0) continue;
      const int64_t start = now_ns();
      result_.held.emplace_back(static_cast<double>(start - asked), pool_->stats().held_bytes);
      watch_.note("mark");
      noting += now_ns() - start;
    }
    return noting;
  }

  void age() {
    world_.stop();
    collector_.begin({case_.markers, false});
    mark();
    collector_.end_mark();
    collector_.restart();
    finish_drain();
    regrow();
  }

  void run_cycle() {
    PauseSplit split;
    const bool watched = last_cycle_ && case_.markers == 1;
    if (watched && case_.watched_spans != 0) {
      world_.stop();  // who grows or shrinks meanwhile would move the stacks
      watch_.begin(*pool_, {goroutines_.get(), case_.stacks}, case_.watched_spans, now_ns());
      watch_.note("running");
      world_.start();
    }
    const int64_t faults = page_faults();
    const int64_t asked = now_ns();
    world_.stop();
    const int64_t stopped = now_ns();
    clear_records();
    // Latencies count from the restart on; what came before is dropped with the mutators stopped.
    keep_latency_before();
    collector_.begin({case_.markers, false});
    int64_t noting = 0;
    result_.held = {{0, 0}};
    if (watched) {
      noting = mark_watched(asked);
    } else {
      mark();
    }
    const int64_t marked = now_ns();
    result_.mark_faults.push_back(static_cast<double>(page_faults() - faults));
    const uint64_t held = last_cycle_ ? pool_->stats().held_bytes : 0;
    const int64_t drain_cpu = thread_cpu_ns();
    const int64_t drain_began = now_ns();
    collector_.end_mark();
    const int64_t drained = now_ns();
    double drain_cpu_ns = static_cast<double>(thread_cpu_ns() - drain_cpu);
    watch_.note("drained");
    collector_.restart();
    const uint64_t left = last_cycle_ ? pool_->stats().held_bytes : 0;
    const bool pending = pool_->drain_pending();
    drain_left_.store(pending && case_.variant.by_mutators, std::memory_order_relaxed);
    const int64_t restarting = now_ns();
    world_.start();
    const int64_t restarted = now_ns();

    result_.held.emplace_back(static_cast<double>(marked - asked), held);
    result_.held.emplace_back(static_cast<double>(drained - asked), left);
    watch_.note("restarted");
    int64_t over_at = 0;
    if (pending && !case_.variant.by_mutators) {
      const int64_t cpu = thread_cpu_ns();
      over_at = drain_beside_mutators(asked, left);
      drain_cpu_ns = static_cast<double>(thread_cpu_ns() - cpu);
    }
    watch_.note("after");
    sleep_until(restarted + kAfterRestartNs);
    world_.stop();
    watch_.note("after");
    result_.watched_ns = static_cast<double>(now_ns() - asked);
    collect(split, {asked, restarting, restarted}, over_at, drain_cpu_ns, {pending, left});
    split.stop_ns = static_cast<double>(stopped - asked);
    split.mark_ns = static_cast<double>(marked - stopped - noting);
    split.drain_ns = static_cast<double>(drained - drain_began);
    split.restart_ns = static_cast<double>(restarted - restarting);
    result_.splits.push_back(split);
    finish_drain();
  }

  // The collector's thread frees what is left while the mutators run; the ns at which it was done.
  int64_t drain_beside_mutators(int64_t asked, uint64_t left) {
    DrainPoints points;
    points.begin(drain_units_a_point());
    while (pool_->drain_pending()) {
      points.done(pool_->drain_step(0));
      watch_.note("after");
    }
    points.end();
    const int64_t over = now_ns();
    if (last_cycle_) tell_held(points.points(), asked, left, 0);
    result_.held.emplace_back(static_cast<double>(over - asked), 0);
    return over;
  }

  // A drain tells how many stacks or spans it gave back, and a span's worth differs by policy: each unit is its equal
  // share of what was given back until the end.
  void tell_held(const std::vector<DrainPoint>& points, int64_t asked, uint64_t left, uint64_t in_the_end) {
    size_t all = 0;
    for (const DrainPoint& point : points) all += point.done;
    size_t done = 0;
    for (const DrainPoint& point : points) {
      done += point.done;
      const double gone = static_cast<double>(left - in_the_end) * static_cast<double>(done) / static_cast<double>(all);
      result_.held.emplace_back(static_cast<double>(point.when - asked), left - static_cast<uint64_t>(gone));
    }
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

  // What was deferred beyond the restart; the bytes are known of the last cycle.
  struct Deferred {
    bool pending;
    uint64_t bytes;
  };

  // With the world stopped again: what the mutators felt.
  void collect(PauseSplit& split, Moments at, int64_t over_at, double drain_cpu_ns, Deferred deferred) {
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
    result_.drain_over_ns.push_back(deferred.pending ? static_cast<double>(over_at - at.restarting) : 0);
    if (deferred.pending && case_.variant.by_mutators) {
      const uint64_t held = seen_over || !last_cycle_ ? 0 : pool_->stats().held_bytes;
      if (last_cycle_) tell_held(points_of_mutators(), at.asked, deferred.bytes, held);
      result_.held.emplace_back(static_cast<double>(over_at - at.asked), held);
    }
    tell_stalls(at);
    for (MutatorRecord& record : records_) {
      kept_.merge(record.latency);
      record.latency = {};
    }
  }

  std::vector<DrainPoint> points_of_mutators() const {
    std::vector<DrainPoint> all;
    for (const MutatorRecord& record : records_) {
      all.insert(all.end(), record.points.points().begin(), record.points.points().end());
    }
    std::sort(all.begin(), all.end(), [](const DrainPoint& a, const DrainPoint& b) { return a.when < b.when; });
    return all;
  }

  void tell_stalls(const Moments& at) {
    const MutatorRecord& record = records_.front();
    result_.stalls = record.stalls.since(at.asked);
    const auto paused = static_cast<double>(resumed_first(record, at.restarted) - at.asked);
    result_.stalls.insert(result_.stalls.begin(), {0, paused});
    result_.stalls_from_ns = static_cast<double>(record.stalls.from_ns());
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
  bool last_cycle_ = false;
  SpanWatch watch_;
  Histogram kept_;
  std::vector<uint32_t> order_;  // of the goroutines, for setting up
  std::mt19937 random_{1};
  PauseResult result_;
};

}  // namespace

void StallList::add(int64_t start, int64_t ns) {
  const int64_t end = start + ns;
  if (count_ != 0 && start - stalls_[count_ - 1].end < kFirstFromNs) {
    stalls_[count_ - 1].end = end;
    return;
  }
  while (count_ == stalls_.size()) {
    from_ns_ *= 2;
    const auto kept = std::remove_if(stalls_.begin(), stalls_.end(),
                                     [this](const Stall& stall) { return stall.end - stall.start < from_ns_; });
    count_ = static_cast<size_t>(kept - stalls_.begin());
  }
  if (ns >= from_ns_) stalls_[count_++] = {start, end};
}

std::vector<std::pair<double, double>> StallList::since(int64_t since) const {
  std::vector<std::pair<double, double>> told;
  told.reserve(count_);
  for (size_t i = 0; i < count_; ++i) {
    told.emplace_back(static_cast<double>(stalls_[i].start - since),
                      static_cast<double>(stalls_[i].end - stalls_[i].start));
  }
  return told;
}

PauseResult run_pause_study(const PauseCase& pause_case) {
  return Study(pause_case).run();
}

}  // namespace stackdrain
