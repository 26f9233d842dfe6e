// Scheduler: runs a program's operations as cooperative threads, whose interleaving is part of the input.
//
//   input:  [mode][n]  program, two bytes an operation  [the last n bytes: the schedule]
//           mode bit 0: 0 the schedule's bytes say who runs, 1 priorities
//                bit 1: 1 weak memory: what an atomic store writes may become visible later, and out of order
//                bit 2: with bit 1, 1 a deep buffer: it holds 16 stores instead of 5, the youngest are chosen from, and
//                       nobody loses the processor at an atomic step
//                the other bits are reserved and ignored
//
// Actors. Each operation is dealt to who would do it, in the program's order: mutators' operations to the processor
// that is current there (p0..p3), markers' to their marker (m0..m3), `drain`, and `adopt`, to the two drainers in turn
// (d0, d1), `look` and `refuse` to a watcher, `die` to the processor that it names, and what wants a stopped world to
// the collector (c). An actor is a fiber; it can lose the processor at each yield point (yield.h), before it takes and
// after it gives back a lock, and at each marked atomic step (shared.h). A locked lock makes it wait: it can't run
// until the lock is free. What the collector does is a barrier: everything before it in the program is over, nothing
// behind it has begun. `gc-end` lets all markers run the root jobs that are left and judge what they hold, in parallel,
// and then ends the mark.
//
// A root job and who runs its goroutine keep out of each other's way from the claim on (collector.h); until then the
// goroutine may be woken and run.
//
//            ┌──────────── the operation is over ────────────┐
//            ▼                                               │
//          idle ──its turn, nobody uses its goroutine──▶ running ◀──▶ waits for a lock, or for a goroutine
//
// Who runs. Unless something says otherwise, the actor whose operation comes first in the program: with no schedule it
// is run as written. `at POINT n` and `inside POINT n` hold the next operation back at its first POINT until the n
// operations behind it are over, or can't go on. Mode 0: a byte is read when the one before is used up. Its low three
// bits choose among those who can run (in the order c, p, m, d, watcher; modulo how many there are), its high five say
// for how many more points nothing is chosen. Mode 1 (PCT): the first twelve bytes are the actors' priorities, the
// actor with the highest runs; each byte after that is a number of points after which the one who runs then becomes the
// last. When the bytes are used up the program's order goes on. So every input has one schedule; what is cut off an
// input takes its switches with it.
//
// Weak memory. An actor's atomic stores with relaxed or release order wait in a buffer of its own, which it reads from
// itself. When it loses the processor, the same five bits say which of them become visible (bit i: the i-th oldest, or
// youngest); one with release order not before all that are older, nor one before an older one to the same place. A
// lock, a modification, a sequentially consistent store and the end of an operation make all of them visible, and what
// the buffer has no room for makes the oldest so. Five stores are few where a span is published: of what is stored last
// and seen first the youngest tell, and how long the buffer is; and as most points are atomic steps, a schedule that is
// about what is visible between them counts the others alone.
//
// Faults (faults.h) are the program's: `refuse` is the watcher's operation, `die` the processor's, and `adopt` is done
// by the drainers, in turn. What they lead to is no violation; how it ends is checked as everything is.
//
// Waiting. When a drainer gives back a lock that a mutator waits for, the units of work (yield.h) that it did since the
// first of them came are held against what its policy says (C8). Who gets the lock then is the schedule's matter, as it
// is the system's. What the pause does, for which all wait, is held against its bound, too (F4).
//
// What is checked. At every point, what holds in the middle of operations: held and buffered pointers (A3), spans of
// shrunk stacks (A2), where an actor shows a store and holds an older one back, that what is published is complete, as
// a `look` would (A8), and, when a stack is allocated or given back, that live ones are disjoint and that what is given
// back was live (B1, B2). When nobody is at a goroutine any more: its words (D1, D2, ...). When the world is stopped:
// the accounts and the walk. Always: locks (F1), how many points an operation takes (F4), and data races on the pool's
// plain data (F8, race.h).
//
// Same input, same result. Allocates nothing after the first use of a policy. One a process, one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "fuzz/checker.h"
#include "fuzz/faults.h"
#include "fuzz/fiber.h"
#include "fuzz/live_stacks.h"
#include "fuzz/model.h"
#include "fuzz/program.h"
#include "fuzz/race.h"
#include "fuzz/watched_pool.h"
#include "target/arena.h"
#include "target/collector.h"
#include "target/drain/policies.h"
#include "target/goroutine.h"
#include "target/mutex.h"
#include "target/shared.h"
#include "target/yield.h"

