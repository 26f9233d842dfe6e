// Machine: runs a program against one pool, keeps the model beside it, and asks the checker after every operation.
//
// No input is invalid: an operation that makes no sense in the state it meets is a counted no-op with a reason.
// Everything lives in one static world that is reset in place: same input, same result, in any order and process; no
// heap allocation after the first use of a policy. One machine a process, one thread.
//
// Interleaving. `at POINT n` arms the machine: while the NEXT operation (the host) runs, the n operations behind it run
// inside it when the host first reaches that yield point; if it never does they run after it, as usual. What may run
// inside: whatever another marker, processor or goroutine could do there. A nested operation is a no-op when it would
// need the host's processor, its marker or its goroutine (send and load excepted: that is the race), or a stopped
// world. `inside POINT n` is the same for every yield point: where a lock is held, only what takes none runs inside.
//
// At the program's end the machine finishes the cycle, drains, kills everything and flushes, and checks that nothing is
// left (E6).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "fuzz/checker.h"
#include "fuzz/lock_graph.h"
#include "fuzz/model.h"
#include "fuzz/program.h"
#include "target/arena.h"
#include "target/collector.h"
#include "target/drain/policies.h"
#include "target/goroutine.h"
#include "target/yield.h"

namespace stackdrain {

// Operations of a program that are run at most; what is beyond is ignored, so that time is bounded by construction.
inline constexpr size_t kMaxOperations = 4096;

// What one operation did.
struct Outcome {
  const char* no_op = nullptr;    // why nothing happened, or nullptr
  std::array<char, 160> story{};  // for people; only filled when somebody observes
};

// Told after each operation; for explain. Nothing is formatted without an observer.
class MachineObserver {
 public:
  virtual void operation(size_t index, Operation operation, bool nested, const Outcome& outcome) = 0;
  // True: the verdict has digests of what every goroutine was at rest.
  virtual bool wants_digests() const { return false; }
  // False: no story is formatted.
  virtual bool wants_story() const { return true; }
  // An operation that is not over yet has come to a yield point; before what runs inside it.
  virtual void reached([[maybe_unused]] Yield point, [[maybe_unused]] bool nested) {}
  // True: each call that the machine is about to make on target is told as the line of C++ that it is, `go`, `pool`,
  // `collector`, `heap` and `hook` being what it is called on.
  virtual bool wants_calls() const { return false; }
  virtual void calls([[maybe_unused]] const char* line, [[maybe_unused]] bool nested) {}

 protected:
  ~MachineObserver() = default;
};

// Where a fuzzing engine wants to be told which kinds of state a program reached: one counter for each operation x done
// or refused x phase x does a marker hold a pointer x ... into the goroutine operated on x is anything deferred. Code
// coverage alone does not see that an operation, done before, was done now with a pointer held.
inline constexpr size_t kStates = size_t{kCodes} * 2 * 4 * 2 * 2 * 2;
// ... one for each two operations done after each other on the same goroutine ...
inline constexpr size_t kPairs = size_t{kCodes} * kCodes * 4;
// ... and one for each point of another operation x operation done inside it.
inline constexpr size_t kStateCounters = kStates + kPairs + kYieldPoints.size() * kCodes;

inline constexpr size_t kNever = ~size_t{0};

struct Verdict {
  bool violated = false;
  Violation violation;
  size_t index = 0;       // the operation it was seen at; == operations: at the end of the program
  Op site = Op::kNop;     // the operation that makes the last call that was made: a root job is kShrink whoever runs it
  size_t operations = 0;  // in the program
  size_t no_ops = 0;
  uint64_t shrinks = 0;
  uint64_t cycles = 0;
  // The first operation whose answer depended on how much memory was left, nested ones counted as the one around them;
  // kNever: none did. Policies hold back different amounts, so they may differ from here on.
  size_t starved_at = kNever;
  // Of each goroutine when all is at rest at the program's end, before everything is killed: status, generation, stack
  // size, frames, contents and records; addresses as distances from hi (G2). Only for an observer who wants them, and
  // not if the program was violated.
  std::array<uint64_t, kGoroutines> digests{};
};

// Offers another operation in the place of a nested one that was refused, by writing it into the program; for explore.
class Alternatives {
 public:
  virtual bool next(size_t index) = 0;

