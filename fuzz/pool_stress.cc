// pool_stress POLICY|sound [CYCLES [SEED]]: real threads on a pool, each row of the table, ours or not; made for TSan.
//
// Three mutators allocate, write their name into each stack, and read it again when they give the stack up. Cycles run
// meanwhile: in a mark two markers retire stacks that mutators hand them and go on reading them, as a marker does that
// has LOADed a pointer; after it a drainer frees what was put off. A pool that issues a stack twice, or again while a
// mark runs, lets somebody read another's name, and under TSan that is a race, too. Where a policy lets a shrunk stack
// be a stack again in the same mark, its span must stay what it was instead (A3). Whenever the world is stopped the
// pool is walked, and its accounts must say what the mutators have (A5, A6, E1, E3). Between cycles processors change
// hands, with what is in their caches, and every now and then one goes away: its cache is flushed, and its mutator
// waits, with all its stacks, until it is back.
//
//   world (a lock): mutators hold it shared for a few operations; who stops the world holds it alone.
//   begin_cycle (alone) ─▶ markers and mutators run ─▶ markers end ─▶ end_mark, restarted (alone) ─▶ drainer, mutators
//
// Exit codes: 0 fine; 1 a name was another's, or something was left at the end; 66 TSan's; 2 bad usage.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <random>
#include <shared_mutex>
#include <thread>
#include <utility>
#include <vector>

#include "fuzz/stress.h"
#include "target/arena.h"
#include "target/drain/policies.h"

namespace stackdrain {
namespace {

constexpr int kMutators = 3;
constexpr int kMarkers = 2;
constexpr size_t kMostLive = 48;     // stacks of a mutator
constexpr size_t kHandedOver = 24;   // ... to markers, at most, at a time
constexpr int kStepsInTheWorld = 8;  // operations between two places where the world can stop
constexpr size_t kBiggest = 5;       // 2 KiB << 5

struct Named {
  Stack stack;
  uint64_t name = 0;
};

// What a marker holds a pointer into, and the span as it was LOADed.
struct HeldStack {
  Named named;
  Location at;
};

// Words of a stack that a pool leaves alone until it issues it again: those above its links.
constexpr std::array<size_t, 3> words_from_hi(size_t bytes) {
  return {sizeof(uint64_t), bytes / 2, bytes - kLinkBytes - sizeof(uint64_t)};
}

// A retired stack is poisoned for ASan, and is read all the same.
#if defined(__clang__)
__attribute__((no_sanitize("address")))
#elif defined(__GNUC__)
__attribute__((no_sanitize_address))
#endif
bool
is_named(const Named& named) {
  for (const size_t below : words_from_hi(named.stack.bytes())) {
    if (*reinterpret_cast<const uint64_t*>(named.stack.hi - below) != named.name) return false;
  }
  return true;
}

void write_name(const Named& named) {
  for (const size_t below : words_from_hi(named.stack.bytes())) {
    *reinterpret_cast<uint64_t*>(named.stack.hi - below) = named.name;
  }
}

class Stress {
 public:
  Stress(const PolicyRow& policy, uint32_t seed)
      : policy_(policy), seed_(seed), arena_(size_t{64} << 20), pool_(policy.make(arena_)) {
    PoolParams params = go119_preset();
    params.procs = kMutators;
    pool_->reset(params);
  }

