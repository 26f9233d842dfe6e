#include "benchmarks/go_study.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <numeric>

#include "benchmarks/recorder.h"
#include "target/collector.h"
#include "target/goroutine.h"

namespace stackdrain {
namespace {

constexpr size_t kFrame = 4 * kFrameUnit;
constexpr size_t kLocalQueue = 256;
constexpr size_t kGlobalEvery = 61;

// Grows as a program does: by calls, doubling as often as it takes, and returns.
void use(Goroutine& goroutine, AnyPool& pool, size_t bytes) {
  goroutine.wake();
  while (goroutine.stack().bytes() < bytes) {
    STACKDRAIN_CHECK(goroutine.call(pool, 0, kFrame, false), "the Go study's arena is too small");
  }
  while (goroutine.used() > kFrameUnit) goroutine.ret();
  goroutine.block(WaitKind::kReceive);
}

// A queue that is only ever filled up and then emptied: the global one, and what of `ready` is not yet in any.
class Waiting {
 public:
  bool empty() const { return next_ == items_.size(); }
  size_t size() const { return items_.size() - next_; }
  void push(uint32_t goroutine) { items_.push_back(goroutine); }
  uint32_t pop() { return items_[next_++]; }

 private:
  std::vector<uint32_t> items_;
  size_t next_ = 0;
};

}  // namespace

std::vector<uint32_t> run_order(std::span<const uint32_t> ready) {
  Waiting global;
  std::deque<uint32_t> local;
  for (const uint32_t goroutine : ready) {
    if (local.size() == kLocalQueue) {
      for (size_t i = 0; i < kLocalQueue / 2; ++i) {
        global.push(local.front());
        local.pop_front();
      }
      global.push(goroutine);
    } else {
      local.push_back(goroutine);
    }
  }
  std::vector<uint32_t> order;
  order.reserve(ready.size());
  for (size_t tick = 1; order.size() < ready.size(); ++tick) {
    if (tick % kGlobalEvery == 0 && !global.empty()) {
      order.push_back(global.pop());
      continue;
    }
    if (local.empty()) {
      for (size_t n = std::min(global.size(), kLocalQueue / 2); n > 0; --n) local.push_back(global.pop());
    }
    order.push_back(local.front());
    local.pop_front();
  }
  return order;
}

std::vector<double> run_go_study(const GoCase& go_case, CacheFlusher& flusher) {
  Arena arena(go_case.stacks * go_case.bytes * 4 + (size_t{64} << 20));
  const std::unique_ptr<AnyPool> pool = go_case.policy->make(arena);
  PoolParams params = seed_preset();
  params.procs = 1;
  params.idle_clock = now_ns;
  pool->reset(params);
  std::vector<uint32_t> all(go_case.stacks);
  std::iota(all.begin(), all.end(), 0u);
  const auto goroutines = std::make_unique<Goroutine[]>(go_case.stacks);
  for (size_t i = 0; i < go_case.stacks; ++i) {
    goroutines[i].reset(static_cast<uint32_t>(i));
    const bool started = goroutines[i].spawn(*pool, 0, kStartStack, false);
    STACKDRAIN_CHECK(started, "the Go study's arena is too small");
    goroutines[i].block(WaitKind::kReceive);
  }
  std::vector<uint32_t> waiting = all;  // in the order in which they blocked
  Collector collector(*pool, {goroutines.get(), go_case.stacks});
  std::vector<Stack> retired(go_case.stacks);
  std::vector<double> drain_ns;
  for (int repetition = 0; repetition < go_case.repetitions; ++repetition) {
    waiting = run_order(waiting);
    for (const uint32_t i : waiting) {
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