 protected:
  ~Alternatives() = default;
};

class Machine final : private YieldHook {
 public:
  Machine();
  // Runs the program; the verdict stays valid until the next run.
  const Verdict& run(ProgramView program, const PolicyRow& policy, MachineObserver* observer = nullptr);
  // From now on every operation is followed by the full walk, so that what breaks is seen where it breaks; a fuzzer
  // looks less often (kWalkedForOne), and again like this at what it found.
  void walk_always(bool always) { watch_always_ = always ? Watch::kEverything : Watch::kUsual; }
  // Clears what was left since the last call. Clearing costs more or less code as there is more or less to clear; a
  // harness does it after each input, so that what the next one covers is that one's own.
  void put_away();
  // Of the last run.
  const Verdict& verdict() const { return verdict_; }
  // The span map now, one line a span; for reports. Writes at most `capacity` characters; allocates nothing.
  size_t format_span_map(char* buffer, size_t capacity) const;
  // The operation under way or last run, and the program: for a crash handler.
  size_t current_index() const { return index_; }
  // What runs now; nullptr and nothing while nothing does.
  const PolicyRow* running() const { return running_ ? policy_ : nullptr; }
  ProgramView program() const { return program_; }
  const AnyPool* pool() const { return pool_; }
  // What was seen to be violated in the operation under way, or nullptr: a crash that follows is its consequence.
  const Violation* seen() const { return checker_.failed() ? &checker_.violation() : nullptr; }
  // Counts kinds of state in kStateCounters bytes from now on; nullptr: no more.
  void count_states(uint8_t* counters) { state_counters_ = counters; }
  const Collector& collector() const { return collector_; }
  std::span<const Goroutine> goroutines() const { return goroutines_; }

 private:
  friend class Stepper;  // stepper.h: drives it one operation at a time, and digests where it stands
  friend class StateHasher;

  static constexpr size_t kArenaBytes = size_t{8} << 20;
  // What is checked after an operation.
  enum class Watch : uint8_t {
    kUsual,       // the walk when it is due
    kEverything,  // the walk always
    kNothing,     // what is replayed was checked before
  };
  // What the operation under way occupies, so that a nested one keeps away from it.
  struct Host {
    Proc proc = kNoProc;
    int marker = -1;
    int goroutine = -1;
    int wakes = -1;        // the goroutine whose record a sender has taken off the channel: nobody else wakes it
    bool drains = false;   // a drain step runs; another drainer may step inside it
    bool pauses = false;   // the pause's part of the drain runs; a marker that is done may help
    bool parking = false;  // the goroutine blocks: a marker may come by, everybody else keeps away
  };

  // Of the move under way: how often it tried to claim its goroutine, and how that was at the last try.
  struct Claim {
    int tries = 0;
    GoStatus from = GoStatus::kDead;
    ModelRetired old;    // its stack
    size_t counted = 0;  // bytes that the shrink rule counts as used
  };

  // Of the operation under way: when it gave its last stack up.
  struct Moment {
    uint64_t serial = 0;
    uint64_t at = 0;
  };

  void at(Yield point) override;
  // A preempted goroutine goes on where `proc` operations have put it meanwhile.
  Proc resumes_on(Proc proc) override {
    return !nested_ && host_.proc == proc && collector_.has_thread(proc_) ? proc_ : proc;
  }
  bool maps() override;
  void drain_goes_on(uintptr_t next, size_t left) override { checker_.check_next_of_drain(next, left); }
  void entered(Proc proc) override { checker_.entered(proc); }
  void left() override { checker_.left(); }

  void reset(ProgramView program, const PolicyRow& policy);
  void choose_pool(const PolicyRow& policy);
  void run_all();
  void run_next();
  void run_one(size_t index);
  void run_nested();
  void finish();
  bool check_after(bool walk);
  bool check_locks();
  void starve() { verdict_.starved_at = std::min(verdict_.starved_at, outer_index_); }
  void count_state(Operation operation, bool held, bool held_of_it);
  void held_pointers(Operation operation, bool& any, bool& of_it) const;
  const char* execute(Operation operation);
  void note(const char* format, ...) __attribute__((format(printf, 2, 3)));
  void call(Op site, const char* format, ...) __attribute__((format(printf, 3, 4)));
  void note_write(uint32_t goroutine, RootKind kind);
  Resolved resolve(int marker);
  JobResult run_fixed_job(uint32_t marker);
  bool check_all_judged();
  void skip_job();
  bool mutators_run() const;
  bool marking() const { return collector_.phase() == Phase::kMark; }
  bool inside_lock() const { return nested_ && kYieldPoints[static_cast<size_t>(armed_point_)].locked; }
  void see_claimed(uint32_t g);
  bool before_claim(uint32_t goroutine) const;
  const char* mutator_refusal(uint32_t goroutine) const;
  const char* marker_refusal(uint32_t marker) const;
  Goroutine& goroutine(uint32_t g) { return goroutines_[g]; }
  // After an operation on it: what that may have written to; where each operation is followed by a walk, all.
  bool check_touched(uint32_t g, Checker::Frames frames = Checker::Frames::kWords) {
    return checker_.check_goroutine(g, watch_ == Watch::kEverything ? Checker::Frames::kAll : frames);
  }
  ModelGoroutine& expected(uint32_t g) { return model_.goroutines[g]; }