namespace stackdrain {

// The mode's bits.
inline constexpr uint8_t kPriorities = 1;
inline constexpr uint8_t kWeakMemory = 2;
inline constexpr uint8_t kDeepBuffer = 4;

// An input's parts; any byte string has them.
struct ScheduleInput {
  ScheduleInput(const uint8_t* data, size_t size);

  bool priorities = false;
  bool weak_memory = false;
  bool deep_buffer = false;
  ProgramView program{nullptr, 0};
  std::span<const uint8_t> schedule;
};
inline constexpr size_t kScheduleHeader = 2;

// Operations of a program that are run at most.
inline constexpr size_t kMaxScheduled = 256;

inline constexpr size_t kActors = 12;
inline constexpr std::array<std::string_view, kActors> kActorNames = {"c",  "p0", "p1", "p2", "p3", "m0",
                                                                      "m1", "m2", "m3", "d0", "d1", "w"};
inline constexpr size_t kCollectorActor = 0;
inline constexpr size_t kFirstProc = 1;
inline constexpr size_t kFirstMarker = 5;
inline constexpr size_t kFirstDrainer = 9;
inline constexpr size_t kDrainers = 2;
inline constexpr size_t kWatcher = 11;

// Where an actor can lose the processor: the yield points, and these.
enum class Point : uint8_t {
#define X(id, name, locked, what) id,
  STACKDRAIN_YIELD_POINTS(X)
#undef X
      kBegin = 64,
  kLock,
  kUnlock,
  kAtomic,
  kEnd
};
constexpr Point point_of(Yield yield) {
  return static_cast<Point>(yield);
}
std::string_view name_of(Point point);

// One point that an actor came to.
struct ScheduleStep {
  uint8_t actor = 0;
  Point point = Point::kBegin;
  uint16_t operation = 0;  // == the program's length: what the end of every program does
  bool switched = false;   // somebody else ran next

  bool operator==(const ScheduleStep&) const = default;
};

// Where a fuzzing engine wants to be told what was interrupted: one counter for each operation x point x operation that
// ran then, folded, and one for each operation x done while others are in the middle of x phase.
inline constexpr size_t kSwitchCounters = size_t{1} << 14;

struct ScheduleVerdict {
  bool violated = false;
  Violation violation;
  size_t actor = 0;      // who ran when it was seen
  size_t operation = 0;  // of the program
  size_t steps = 0;
  size_t switches = 0;  // in the middle of operations
  uint64_t shrinks = 0;
  uint64_t cycles = 0;
  size_t no_ops = 0;
  uint32_t faults = 0;        // that were met: bit_of()
  uint64_t longest_wait = 0;  // of a mutator for a lock of a drainer, in units of the drainer's work
  uint64_t wait_bound = 0;    // what the policy said then
};

class Scheduler final : private YieldHook, private LockHook, private AccessHook, private StackWatcher {
 public:
  static constexpr size_t kMaxSteps = 8192;  // that are remembered

