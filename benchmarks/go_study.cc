#include "benchmarks/go_study.h"

#include <memory>
#include <numeric>

#include "benchmarks/recorder.h"
#include "target/collector.h"
#include "target/goroutine.h"

namespace stackdrain {
namespace {

constexpr size_t kFrame = 4 * kFrameUnit;

// Grows as a program does: by calls, doubling as often as it takes, and returns.
void use(Goroutine& goroutine, AnyPool& pool, size_t bytes) {
  goroutine.wake();
  while (goroutine.stack().bytes() < bytes) {
    STACKDRAIN_CHECK(goroutine.call(pool, 0, kFrame, false), "the Go study's arena is too small");
  }
  while (goroutine.used() > kFrameUnit) goroutine.ret();
  goroutine.block(WaitKind::kReceive);
}

}  // namespace

std::vector<double> run_go_study(const GoCase& go_case, CacheFlusher& flusher) {
  Arena arena(go_case.stacks * go_case.bytes * 4 + (size_t{64} << 20));
  const std::unique_ptr<AnyPool> pool = go_case.policy->make(arena);
  PoolParams params = seed_preset();
  params.procs = 1;
  pool->reset(params);
  const auto goroutines = std::make_unique<Goroutine[]>(go_case.stacks);
  for (size_t i = 0; i < go_case.stacks; ++i) {
    goroutines[i].reset(static_cast<uint32_t>(i));
    const bool started = goroutines[i].spawn(*pool, 0, kStartStack, false);
    STACKDRAIN_CHECK(started, "the Go study's arena is too small");
    goroutines[i].block(WaitKind::kReceive);
  }
  Collector collector(*pool, {goroutines.get(), go_case.stacks});
  std::vector<Stack> retired(go_case.stacks);
  std::vector<uint32_t> all(go_case.stacks);
  std::iota(all.begin(), all.end(), 0u);
  std::vector<double> drain_ns;
  for (int repetition = 0; repetition < go_case.repetitions; ++repetition) {
    for (size_t i = 0; i < go_case.stacks; ++i) {
      use(goroutines[i], *pool, go_case.bytes);
      retired[i] = goroutines[i].stack();
    }
    collector.begin({1, false});
    collector.run_marker(0);
    if (go_case.cold) flusher.flush(retired, all, true);
    const int64_t start = now_ns();
    collector.end_mark();
    drain_ns.push_back(static_cast<double>(now_ns() - start));
    collector.restart();
    while (pool->drain_pending()) pool->drain_step(0);
  }
  return drain_ns;
}

}  // namespace stackdrain