  // Whether all went well; prints a line.
  bool run(int cycles) {
    std::vector<std::thread> threads;
    threads.reserve(kMutators + 1);
    for (int m = 0; m < kMutators; ++m) threads.emplace_back([this, m] { mutate(m); });
    threads.emplace_back([this] { drain(); });
    for (int cycle = 0; cycle < cycles && !spoilt_ && !broken_; ++cycle) run_cycle();
    done_ = true;
    for (std::thread& thread : threads) thread.join();
    for (const Named& named : handed_over_) pool_->free(kNoProc, named.stack);
    while (pool_->drain_pending()) pool_->drain_step(0);
    const uint64_t held = pool_->stats().held_stacks;
    const bool well = !spoilt_ && !broken_ && held == 0;
    std::printf("%-20s %s %llu stacks issued, %llu retired in %d marks, %llu looked at while held\n",
                policy_.name.data(), well ? "passes  " : "FAILS   ", value(issued_), value(retired_), cycles,
                value(looked_));
    if (!well) std::printf("    pool_stress %s %d %u, another time it may pass\n", policy_.name.data(), cycles, seed_);
    if (spoilt_) std::printf("    a stack of %zu bytes %s\n", spoilt_bytes_.load(), spoilt_.load());
    if (broken_) std::printf("    %s\n", broken_);
    if (held != 0)
      std::printf("    %llu stacks are held back when all is freed\n", static_cast<unsigned long long>(held));
    return well;
  }

 private:
  static unsigned long long value(const std::atomic<uint64_t>& count) { return count.load(std::memory_order_relaxed); }

  void check(const Named& named, const char* what) {
    if (is_named(named)) return;
    spoilt_bytes_ = named.stack.bytes();
    spoilt_ = what;
  }

  void check_held(const HeldStack& held) {
    if (policy_.claims.defers_shrunk) check(held.named, "was written to while a marker held a pointer into it");
    if (!policy_.claims.tells_places) return;
    const Location now = pool_->locate(held.named.stack.lo);
    if (now.state == SpanState::kStack && now.generation == held.at.generation) return;
    spoilt_bytes_ = held.named.stack.bytes();
    spoilt_ = "left its span while a marker held a pointer into it";
  }

  // The world is stopped: nobody is in the middle of anything, but stacks may be deferred.
  void check_at_rest() {
    if (!policy_.claims.tells_places) return;
    const StressWalk walk(*pool_);
    const PoolStats stats = pool_->stats();
    if (walk.faults != 0) broken_ = "a walk with the world stopped finds the pool damaged (A5, A6)";
    if (stats.stack_bytes != walk.stack_bytes) broken_ = "bytes of stacks' spans are not what a walk finds (E1)";
    if (stats.live_stacks != live_) broken_ = "live stacks are not what mutators have (E3)";
  }

  // ---- mutators ----

  void mutate(int m) {
    std::mt19937 random(seed_ * 100 + static_cast<uint32_t>(m));
    std::vector<Named> live;
    uint64_t serial = 0;
    while (!done_) {
      {
        const std::shared_lock stopped_only_outside(world_);
        const Proc proc = proc_of_[static_cast<size_t>(m)];
        for (int step = 0; step < kStepsInTheWorld && proc != kNoProc; ++step)
          mutator_step(m, proc, live, serial, random);
      }
      std::this_thread::yield();
    }
    const std::shared_lock stopped_only_outside(world_);
    for (const Named& named : live) give_up(proc_of_[static_cast<size_t>(m)], named);
  }

  void mutator_step(int m, Proc proc, std::vector<Named>& live, uint64_t& serial, std::mt19937& random) {
    if (live.size() < kMostLive && random() % 2 == 0) {
      const Stack stack = pool_->allocate(proc, kMinStackBytes << random() % (kBiggest + 1));
      if (!stack) return;
      const Named named{stack, (static_cast<uint64_t>(m) + 1) << 48 | ++serial};
      write_name(named);
      live.push_back(named);
      issued_.fetch_add(1, std::memory_order_relaxed);
      live_.fetch_add(1, std::memory_order_relaxed);
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      const Named named = live.back();
      live.pop_back();
      check(named, "was written to by somebody else while it was in use");
      if (random() % 3 != 0 || !hand_over(named)) give_up(proc, named);
    }
  }

  // In a mark somebody may hold a pointer into it.
  void give_up(Proc proc, const Named& named) {
    live_.fetch_sub(1, std::memory_order_relaxed);
    if (marking_) {
      pool_->retire(proc, named.stack, RetireWhy::kDead);
    } else {
      pool_->free(proc, named.stack);
    }
  }

  bool hand_over(const Named& named) {
    const std::lock_guard lock(handing_);
    if (handed_over_.size() >= kHandedOver) return false;
    handed_over_.push_back(named);
    return true;
  }

