// goroutine_stress POLICY|sound [CYCLES [SEED]]: real threads run goroutines while a collector marks; made for TSan.
//
// Three mutators spawn, call, return, block, send and exit; each owns a processor. In a mark two markers LOAD records,
// do root jobs meanwhile (shrink, then scan) and RESOLVE what they hold; mutators go on where the policy claims that
// they may: stacks grow, goroutines die, and spans are issued to the heap while markers hold pointers. Every now and
// then a mutator's thread counts as gone: another one takes its processor over. After the mark a drainer frees what was
// put off.
//
// What is seen: a marker takes something for an object that is none, or a bad pointer (A3; Go issue #11267: a mark
// corrupted by a growth); whenever the world is stopped, words and canaries of each stack (D2, G1), records that leave
// it (D1), a damaged pool (A5, A6); a value that was sent and did not arrive (D6); what is left at the end (E6). And
// TSan sees whose memory orders are too weak: the claim that keeps copier and sender apart, and all of the pool's.
//
//   world (a lock): mutators and the drainer hold it shared for a few operations; who stops the world holds it alone
//   a goroutine's `runs`: whoever runs it, or does its root job; its `channel`: who blocks it, and who sends to it
//
// Exit codes: 0 fine; 1 something of the above; 66 TSan's; 2 bad usage.
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
#include "target/collector.h"
#include "target/drain/policies.h"
#include "target/goroutine.h"

namespace stackdrain {
namespace {

constexpr int kMutators = 3;
constexpr int kMarkers = 2;
constexpr size_t kGoroutines = 40;
constexpr size_t kHeapSpans = 12;        // of a mutator
constexpr int kStepsInTheWorld = 8;      // operations between two places where the world can stop
constexpr uint64_t kStepsInAMark = 400;  // mutators' operations that a mark waits for, where they run
constexpr int kMostYields = 400;         // ... at most so long: all threads may be gone
constexpr size_t kLine = 64;
// No root of the collector's is an object.
constexpr const char* kNoObject =
    "what was marked as an object is none: somebody held a pointer into a stack (A3, Go issue #11267)";
constexpr RootKind kRoots[] = {RootKind::kElem, RootKind::kSelectDone, RootKind::kPanic, RootKind::kDefer,
                               RootKind::kContext};

// Who may be at a goroutine.
struct Cell {
  std::mutex runs;
  std::mutex channel;
  uint64_t sent = 0;  // under channel: what was sent and not yet received
};

// A mutator's own.
struct Mutator {
  Proc proc = kNoProc;
  bool gone = false;  // its thread counts as gone, until somebody has taken the processor over
  std::vector<uintptr_t> heap;
  std::mt19937 random;
};

class Stress {
 public:
  Stress(const PolicyRow& policy, uint32_t seed)
      : policy_(policy),
        seed_(seed),
        arena_(size_t{64} << 20),
        pool_(policy.make(arena_)),
        collector_(*pool_, goroutines_) {
    PoolParams params = go119_preset();
    params.procs = kMutators;
    params.max_stack_bytes = size_t{128} << 10;
    pool_->reset(params);
    for (uint32_t g = 0; g < kGoroutines; ++g) goroutines_[g].reset(g);
    collector_.reset(*pool_);
  }

  // Whether all went well; prints a line.
  bool run(int cycles) {
    std::vector<std::thread> threads;
    threads.reserve(kMutators + 1);
    for (int m = 0; m < kMutators; ++m) threads.emplace_back([this, m] { mutate(m); });
    threads.emplace_back([this] { drain(); });
    for (int cycle = 0; cycle < cycles && broken_ == nullptr; ++cycle) run_cycle();
    done_ = true;
    for (std::thread& thread : threads) thread.join();
    if (broken_ == nullptr) end_all();
    if (broken_ == nullptr && collector_.bad_pointers() != 0) broken_ = "a bad pointer was judged (A3)";
    if (collector_.objects_marked() != 0) broken_ = kNoObject;
    const char* const broken = broken_;
    std::printf("%-20s %s %llu moves, %llu shrinks in %d marks, %llu sends, %llu pointers held, %llu bad, ",
                policy_.name.data(), broken == nullptr ? "passes  " : "FAILS   ", value(moves_), value(shrinks_),
                cycles, value(sends_), value(held_), static_cast<unsigned long long>(collector_.bad_pointers()));
    std::printf("%llu processors adopted\n", value(adopted_));
    if (broken == nullptr) return true;
    std::printf("    %s\n    goroutine_stress %s %d %u, another time it may pass\n", broken, policy_.name.data(),
                cycles, seed_);
    return false;
  }