  Scheduler();
  const ScheduleVerdict& run(const ScheduleInput& input, const PolicyRow& policy);
  // Clears what was left, after each input, so that what the next one covers is that one's own (machine.h).
  void put_away();
  // Of the last run.
  const ScheduleVerdict& verdict() const { return verdict_; }
  std::span<const ScheduleStep> steps() const { return std::span(steps_).first(std::min(verdict_.steps, kMaxSteps)); }
  // Counts what was interrupted in kSwitchCounters bytes from now on; nullptr: no more.
  void count_switches(uint8_t* counters) { counters_ = counters; }
  // What runs now, for a crash handler: nullptr while nothing does.
  const PolicyRow* running() const { return running_ ? policy_ : nullptr; }
  const ScheduleInput& input() const { return input_; }
  const Violation* seen() const { return checker_.failed() ? &checker_.violation() : nullptr; }
  size_t current_actor() const { return current_; }
  size_t current_operation() const { return fibers_[current_].item.operation; }

 private:
  static constexpr size_t kArenaBytes = size_t{8} << 20;
  static constexpr size_t kMostLive = 8 * kGoroutines;  // each has one, one more in a move, may keep one; of two parts
  static constexpr size_t kNobody = kActors;
  static constexpr uint32_t kMaxPointsOfOperation = 1 << 15;
  static constexpr uint32_t kTurn = 512;  // points in a row after which somebody else has a turn
  static constexpr size_t kMaxLocks = 16;
  static constexpr size_t kShallowStores = 5;
  static constexpr size_t kDeepStores = 16;
  static constexpr size_t kItems = 3 * kMaxScheduled + 16;  // the collector's share of a quiesce is three

  enum class Work : uint8_t { kOperation, kFinishMarking, kEndMark, kRestart, kDrainAll, kRest };
  enum class State : uint8_t { kIdle, kReady, kWaitsForLock, kWaitsForGoroutine };

  // An operation, or a part of one, as it was dealt.
  struct Item {
    uint16_t operation = 0;
    uint16_t segment = 0;
    Work work = Work::kOperation;
    // Of `inside POINT n`: where it is held back, and until which operation is over.
    bool held = false;
    Yield hold_at = Yield::kCopyAlloc;
    uint16_t hold_until = 0;
    uint8_t proc = 0;       // current for mutators
    uint8_t proc_then = 0;  // ... after the operations it is held back for
  };

  // A store that is not visible yet.
  struct Store {
    void* atomic = nullptr;
    uint64_t bits = 0;
    void (*make)(void*, uint64_t) = nullptr;
    bool releases = false;
  };

  struct Actor {
    std::array<Item, kItems> items;
    size_t count = 0;
    size_t next = 0;  // the first that is not over
    State state = State::kIdle;
    Item item;
    uint32_t key = 0;  // lowest runs first
    uint8_t priority = 0;
    uint32_t points = 0;  // of the operation
    size_t waits_lock = 0;
    uint32_t waits_goroutine = 0;
    uint32_t held_locks = 0;
    std::array<Store, kDeepStores> stores;  // oldest first
    size_t store_count = 0;
    // Of the operation under way.
    int owns = -1;   // goroutine that is its own
    int job = -1;    // goroutine whose root job it runs
    int wakes = -1;  // goroutine that it ends the wait of
    int heap = -1;
    bool at_claim = false;
    bool drains = false;
    bool drain_step_over = false;  // it has freed its share
    size_t budget = 0;             // of its drain step
    bool flushes = false;          // it empties a cache
    bool adopts = false;
    int claims = 0;
    // Its root job's goroutine, as it was when it was claimed.
    GoStatus claimed_from = GoStatus::kDead;
    ModelRetired claimed_stack;
    size_t claimed_used = 0;  // bytes that the shrink rule counts
    uint32_t runs = 0;        // how often it had been run when the root job began
    Stack stack_at_elem;
    uint64_t gave_up_at = 0;  // the model's moment when it gave its last stack up
    uint64_t gave_up_serial = 0;
    bool moved_parking = false;  // it copied a goroutine that was not through with blocking
    Proc resumes_on = 0;         // the processor, after the last point
    uint64_t work = 0;           // units, of all its operations
  };

  struct Lock {
    const void* mutex = nullptr;
    size_t owner = kNobody;
    uint32_t after = 0;          // locks that were taken under it
    bool awaited = false;        // a mutator waits, and its owner drains
    uint64_t awaited_since = 0;  // ... since the owner had done so much work
  };

