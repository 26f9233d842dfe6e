#include "benchmarks/workload_study.h"

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <numeric>
#include <random>

#include "benchmarks/recorder.h"
#include "target/collector.h"
#include "target/goroutine.h"

namespace stackdrain {
namespace {

double since(int64_t start) {
  return static_cast<double>(now_ns() - start);
}

void drain(AnyPool& pool) {
  while (pool.drain_pending()) pool.drain_step(0);
}

// One burst: grow, then as many collections as it takes to get small.
class Burst {
 public:
  explicit Burst(const BurstCase& burst_case)
      : case_(burst_case),
        arena_(case_.goroutines * case_.bytes * 6 + (size_t{64} << 20)),
        pool_(case_.variant.policy->make(arena_)),
        goroutines_(std::make_unique<Goroutine[]>(case_.goroutines)),
        collector_(*pool_, {goroutines_.get(), case_.goroutines}),
        order_(case_.goroutines) {
    pool_->reset(params_of(case_.variant));
    std::iota(order_.begin(), order_.end(), 0u);
    for (const uint32_t g : order_) {
      goroutines_[g].reset(g);
      if (!goroutines_[g].spawn(*pool_, 0, kStartStack, false)) throw std::bad_alloc();
      goroutines_[g].block(WaitKind::kReceive);
    }
  }

  BurstResult run() {
    for (int burst = 0; burst < case_.bursts; ++burst) {
      const PoolStats before = pool_->stats();
      grow();
      result_.span_bytes_grown.push_back(pool_->stats().stack_bytes);
      shrink();
      const PoolStats after = pool_->stats();
      result_.spans_taken.push_back(after.spans_taken - before.spans_taken);
      result_.spans_released.push_back(after.spans_released - before.spans_released);
      result_.span_bytes_idle.push_back(after.stack_bytes);
      result_.live_bytes_idle.push_back(after.live_bytes);
    }
    return std::move(result_);
  }

 private:
  void grow() {
    std::shuffle(order_.begin(), order_.end(), random_);
    const int64_t start = now_ns();
    for (const uint32_t g : order_) {
      const bool grown = goroutines_[g].grow(*pool_, 0, case_.bytes, false);
      if (!grown) throw std::bad_alloc();
    }
    result_.grow_ns.push_back(since(start));
  }

  void shrink() {
    double pause_ns = 0;
    double after_ns = 0;
    uint64_t held = 0;
    for (size_t bytes = case_.bytes; bytes > kStartStack; bytes /= 2) {
      collector_.begin({1, false});
      collector_.run_marker(0);
      held = std::max(held, pool_->stats().held_bytes);
      int64_t start = now_ns();
      collector_.end_mark();
      pause_ns += since(start);
      collector_.restart();
      start = now_ns();
      drain(*pool_);
      after_ns += since(start);
    }
    result_.pause_ns.push_back(pause_ns);
    result_.after_ns.push_back(after_ns);
    result_.held_bytes.push_back(held);
  }