 private:
  static unsigned long long value(const std::atomic<uint64_t>& count) { return count.load(std::memory_order_relaxed); }
  static void count(std::atomic<uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

  bool marking() const { return collector_.phase() == Phase::kMark; }
  bool mutators_run() const { return collector_.phase() == Phase::kOff || (marking() && collector_.kind().concurrent); }

  // ---- mutators ----

  void mutate(int m) {
    Mutator self;
    self.proc = m;
    self.random.seed(seed_ * 100 + static_cast<uint32_t>(m));
    while (!done_) {
      {
        const std::shared_lock stopped_only_outside(world_);
        for (int step = 0; step < kStepsInTheWorld && mutators_run(); ++step) mutator_step(self);
      }
      std::this_thread::yield();
    }
    const std::shared_lock stopped_only_outside(world_);
    for (const uintptr_t base : self.heap) pool_->free_heap(base);
  }

  void mutator_step(Mutator& self) {
    if (self.gone) {
      if (!collector_.has_thread(self.proc)) return;
      self.gone = false;
    }
    count(steps_);
    switch (self.random() % 32) {
      case 0:
        return change_heap(self);
      case 1:
        return take_over(self);
      case 2:
        if (self.random() % 8 != 0) return;
        self.gone = true;
        return collector_.abandon(self.proc);
      default:
        break;
    }
    const auto g = static_cast<uint32_t>(self.random() % kGoroutines);
    if (self.random() % 4 == 0) return send(self, g);
    if (Cell& cell = cells_[g]; cell.runs.try_lock()) {
      const std::lock_guard lock(cell.runs, std::adopt_lock);
      run_goroutine(self, g);
    }
  }

  // Heap objects are freed by sweeping, never while a mark runs; in one they come to where stacks were.
  void change_heap(Mutator& self) {
    for (int n = 0; n < 4 && self.heap.size() < kHeapSpans; ++n) {
      const uintptr_t base = pool_->allocate_heap(static_cast<uint32_t>(1 + self.random() % 8), false);
      if (base != 0) self.heap.push_back(base);
    }
    if (marking() || self.random() % 4 != 0) return;
    for (const uintptr_t base : self.heap) pool_->free_heap(base);
    self.heap.clear();
  }

  void take_over(Mutator& self) {
    for (Proc proc = 0; proc < kMutators; ++proc) {
      if (proc != self.proc && collector_.adopt(proc)) count(adopted_);
    }
  }

  // The caller has `runs`.
  void run_goroutine(Mutator& self, uint32_t g) {
    Goroutine& goroutine = goroutines_[g];
    if (!goroutine.alive()) {
      goroutine.spawn(*pool_, self.proc, kMinStackBytes << self.random() % 6, marking());
      return;
    }
    if (goroutine.status() != GoStatus::kRunning) return;
    receive(g);
    const Stack before = goroutine.stack();
    switch (self.random() % 8) {
      case 0:
        goroutine.exit(*pool_, self.proc, marking());
        return;
      case 1:
        return block(self, g);
      case 2: {
        const RootKind kind = self.random() % 2 == 0 ? RootKind::kDefer : RootKind::kPanic;
        goroutine.push_record(kind);
        return collector_.note_write(self.proc, g, kind);
      }
      case 3:
      case 4:
        goroutine.ret();
        return;
      case 5:
        if (goroutine.grow(*pool_, self.proc, before.bytes() * 2, marking())) count(moves_);
        return;
      default:
        goroutine.call(*pool_, self.proc, kFrameUnit * (1 + self.random() % 16), marking());
        if (goroutine.stack() != before) count(moves_);
    }
  }

  void block(Mutator& self, uint32_t g) {
    const std::lock_guard lock(cells_[g].channel);
    goroutines_[g].block(self.random() % 2 == 0 ? WaitKind::kReceive : WaitKind::kSelect);
    for (const RootKind kind : {RootKind::kElem, RootKind::kSelectDone, RootKind::kContext}) {
      collector_.note_write(self.proc, g, kind);
    }
  }

  // Beside whoever does its root job.
  void send(Mutator& self, uint32_t g) {
    Cell& cell = cells_[g];
    const std::lock_guard lock(cell.channel);
    if (goroutines_[g].status() != GoStatus::kWaiting) return;
    const uint64_t sent = uint64_t{self.random()} << 1 | 1;
    if (!goroutines_[g].send(sent)) return;
    cell.sent = sent;
    count(sends_);
  }

  // What was sent lies in the frame that waited, wherever that was moved to.
  void receive(uint32_t g) {
    uint64_t sent = 0;
    {
      const std::lock_guard lock(cells_[g].channel);
      sent = std::exchange(cells_[g].sent, 0);
    }
    const uintptr_t link = goroutines_[g].youngest_link();
    if (sent != 0 && Goroutine::read(Goroutine::word_at(link, FrameWord::kValue)) != sent) {
      broken_ = "what was sent did not arrive: the stack moved under the sender's hands (D6)";
    }
  }

  // ---- the collector ----

  void run_cycle() {
    {
      const std::unique_lock alone(world_);
      collector_.begin({.markers = kMarkers, .concurrent = policy_.claims.concurrent_mark});
      next_fixed_ = 0;
      next_goroutine_ = 0;
      check_at_rest();
    }
    std::vector<std::thread> markers;
    markers.reserve(kMarkers);
    for (int m = 0; m < kMarkers; ++m) markers.emplace_back([this, m] { mark(m); });
    for (std::thread& marker : markers) marker.join();
    const std::unique_lock alone(world_);
    check_at_rest();
    collector_.end_mark();
    check_at_rest();
    collector_.restart();
    for (Proc proc = 0; proc < kMutators; ++proc) collector_.adopt(proc);  // nobody may be left to do it
  }

  // With a pointer in hand, now and then, over a job or two; and then over what mutators do meanwhile.
  void mark(int m) {
    std::mt19937 random(seed_ * 1000 + collector_.cycle() * kMarkers + static_cast<uint32_t>(m));
    const auto hold_something = [&] {
      const auto g = static_cast<uint32_t>(random() % kGoroutines);
      if (collector_.load(m, g, kRoots[random() % kRootKinds])) count(held_);
    };
    for (bool any = true; any && broken_ == nullptr;) {
      hold_something();
      any = mark_job(m);
      if (random() % 4 == 0) std::this_thread::yield();
      if (random() % 2 == 0) judge(collector_.resolve(m));
    }
    const uint64_t enough = steps_ + (collector_.kind().concurrent ? kStepsInAMark : 0);
    for (int turn = 0; turn < kMostYields && steps_ < enough && broken_ == nullptr; ++turn) {
      hold_something();
      std::this_thread::yield();
      if (random() % 16 == 0) judge(collector_.resolve(m));
    }
    judge(collector_.resolve(m));
  }

  // False: none is left.
  bool mark_job(int m) {
    if (next_fixed_.fetch_add(1, std::memory_order_relaxed) < kFixedJobs) return collector_.run_next_job(m).ran;
    const uint32_t g = next_goroutine_.fetch_add(1, std::memory_order_relaxed);
    if (g >= kGoroutines) return false;
    const std::lock_guard lock(cells_[g].runs);
    if (collector_.run_goroutine_job(m, g).shrink == ShrinkResult::kShrunk) count(shrinks_);
    return true;
  }

  // The control is let go on after a bad pointer, until what that leads to is seen, too.
  void judge(Resolved resolved) {
    if (resolved == Resolved::kObject) broken_ = kNoObject;
    if (resolved == Resolved::kBad && policy_.claims.sound) {
      broken_ = "a marker held a pointer into a stack, and RESOLVEd a bad one (A3)";
    }
  }

  void drain() {
    while (!done_) {
      {
        const std::shared_lock stopped_only_outside(world_);
        if (collector_.phase() == Phase::kOff && pool_->drain_pending()) pool_->drain_step(4);
      }
      std::this_thread::yield();
    }
  }

  // ---- what must hold ----

  // The world is stopped: nobody is in the middle of anything, but stacks may be deferred.
  void check_at_rest() {
    for (const Goroutine& goroutine : goroutines_) check_stack(goroutine);
    if (!policy_.claims.tells_places) return;
    const StressWalk walk(*pool_);
    if (walk.faults != 0) broken_ = "a walk with the world stopped finds the pool damaged (A5, A6)";
    if (pool_->stats().stack_bytes != walk.stack_bytes)
      broken_ = "bytes of stacks' spans are not what a walk finds (E1)";
  }

  void check_stack(const Goroutine& goroutine) {
    if (!goroutine.alive()) return;
    const Stack stack = goroutine.stack();
    const StackPattern pattern(goroutine.id(), goroutine.generation());
    for (uintptr_t line = goroutine.sp(); line < stack.hi; line += kLine) {
      if (Goroutine::read(line) != pattern.at(stack.hi - line)) broken_ = "a stack's words are not its own (D2)";
    }
    for (int word = 0; word < 2; ++word) {
      const uintptr_t at = stack.lo + static_cast<size_t>(word) * sizeof(uint64_t);
      if (Goroutine::read(at) != pattern.canary(word)) broken_ = "somebody wrote over a stack's lowest words (G1)";
    }
    for (const RootKind kind : kRoots) {
      const uintptr_t root = goroutine.root(kind);
      if (root != 0 && !stack.contains(root)) broken_ = "a record points into a stack that its goroutine has left (D1)";
    }
  }

  // Only this thread is left.
  void end_all() {
    for (Proc proc = 0; proc < kMutators; ++proc) collector_.adopt(proc);
    for (uint32_t g = 0; g < kGoroutines; ++g) {
      Goroutine& goroutine = goroutines_[g];
      if (goroutine.status() == GoStatus::kWaiting) goroutine.wake();
      if (goroutine.alive()) goroutine.exit(*pool_, 0, false);
    }
    collector_.begin({1, false});
    for (uint32_t g = 0; g < kGoroutines; ++g) collector_.run_goroutine_job(0, g);
    collector_.end_mark();
    collector_.restart();
    while (pool_->drain_pending()) pool_->drain_step(0);
    for (Proc proc = 0; proc < kMutators; ++proc) pool_->flush_cache(proc);
    if (policy_.claims.keeps_reserve) pass_idle_cycles(*pool_);
    const PoolStats stats = pool_->stats();
    if (stats.live_stacks != 0 || stats.held_stacks != 0) broken_ = "stacks are left when all goroutines are dead (E3)";
    if (policy_.claims.tells_places && StressWalk(*pool_).spans > 1) {
      broken_ = "the arena is not one free span when all goroutines are dead (E6)";
    }
  }

  const PolicyRow& policy_;
  const uint32_t seed_;
  Arena arena_;
  std::unique_ptr<AnyPool> pool_;
  std::array<Goroutine, kGoroutines> goroutines_;
  std::array<Cell, kGoroutines> cells_;
  Collector collector_;
  std::shared_mutex world_;
  std::atomic<bool> done_{false};
  std::atomic<const char*> broken_{nullptr};
  std::atomic<uint32_t> next_fixed_{0};
  std::atomic<uint32_t> next_goroutine_{0};
  std::atomic<uint64_t> steps_{0};
  std::atomic<uint64_t> moves_{0};
  std::atomic<uint64_t> shrinks_{0};
  std::atomic<uint64_t> sends_{0};
  std::atomic<uint64_t> held_{0};
  std::atomic<uint64_t> adopted_{0};
};

bool run(const PolicyRow& policy, int cycles, uint32_t seed) {
  return std::make_unique<Stress>(policy, seed)->run(cycles);
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  return stackdrain::stress("goroutine_stress", argc, argv, stackdrain::run);
}