  bool take_over(Named& named) {
    const std::lock_guard lock(handing_);
    if (handed_over_.empty()) return false;
    named = handed_over_.back();
    handed_over_.pop_back();
    return true;
  }

  // ---- the collector ----

  void run_cycle() {
    {
      const std::unique_lock alone(world_);
      pool_->begin_cycle({.markers = kMarkers, .concurrent = true});
      for (Proc proc = 0; proc < kMutators; ++proc) pool_->flush_cache(proc);
      check_at_rest();
      marking_ = true;
    }
    std::vector<std::thread> markers;
    markers.reserve(kMarkers);
    for (int m = 0; m < kMarkers; ++m) markers.emplace_back([this, m] { mark(m); });
    for (std::thread& marker : markers) marker.join();
    const std::unique_lock alone(world_);
    marking_ = false;
    check_at_rest();
    pool_->end_mark();
    check_at_rest();
    pool_->restarted();
    move_processors();
  }

  // The world is stopped. Mutators take each other's processors over; of three cycles one leaves one of them without.
  void move_processors() {
    std::rotate(proc_of_.begin(), proc_of_.begin() + 1, proc_of_.end());
    const auto away = std::find(proc_of_.begin(), proc_of_.end(), kNoProc);
    if (away != proc_of_.end()) *away = gone_;
    if (++moves_ % 3 != 0) return;
    gone_ = std::exchange(proc_of_[moves_ / 3 % kMutators], kNoProc);
    pool_->flush_cache(gone_);
  }

  // Retires what mutators gave, and holds pointers into all of it: to the mark's end, or as long as the policy lets a
  // reader wait.
  void mark(int m) {
    std::vector<HeldStack> held;
    pool_->reading(marker_reader(m));
    for (int round = 0; round < 40 && !spoilt_; ++round) {
      for (Named named; take_over(named);) {
        held.push_back({named, pool_->locate(named.stack.lo)});
        pool_->retire(kNoProc, named.stack, RetireWhy::kShrunk);
        retired_.fetch_add(1, std::memory_order_relaxed);
        live_.fetch_sub(1, std::memory_order_relaxed);
      }
      std::this_thread::yield();
      for (const HeldStack& one : held) check_held(one);
      looked_.fetch_add(held.size(), std::memory_order_relaxed);
      if (!policy_.claims.frees_after_grace) continue;
      held.clear();
      pool_->quiescent(marker_reader(m));
      pool_->reclaim();
      pool_->reading(marker_reader(m));
    }
    pool_->quiescent(marker_reader(m));
  }

  void drain() {
    while (!done_) {
      {
        const std::shared_lock stopped_only_outside(world_);
        if (!marking_ && pool_->drain_pending()) pool_->drain_step(4);
      }
      std::this_thread::yield();
    }
  }

  const PolicyRow& policy_;
  const uint32_t seed_;
  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
  std::shared_mutex world_;
  std::atomic<bool> marking_{false};  // changes only while the world is stopped
  std::atomic<bool> done_{false};
  // By mutator, its processor; kNoProc: it has none. Changes only while the world is stopped, as what is below.
  std::array<Proc, kMutators> proc_of_ = {0, 1, 2};
  Proc gone_ = kNoProc;
  size_t moves_ = 0;
  std::mutex handing_;
  std::vector<Named> handed_over_;  // under handing_
  std::atomic<const char*> spoilt_{nullptr};
  std::atomic<size_t> spoilt_bytes_{0};
  const char* broken_ = nullptr;   // by who stops the world
  std::atomic<uint64_t> live_{0};  // mutators' and what they handed over
  std::atomic<uint64_t> issued_{0};
  std::atomic<uint64_t> retired_{0};
  std::atomic<uint64_t> looked_{0};
};

bool run(const PolicyRow& policy, int cycles, uint32_t seed) {
  return Stress(policy, seed).run(cycles);
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  return stackdrain::stress("pool_stress", argc, argv, stackdrain::run);
}