  const char* do_spawn(Operation operation);
  const char* do_exit(Operation operation);
  const char* do_call(Operation operation);
  const char* do_return(Operation operation);
  const char* do_grow(Operation operation);
  const char* do_shrink(Operation operation);
  const char* do_block(Operation operation);
  const char* do_wake(Operation operation);
  const char* do_send(Operation operation);
  const char* do_push(Operation operation, bool push);
  const char* do_heap_alloc(Operation operation);
  const char* do_heap_free(Operation operation);
  const char* do_proc(Operation operation);
  const char* do_flush(Operation operation);
  const char* do_gc_begin(Operation operation);
  const char* do_gc_mark(Operation operation);
  const char* do_load(Operation operation);
  const char* do_resolve(Operation operation);
  const char* do_gc_end();
  const char* do_restart();
  const char* do_drain(size_t budget);
  const char* do_at(Operation operation);
  const char* do_inside(uint32_t point, uint32_t count);
  const char* do_look();
  const char* do_help(uint32_t marker);
  const char* do_status(Operation operation);
  const char* do_release();
  const char* do_fault(Operation operation);
  const char* do_refuse(uint32_t times);
  const char* do_die(Proc proc);
  const char* do_adopt(Proc proc);
  void adopt_all();
  const char* do_quiesce();

  bool grow_to(uint32_t g, size_t new_bytes, size_t frame_bytes);
  bool marker_job(uint32_t marker, uint32_t g);
  void expect_exit(uint32_t g, Proc proc);
  void expect_move(uint32_t g, ModelRetired old, RetireWhy why, Proc proc);
  void expect_given_back(ModelRetired retired, RetireWhy why, Proc proc, bool coming = false);
  void given_back(uint32_t g);
  bool settle_graces();
  void note_reader(int marker) { model_.note_marker(marker, collector_.held(marker).pointer != 0); }
  void note_buffer(Proc proc) { model_.note_buffer(proc, collector_.buffered(proc).size()); }
  void expect_allocated(Stack stack, Proc proc);
  void expect_flushed();
  void settle_refill();
  void refuse(size_t bytes);
  bool reserves() const;
  ModelRetired retired_of(uint32_t g) const;
  bool defers(RetireWhy why) const;
  void begin_cycle(CycleKind kind);
  bool end_cycle(bool goes_on);
  bool end_mark_in_bounds();
  size_t step_drain(size_t budget);
  void check_hold(size_t budget, const PoolStats& stats);
  void check_released(uint64_t released, size_t said);
  bool drain_all();
  bool kill_all();
  bool whole_cycle();

  // One a policy, made at its first use and kept, with its arena: no mapping comes or goes between runs.
  struct Slot {
    std::unique_ptr<Arena> arena;
    std::unique_ptr<AnyPool> pool;
    bool used = false;  // since it was put away
  };
  std::array<Slot, kMaxPolicies> slots_;  // by row of policies()
  AnyPool* pool_ = nullptr;
  const PolicyRow* policy_ = nullptr;
  PoolParams params_;  // of the run's world
  std::array<Goroutine, kGoroutines> goroutines_;
  Collector collector_;
  Model model_;
  Checker checker_;
  LockGraph locks_;
  Verdict verdict_;
  MachineObserver* observer_ = nullptr;
  uint8_t* state_counters_ = nullptr;
  std::array<uint8_t, kGoroutines> last_done_{};  // code of the last operation done on each goroutine
  Outcome outcome_;

  ProgramView program_{nullptr, 0};
  size_t length_ = 0;
  size_t index_ = 0;
  size_t outer_index_ = 0;  // index_, or of the operation around it
  size_t next_ = 0;
  bool running_ = false;
  bool concurrent_ = false;
  bool stopping_ = false;  // a cycle is being begun: the world is stopped, whatever kind of cycle it becomes
  bool nested_ = false;
  Proc proc_ = 0;
  Host host_;
  size_t since_walk_ = 0;
  // Armed by `at`: the next operation is the host.
  bool armed_ = false;
  Yield armed_point_ = Yield::kCopyAlloc;
  size_t armed_count_ = 0;
  bool live_hook_ = false;
  uint32_t points_reached_ = 0;  // a bit for each yield point that an operation reached, not those of nested ones
  Watch watch_ = Watch::kUsual;
  Watch watch_always_ = Watch::kUsual;
  Alternatives* alternatives_ = nullptr;
  Claim claim_;
  uint64_t pause_work_ = 0;  // units of work of the last end_mark
  Moment retired_;
  uint64_t retires_ = 0;
  bool job_over_ = false;         // the operation under way ended a root job
  uint32_t refusals_ = 0;         // the system still refuses that many times
  bool refused_ = false;          // ... and did, in the operation under way
  size_t freed_inside_ = 0;       // stacks that drain steps inside the one under way have freed
  uint64_t released_inside_ = 0;  // spans that left while operations ran inside that step
};

}  // namespace stackdrain