  // Who is at a goroutine.
  struct Users {
    size_t owner = kNobody;
    size_t waker = kNobody;
    uint32_t jobs = 0;
    uint32_t runs = 0;  // operations of its own that are over
    bool parking = false;
  };

  // YieldHook
  void at(Yield point) override;
  Proc resumes_on(Proc proc) override;
  bool maps() override;
  void drain_goes_on(uintptr_t next, size_t left) override;
  // LockHook
  bool acquires(const void* mutex) override;
  bool releases(const void* mutex) override;
  // AccessHook
  void plain(const void* field, bool writes, const Place& where) override;
  void before(const void* atomic, AtomicStep step, std::memory_order order) override;
  void after(const void* atomic, AtomicStep step, std::memory_order order) override;
  void fence(std::memory_order order) override;
  bool keeps(void* atomic, uint64_t bits, std::memory_order order, void (*make)(void*, uint64_t)) override;
  bool kept(const void* atomic, uint64_t& bits) override;
  // StackWatcher
  void issued(Stack stack) override;
  void given_up(Stack stack) override;

  void choose_pool(const PolicyRow& policy);
  void reset_world(const PolicyRow& policy);
  void deal();
  void deal_to(size_t actor, Item item);
  void deal_operation(Operation operation, Item item);
  void deal_end_of_cycle(Item item, bool rests);

  // Fibers.
  static void body(void* self, size_t actor) { static_cast<Scheduler*>(self)->act(actor); }
  void act(size_t actor);
  void go_on();
  void switch_to(size_t actor);
  [[noreturn]] void stop();
  void point(Point point);
  void remember(Point point);
  bool may_show(const Actor& actor, size_t store) const;
  void show(Actor& actor, size_t store);
  void show_all(Actor& actor);
  bool show_some(Actor& actor, uint32_t which);
  void interrupt(size_t next, Point point);
  uint8_t code_of(const Actor& actor) const;

  // Choosing.
  bool can_begin(const Actor& actor) const;
  bool can_run(size_t actor) const;
  bool goroutine_free_for_job(uint32_t g) const;
  bool claimed_by_job(uint32_t g) const;
  size_t choose(bool current_can, bool counts = true);
  size_t pick(bool current_can, bool counts);
  size_t lowest(size_t but) const;
  size_t by_byte(uint8_t byte) const;
  void next_segment();
  void report_deadlock();
  size_t lock_number(const void* mutex);
  void note_nesting(size_t lock);
  void count_work();
  bool drains(size_t actor) const;
  bool mutator_waits(size_t lock) const;
  void await(Lock& lock);
  void check_wait(Lock& lock);

  // Operations.
  void begin_operation(Actor& actor);
  void see_status(uint32_t g);
  void end_operation(Actor& actor);
  void execute(Actor& actor);
  void execute_operation(Actor& actor, Operation operation);
  Actor& me() { return fibers_[current_]; }
  int marker_of_me() const { return static_cast<int>(current_ - kFirstMarker); }
  Proc proc_of_me() const { return static_cast<Proc>(current_ - kFirstProc); }
  Goroutine& goroutine(uint32_t g) { return goroutines_[g]; }
  ModelGoroutine& expected(uint32_t g) { return model_.goroutines[g]; }
  bool marking() const { return collector_.phase() == Phase::kMark; }
  bool mutators_run() const;
  bool marker_here(int marker) const { return marking() && marker < collector_.kind().markers; }
  void check(bool ok) {
    if (!ok || checker_.failed()) stop();
  }
  void no_op() { ++verdict_.no_ops; }
  void count_state(size_t state);
  void note_fault(Fault fault);
  void note_refusal();
  bool has_thread();