  BurstCase case_;
  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
  std::unique_ptr<Goroutine[]> goroutines_;
  Collector collector_;
  std::vector<uint32_t> order_;
  std::mt19937 random_{1};
  BurstResult result_;
};

}  // namespace

BurstResult run_burst(const BurstCase& burst_case) {
  return Burst(burst_case).run();
}

HalvedResult run_halved(const Variant& variant, size_t goroutines, size_t bytes) {
  Arena arena(goroutines * bytes * 4 + (size_t{64} << 20));
  const std::unique_ptr<AnyPool> pool = variant.policy->make(arena);
  PoolParams params = params_of(variant);
  params.grow_chunk_bytes = size_t{1} << 20;
  pool->reset(params);
  const auto all = std::make_unique<Goroutine[]>(2 * goroutines);
  const auto start = [&](size_t from) {
    for (size_t i = from; i < from + goroutines; ++i) {
      all[i].reset(static_cast<uint32_t>(i));
      if (!all[i].spawn(*pool, 0, bytes, false)) throw std::bad_alloc();
      all[i].block(WaitKind::kReceive);
    }
    return pool->stats().system_bytes;
  };
  HalvedResult result;
  result.grown_bytes = start(0);
  Collector collector(*pool, {all.get(), goroutines});
  collector.begin({1, false});
  collector.run_marker(0);
  collector.end_mark();
  collector.restart();
  drain(*pool);
  result.collected_bytes = pool->stats().system_bytes;
  result.again_bytes = start(goroutines);
  result.live_bytes = pool->stats().live_bytes;
  return result;
}

PinnedResult run_pinned(const PinnedCase& pinned_case, CacheFlusher& flusher) {
  Arena arena(pinned_case.stacks * pinned_case.bytes * 2 + (size_t{64} << 20));
  const std::unique_ptr<AnyPool> pool = pinned_case.variant.policy->make(arena);
  pool->reset(params_of(pinned_case.variant));
  std::mt19937 random(1);
  std::vector<Stack> stacks(pinned_case.stacks);
  std::vector<uint32_t> order(pinned_case.stacks);
  std::iota(order.begin(), order.end(), 0u);
  const size_t staying = std::max<size_t>(1, pinned_case.stacks / pinned_case.every);
  PinnedResult result;
  for (int repetition = 0; repetition < pinned_case.repetitions; ++repetition) {
    for (Stack& stack : stacks) {
      if (!stack) stack = pool->allocate(0, pinned_case.bytes);
      if (!stack) throw std::bad_alloc();
    }
    pool->flush_cache(0);
    std::shuffle(order.begin(), order.end(), random);
    pool->begin_cycle({});
    for (size_t i = staying; i < order.size(); ++i) retire_as_marker(*pool, pinned_case.variant, stacks[order[i]]);
    flusher.flush(stacks, order, true);
    int64_t start = now_ns();
    pool->end_mark();
    result.pause_ns.push_back(since(start));
    pool->restarted();
    start = now_ns();
    drain(*pool);
    result.after_ns.push_back(since(start));
    const PoolStats stats = pool->stats();
    result.span_bytes = stats.stack_bytes;
    result.live_bytes = stats.live_bytes;
    for (size_t i = staying; i < order.size(); ++i) stacks[order[i]] = {};
  }
  return result;
}

std::vector<double> run_processors(const ProcessorsCase& processors_case) {
  constexpr size_t kCached = 8;  // what a processor leaves in its cache
  const auto procs = static_cast<size_t>(processors_case.procs);
  const size_t stacks = processors_case.stacks;
  Arena arena((stacks + procs * kCached * 4) * processors_case.bytes * 2 + (size_t{64} << 20));
  const std::unique_ptr<AnyPool> pool = processors_case.variant.policy->make(arena);
  PoolParams params = params_of(processors_case.variant);
  params.procs = processors_case.procs;
  pool->reset(params);
  std::vector<Stack> live(stacks);
  std::vector<double> cycle_ns;
  for (int repetition = 0; repetition < processors_case.repetitions; ++repetition) {
    for (Stack& stack : live) {
      stack = pool->allocate(0, processors_case.bytes);
      if (!stack) throw std::bad_alloc();
    }
    for (Proc proc = 0; proc < processors_case.procs; ++proc) {
      std::array<Stack, kCached> own;
      for (Stack& stack : own) stack = pool->allocate(proc, processors_case.bytes);
      for (const Stack stack : own) pool->free(proc, stack);
    }
    pool->begin_cycle({});
    for (const Stack stack : live) retire_as_marker(*pool, processors_case.variant, stack);
    const int64_t start = now_ns();
    for (Proc proc = 0; proc < processors_case.procs; ++proc) pool->flush_cache(proc);
    pool->end_mark();
    pool->restarted();
    drain(*pool);
    cycle_ns.push_back(since(start));
  }
  return cycle_ns;
}

}  // namespace stackdrain