  void do_spawn(uint32_t g, size_t bytes);
  void do_exit(uint32_t g);
  void do_call(uint32_t g, size_t frame);
  void do_return(uint32_t g, uint32_t count);
  bool grow_to(uint32_t g, size_t bytes, size_t frame);
  void do_block(uint32_t g, WaitKind wait);
  void do_wake(uint32_t g);
  void do_send(uint32_t g, uint32_t value);
  void do_records(uint32_t g, uint32_t records, bool push);
  void do_status(uint32_t g, uint32_t change);
  void do_heap_alloc(uint32_t slot, uint32_t pages, bool zeroed);
  void do_heap_free(uint32_t slot);
  void do_load(uint32_t g, uint32_t kind);
  size_t do_drain(size_t budget);
  void do_look();
  void do_adopt(Proc proc);
  void note_cycle_in_drain();
  void begin_cycle(CycleKind kind);
  void run_jobs(uint32_t most);
  void wait_for_goroutine(uint32_t g);
  void about_to_claim(Actor& actor, uint32_t g);
  void see_job(Actor& actor, uint32_t g);
  void marker_job(uint32_t g);
  void finish_marking();
  void end_mark_now();
  void restart_now();
  void drain_all();
  void rest();
  void kill_all();
  void settle_drains();

  bool defers(RetireWhy why) const;
  ModelRetired retired_of(uint32_t g) const;
  void expect_given_back(ModelRetired retired, RetireWhy why, bool coming = false);
  void expect_move(uint32_t g, ModelRetired old, RetireWhy why);
  void note_write(uint32_t g, RootKind kind);
  void note_reader(int marker) { model_.note_marker(marker, collector_.held(marker).pointer != 0); }
  void note_buffers() {
    for (Proc proc = 0; proc < pool_->params().procs; ++proc)
      model_.note_buffer(proc, collector_.buffered(proc).size());
  }
  void check_goroutine_at_rest(uint32_t g);

  struct Slot {
    std::unique_ptr<Arena> arena;
    std::unique_ptr<AnyPool> pool;
    bool used = false;  // since it was put away
  };
  std::array<Slot, kMaxPolicies> slots_;  // by row of policies()
  AnyPool* pool_ = nullptr;
  WatchedPool watched_{*this};  // what goroutines and the collector are given
  const PolicyRow* policy_ = nullptr;
  std::array<Goroutine, kGoroutines> goroutines_;
  Collector collector_;
  Model model_;
  Checker checker_;
  FiberSet fiber_set_;
  std::array<Actor, kActors> fibers_;
  std::array<Users, kGoroutines> users_;
  std::array<bool, kHeapSlots> heap_busy_{};
  std::array<Lock, kMaxLocks> locks_;
  size_t lock_count_ = 0;
  LiveStacks<kArenaBytes, kMostLive> live_;
  Races races_;

  ScheduleInput input_{nullptr, 0};
  ScheduleVerdict verdict_;
  std::array<ScheduleStep, kMaxSteps> steps_{};
  uint8_t* counters_ = nullptr;
  bool running_ = false;
  bool quiet_ = true;  // what runs is ours: no points, no waiting
  bool concurrent_ = false;
  bool in_one_go_ = false;  // the next atomic step is no point
  size_t length_ = 0;
  size_t current_ = kNobody;
  std::array<uint32_t, kMaxScheduled * 6 + 16> left_{};  // items of each segment that are not over
  uint32_t segment_ = 0;
  uint32_t segments_ = 0;
  size_t byte_ = 0;           // of the schedule, the next to read
  uint32_t gap_ = 0;          // points until then
  uint32_t last_gap_ = 0;     // of the byte that was read last
  uint32_t in_row_ = 0;       // points of the current actor since it was switched to
  bool stored_ = true;        // something atomic was stored into since the last point
  size_t mutator_ = kNobody;  // the last that ran, and the one before it
  size_t mutator_before_ = kNobody;
  size_t drains_running_ = 0;
  uint64_t retires_ = 0;
  uint64_t work_before_ = 0;     // units of work until the one who runs was switched to
  uint32_t refusals_ = 0;        // the system still refuses that many times
  bool drained_a_part_ = false;  // a drain step freed something since the last cycle began
  size_t drained_ = 0;           // stacks freed by drain steps that are over and not yet settled
};

}  // namespace stackdrain
