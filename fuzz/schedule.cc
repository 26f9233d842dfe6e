#include "fuzz/schedule.h"

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "target/defects.h"

namespace stackdrain {
namespace {

// Tries to claim a goroutine that are enough: one fails only when its status changed in between (F4).
constexpr int kMaxClaims = 16;
// A cycle may add this many deferred stacks to those that wait already.
constexpr size_t kDeferredInCycle = kMaxScheduled + kGoroutines;
static_assert(kDeferredInCycle < kMaxRetired);
// Numbers for count_state(), behind those of the faults: how long a mutator waited, and that a look was taken while
// somebody's stores were not visible.
constexpr uint64_t kMostWaited = 16;
constexpr size_t kWaited = kFaults.size();
constexpr size_t kLookedPastStores = kWaited + kMostWaited + 1;

void forget_wait(ModelGoroutine& owner) {
  for (const RootKind kind : {RootKind::kElem, RootKind::kSelectDone, RootKind::kContext}) {
    owner.roots[static_cast<size_t>(kind)] = 0;
  }
  owner.status = GoStatus::kRunning;
}

}  // namespace

ScheduleInput::ScheduleInput(const uint8_t* data, size_t size) {
  if (size < kScheduleHeader) return;
  priorities = (data[0] & kPriorities) != 0;
  weak_memory = (data[0] & kWeakMemory) != 0;
  deep_buffer = weak_memory && (data[0] & kDeepBuffer) != 0;
  const size_t rest = size - kScheduleHeader;
  const size_t bytes = std::min<size_t>(data[1], rest);
  program = {data + kScheduleHeader, rest - bytes};
  schedule = {data + size - bytes, bytes};
}

std::string_view name_of(Point point) {
  switch (point) {
    case Point::kBegin:
      return "begin";
    case Point::kLock:
      return "lock";
    case Point::kUnlock:
      return "unlock";
    case Point::kAtomic:
      return "atomic";
    case Point::kEnd:
      return "end";
    default:
      return kYieldPoints[static_cast<size_t>(point)].name;
  }
}

Scheduler::Scheduler() : collector_(watched_, goroutines_), fiber_set_(body, this) {}

// ---- the world ----

void Scheduler::choose_pool(const PolicyRow& policy) {
  const size_t row = static_cast<size_t>(&policy - policies().data());
  STACKDRAIN_CHECK(row < slots_.size(), "more policies than the scheduler has room for");
  Slot& slot = slots_[row];
  if (slot.pool == nullptr) {
    slot.arena = std::make_unique<Arena>(kArenaBytes);
    slot.pool = policy.make(*slot.arena);
  }
  slot.used = true;
  pool_ = slot.pool.get();
  watched_.watch(*pool_);
  policy_ = &policy;
}

void Scheduler::put_away() {
  for (Slot& slot : slots_) {
    if (slot.used) slot.pool->reset(default_world(concurrent_));
    slot.used = false;
  }
  for (size_t i = 0; i < lock_count_; ++i) locks_[i] = {};
  lock_count_ = 0;
  for (size_t i = 0; i < kActors; ++i) {  // the next input begins each of them, as the first one did
    fiber_set_.restart(i);
    fibers_[i].state = State::kIdle;
  }
}

void Scheduler::reset_world(const PolicyRow& policy) {
  choose_pool(policy);
  live_.reset(pool_->arena_base());
  const ProgramView program = input_.program;
  length_ = std::min(program.size(), kMaxScheduled);
  const bool says = length_ > 0 && !program[0].reserved() && program[0].op() == Op::kWorld;
  pool_->reset(says ? world_params(program[0], concurrent_) : default_world(concurrent_));
  for (uint32_t g = 0; g < kGoroutines; ++g) goroutines_[g].reset(g);
  collector_.reset(watched_);
  collector_.set_heap_roots(model_.heap);
  model_.reset();
  model_.reserve_known = false;
  races_.reset();
  checker_.reset({pool_, &collector_, goroutines_, &model_, policy.claims});
  verdict_ = {};
  users_.fill({});
  heap_busy_.fill(false);
  for (size_t i = 0; i < lock_count_; ++i) locks_[i] = {};
  lock_count_ = 0;
  in_one_go_ = false;
  stored_ = true;
  current_ = mutator_ = mutator_before_ = kNobody;
  segment_ = 0;
  byte_ = gap_ = in_row_ = last_gap_ = 0;
  drains_running_ = drained_ = 0;
  retires_ = 0;
  refusals_ = 0;
  drained_a_part_ = false;
  work_before_ = work_so_far();
  for (size_t i = 0; i < kActors; ++i) {
    Actor& actor = fibers_[i];
    actor.count = actor.next = 0;
    // A run that was stopped left them in the middle of something.
    actor.owns = actor.job = actor.wakes = actor.heap = -1;
    actor.at_claim = actor.drains = actor.drain_step_over = actor.flushes = actor.adopts = false;
    actor.held_locks = 0;
    actor.gave_up_at = actor.gave_up_serial = 0;
    actor.store_count = 0;
    actor.work = 0;
    if (actor.state != State::kIdle) fiber_set_.restart(i);
    actor.state = State::kIdle;
    actor.priority = static_cast<uint8_t>(kActors - i);
  }
  deal();
  if (!input_.priorities) return;
  byte_ = std::min(kActors, input_.schedule.size());
  for (size_t i = 0; i < byte_; ++i) fibers_[i].priority = input_.schedule[i];
  gap_ = byte_ < input_.schedule.size() ? input_.schedule[byte_] : 0;
}

void Scheduler::deal_to(size_t actor, Item item) {
  Actor& to = fibers_[actor];
  item.segment = static_cast<uint16_t>(segments_);
  to.items[to.count++] = item;
  ++left_[segments_];
}

// All that is between two barriers may overlap.
void Scheduler::deal_end_of_cycle(Item item, bool rests) {
  const auto next = [this] { left_[++segments_] = 0; };
  item.held = false;
  next();
  item.work = Work::kFinishMarking;
  for (int marker = 0; marker < kMachineMarkers; ++marker) deal_to(kFirstMarker + static_cast<size_t>(marker), item);
  next();
  item.work = Work::kEndMark;
  deal_to(kCollectorActor, item);
  next();
  if (!rests) return;
  item.work = Work::kRestart;
  deal_to(kCollectorActor, item);
  next();
  item.work = Work::kDrainAll;
  for (size_t drainer = 0; drainer < kDrainers; ++drainer) deal_to(kFirstDrainer + drainer, item);
  next();
  item.work = Work::kRest;
  deal_to(kCollectorActor, item);
  next();
}

void Scheduler::deal_operation(Operation operation, Item item) {
  const size_t mutator = kFirstProc + item.proc;
  switch (operation.op()) {
    case Op::kNop:
    case Op::kWorld:
    case Op::kSetProc:
    case Op::kAt:
    case Op::kInside:
    case Op::kHelp:  // nobody waits inside of a pause here
      return;
    case Op::kShrink:
    case Op::kGcMark:
    case Op::kLoad:
    case Op::kResolve:
      return deal_to(kFirstMarker + operation.arg(0), item);
    case Op::kFlush:
      return deal_to(kFirstProc + operation.arg(0), item);
    case Op::kLook:
    case Op::kRefuse:
      return deal_to(kWatcher, item);
    case Op::kDie:
      return deal_to(kFirstProc + operation.arg(0), item);
    case Op::kGcEnd:
      return deal_end_of_cycle(item, false);
    case Op::kQuiesce:
      return deal_end_of_cycle(item, true);
    case Op::kGcBegin:
    case Op::kRestart:
      left_[++segments_] = 0;
      deal_to(kCollectorActor, item);
      left_[++segments_] = 0;
      return;
    default:
      return deal_to(mutator, item);
  }
}

void Scheduler::deal() {
  segments_ = 0;
  left_[0] = 0;
  uint8_t proc = 0;
  size_t drains = 0;
  size_t adopts = 0;
  Item item;
  for (size_t i = 0; i < length_; ++i) {
    const Operation operation = input_.program[i];
    if (operation.reserved()) continue;
    item.operation = static_cast<uint16_t>(i);
    item.proc = proc;
    if (item.held) {
      // The processor that is current behind those it is held back for.
      item.proc_then = proc;
      for (size_t j = i + 1; j < length_ && j <= item.hold_until; ++j) {
        if (input_.program[j].op() == Op::kSetProc && input_.program[j].arg(0) < kMaxProcs) {
          item.proc_then = static_cast<uint8_t>(input_.program[j].arg(0));
        }
      }
    }
    if (operation.op() == Op::kSetProc && static_cast<int>(operation.arg(0)) < pool_->params().procs) {
      proc = static_cast<uint8_t>(operation.arg(0));
    }
    if (operation.op() == Op::kDrain) {
      deal_to(kFirstDrainer + drains++ % kDrainers, item);
    } else if (operation.op() == Op::kAdopt) {
      deal_to(kFirstDrainer + adopts++ % kDrainers, item);
    } else {
      deal_operation(operation, item);
    }
    item.held = false;
    if (operation.op() != Op::kAt && operation.op() != Op::kInside) continue;
    const size_t point = operation.arg(0);
    item.held = point < kYieldPoints.size() && (operation.op() == Op::kInside || point < kAtPoints);
    item.hold_at = static_cast<Yield>(point);
    item.hold_until = static_cast<uint16_t>(i + 1 + operation.arg(1) + 1);
  }
  item = {};
  item.operation = static_cast<uint16_t>(length_);
  deal_end_of_cycle(item, true);
}

const ScheduleVerdict& Scheduler::run(const ScheduleInput& input, const PolicyRow& policy) {
  input_ = input;
  quiet_ = true;
  reset_world(policy);
  running_ = true;
#if STACKDRAIN_YIELDS
  yield_hook = this;
  lock_hook = this;
  watch_accesses(this);
#endif
  next_segment();
  current_ = choose(false);
  quiet_ = false;
  fiber_set_.run(current_);
  quiet_ = true;
#if STACKDRAIN_YIELDS
  yield_hook = nullptr;
  lock_hook = nullptr;
  watch_accesses(nullptr);
#endif
  running_ = false;
  verdict_.violated = checker_.failed();
  if (!verdict_.violated) return verdict_;
  verdict_.violation = checker_.violation();
  verdict_.actor = current_;
  verdict_.operation = fibers_[current_].item.operation;
  return verdict_;
}

// ---- who runs ----

void Scheduler::next_segment() {
  while (left_[segment_] == 0 && segment_ < segments_) ++segment_;
  races_.meet();  // the world is stopped in between
}

bool Scheduler::goroutine_free_for_job(uint32_t g) const {
  // Who blocks can be met by a marker once others see that it waits.
  return users_[g].owner == kNobody || (users_[g].parking && goroutines_[g].status() == GoStatus::kWaiting);
}

// A marker is in its root job, and not only about to claim it.
bool Scheduler::claimed_by_job(uint32_t g) const {
  if (users_[g].jobs == 0) return false;
  return std::any_of(fibers_.begin(), fibers_.end(),
                     [&](const Actor& other) { return other.job == static_cast<int>(g) && !other.at_claim; });
}

// An idle actor's next operation may begin: its barrier is behind it, and nobody uses what it wants for itself.
bool Scheduler::can_begin(const Actor& actor) const {
  if (actor.next == actor.count || actor.items[actor.next].segment != segment_) return false;
  const Item& item = actor.items[actor.next];
  if (item.work != Work::kOperation) return true;
  const Operation operation = input_.program[item.operation];
  const std::optional<uint32_t> named = operation.goroutine();
  const uint32_t g = named.value_or(0);
  switch (operation.op()) {
    case Op::kSend:
    case Op::kWake:
      return users_[g].waker == kNobody;
    case Op::kShrink:
      return goroutine_free_for_job(g);
    case Op::kLoad:
      return true;
    case Op::kStatus:
      return users_[g].owner == kNobody && users_[g].waker == kNobody && !claimed_by_job(g);
    case Op::kHeapAlloc:
    case Op::kHeapFree:
      return !heap_busy_[operation.arg(0)];
    default:
      return !named || (users_[g].owner == kNobody && !claimed_by_job(g));
  }
}

bool Scheduler::can_run(size_t i) const {
  const Actor& actor = fibers_[i];
  switch (actor.state) {
    case State::kIdle:
      return can_begin(actor);
    case State::kReady:
      return true;
    case State::kWaitsForLock:
      return locks_[actor.waits_lock].owner == kNobody;
    case State::kWaitsForGoroutine:
      return goroutine_free_for_job(actor.waits_goroutine);
  }
  return false;
}

// Who comes first by the program, or by priority; `but` only if there is nobody else.
size_t Scheduler::lowest(size_t but) const {
  size_t best = kNobody;
  uint32_t best_key = 0;
  for (size_t i = 0; i < kActors; ++i) {
    if (i == but || !can_run(i)) continue;
    const Actor& actor = fibers_[i];
    uint32_t key = actor.state == State::kIdle ? uint32_t{actor.items[actor.next].operation} * 2 : actor.key;
    if (input_.priorities && byte_ < input_.schedule.size()) key = 255u - actor.priority;
    if (best != kNobody && key >= best_key) continue;
    best = i;
    best_key = key;
  }
  return best;
}

size_t Scheduler::by_byte(uint8_t byte) const {
  size_t who[kActors];
  size_t count = 0;
  for (size_t i = 0; i < kActors; ++i) {
    if (can_run(i)) who[count++] = i;
  }
  return count == 0 ? kNobody : who[(byte & 7u) % count];
}

// Who runs next; kNobody: nobody can. `current_can`: the one who runs may go on. `counts`: it is a point of those that
// the schedule's bytes count. What it looks at to see who can run
// are no steps of whoever runs.
size_t Scheduler::choose(bool current_can, bool counts) {
  const bool quiet = std::exchange(quiet_, true);
  const size_t next = pick(current_can, counts);
  quiet_ = quiet;
  return next;
}

size_t Scheduler::pick(bool current_can, bool counts) {
  if (current_can && ++in_row_ > kTurn) {
    in_row_ = 0;
    const size_t other = lowest(current_);
    return other == kNobody ? current_ : other;
  }
  if (counts && byte_ < input_.schedule.size()) {
    if (gap_ > 0) {
      --gap_;
    } else if (input_.priorities) {
      if (current_ < kActors) fibers_[current_].priority = 0;
      ++byte_;
      gap_ = byte_ < input_.schedule.size() ? input_.schedule[byte_] : 0;
    } else {
      const uint8_t byte = input_.schedule[byte_++];
      gap_ = last_gap_ = byte >> 3;
      return by_byte(byte);
    }
    if (input_.priorities) return lowest(kNobody);
  }
  return current_can ? current_ : lowest(kNobody);
}

// What was done since the one who runs was switched to, or this was last called, is its own.
void Scheduler::count_work() {
  const uint64_t before = std::exchange(work_before_, work_so_far());
  me().work += work_before_ - before;
}

void Scheduler::switch_to(size_t to) {
  if (to == current_) return;
  count_work();
  const size_t from = std::exchange(current_, to);
  in_row_ = 0;
  if (to >= kFirstProc && to < kFirstMarker) {
    mutator_before_ = mutator_;
    mutator_ = to;
  }
  fiber_set_.switch_to(from, to);
}

// Ends the run in the middle of whatever it is. The fiber is forgotten.
void Scheduler::stop() {
  quiet_ = true;
  fibers_[current_].state = State::kReady;
  fiber_set_.leave(current_);
  std::abort();
}

// The one who runs can't: somebody else, or it is a deadlock.
void Scheduler::go_on() {
  const size_t next = choose(false);
  if (next == kNobody) {
    report_deadlock();
    stop();
  }
  quiet_ = true;
  switch_to(next);
  quiet_ = false;
}

void Scheduler::remember(Point point) {
  if (verdict_.steps < kMaxSteps) {
    steps_[verdict_.steps] = {static_cast<uint8_t>(current_), point, me().item.operation, false};
  }
  ++verdict_.steps;
}

void Scheduler::point(Point point) {
  if (quiet_) return;
  Actor& actor = me();
  remember(point);
  quiet_ = true;
  if (++actor.points > kMaxPointsOfOperation) {
    checker_.report(Invariant::kF4, "%s has come to %u points in one operation, and it does not end",
                    kActorNames[current_].data(), actor.points);
  }
  checker_.check_step(true, std::exchange(stored_, false));
  check(true);
  const size_t next = choose(true, point != Point::kAtomic || !input_.deep_buffer);
  if (next != current_) interrupt(next, point);
  quiet_ = false;
}

uint8_t Scheduler::code_of(const Actor& actor) const {
  const Item& item = actor.state == State::kIdle ? actor.items[actor.next] : actor.item;
  return item.work == Work::kOperation ? input_.program[item.operation].code
                                       : static_cast<uint8_t>(kCodes - 1 - static_cast<size_t>(item.work));
}

// In the middle of an operation: `next` runs, until somebody comes back here.
void Scheduler::interrupt(size_t next, Point point) {
  if (verdict_.steps <= kMaxSteps) steps_[verdict_.steps - 1].switched = true;
  ++verdict_.switches;
  checker_.note_overlap(true);
  if (show_some(me(), last_gap_)) {  // a look that comes just then is too much to ask of luck
    checker_.check_published();
    check(true);
  }
  if (counters_ != nullptr) {
    const size_t what = (size_t{code_of(me())} * 80 + static_cast<size_t>(point)) * kCodes + code_of(fibers_[next]);
    counters_[what * 0x9e3779b97f4a7c15u >> 50] = 1;
  }
  switch_to(next);
}

void Scheduler::act(size_t) {
  for (;;) {
    Actor& actor = me();
    begin_operation(actor);
    quiet_ = false;
    point(Point::kBegin);
    if (actor.owns >= 0) see_status(static_cast<uint32_t>(actor.owns));
    execute(actor);
    end_operation(actor);
    const size_t next = choose(false);
    if (next == kNobody) {
      if (segment_ != segments_) report_deadlock();
      actor.state = State::kIdle;
      // Not the middle of anything: who comes back begins its next operation.
      fiber_set_.leave(current_);
      continue;
    }
    switch_to(next);
  }
}

void Scheduler::begin_operation(Actor& actor) {
  actor.item = actor.items[actor.next];
  actor.state = State::kReady;
  actor.key = uint32_t{actor.item.operation} * 2;
  actor.points = 0;
  actor.claims = 0;
  actor.at_claim = actor.drains = actor.flushes = actor.adopts = false;
  if (actor.item.work != Work::kOperation) return;
  const Operation operation = input_.program[actor.item.operation];
  const std::optional<uint32_t> g = operation.goroutine();
  switch (operation.op()) {
    case Op::kSend:
    case Op::kWake:
      actor.wakes = static_cast<int>(g.value_or(0));
      users_[g.value_or(0)].waker = current_;
      break;
    case Op::kShrink:
    case Op::kLoad:
      break;
    case Op::kHeapAlloc:
    case Op::kHeapFree:
      actor.heap = static_cast<int>(operation.arg(0));
      heap_busy_[operation.arg(0)] = true;
      break;
    default:
      if (!g) break;
      actor.owns = static_cast<int>(*g);
      users_[*g].owner = current_;
      if (operation.op() != Op::kStatus) races_.acquire(current_, races_.clock_of(&users_[*g]));
  }
}

// Who runs a goroutine has read its status, and knows what whoever woke it did until then; somebody may have while the
// operation had begun and done nothing yet.
void Scheduler::see_status(uint32_t g) {
  in_one_go_ = true;
  goroutine(g).status();
  in_one_go_ = false;
}

void Scheduler::end_operation(Actor& actor) {
  point(Point::kEnd);
  quiet_ = true;
  show_all(actor);
  for (const int g : {actor.owns, actor.wakes}) {
    if (g >= 0) races_.release(current_, races_.clock_of(&users_[static_cast<size_t>(g)]), true);
  }
  int touched = -1;
  if (actor.owns >= 0) {
    touched = actor.owns;
    users_[static_cast<size_t>(actor.owns)].owner = kNobody;
    users_[static_cast<size_t>(actor.owns)].parking = false;
    // Of a change of its status alone the claim itself must know.
    if (input_.program[actor.item.operation].op() != Op::kStatus) ++users_[static_cast<size_t>(actor.owns)].runs;
    actor.owns = -1;
  }
  if (actor.wakes >= 0) {
    touched = actor.wakes;
    users_[static_cast<size_t>(actor.wakes)].waker = kNobody;
    actor.wakes = -1;
  }
  if (actor.heap >= 0) heap_busy_[static_cast<size_t>(std::exchange(actor.heap, -1))] = false;
  if (touched >= 0) check_goroutine_at_rest(static_cast<uint32_t>(touched));
  actor.state = State::kIdle;
  ++actor.next;
  if (--left_[actor.item.segment] == 0) next_segment();
  if (checker_.failed()) {
    actor.state = State::kReady;
    stop();
  }
}

void Scheduler::check_goroutine_at_rest(uint32_t g) {
  const Users& users = users_[g];
  if (users.owner == kNobody && users.waker == kNobody && users.jobs == 0) checker_.check_goroutine(g);
}

// ---- hooks ----

void Scheduler::at(Yield yield) {
  if (quiet_) return;
  Actor& actor = me();
  switch (yield) {
    case Yield::kClaim:
      if (++actor.claims > kMaxClaims) {
        checker_.report(Invariant::kF4, "%s tries for the %dth time to claim one goroutine",
                        kActorNames[current_].data(), actor.claims);
        stop();
      }
      actor.at_claim = true;
      break;
    case Yield::kPark:
      if (actor.owns >= 0) users_[static_cast<size_t>(actor.owns)].parking = true;
      break;
    case Yield::kSendElem:
      if (actor.wakes >= 0) actor.stack_at_elem = goroutines_[static_cast<size_t>(actor.wakes)].stack();
      break;
    case Yield::kHandOff:
      // Who has freed its share, and not yet said how many that were, leaves it open how many are missing.
      if (!actor.drains || std::any_of(fibers_.begin(), fibers_.end(),
                                       [](const Actor& other) { return other.drains && other.drain_step_over; })) {
        break;
      }
      quiet_ = true;
      checker_.check_not_over(drained_);
      check(true);
      quiet_ = false;
      break;
    case Yield::kDrainStep:
      actor.drain_step_over = true;
      break;
    case Yield::kFlush:
      actor.flushes = true;
      break;
    case Yield::kFlushList:
      if (actor.adopts) note_fault(Fault::kAdopted);
      break;
    case Yield::kCopyAlloc:
      if (actor.job >= 0) actor.moved_parking = expected(static_cast<uint32_t>(actor.job)).parking;
      break;
    default:
      break;
  }
  const size_t switches = verdict_.switches;
  actor.resumes_on = proc_of_me();
  if (actor.item.held && actor.item.hold_at == yield) {
    actor.item.held = false;
    actor.resumes_on = actor.item.proc_then;
    actor.key = uint32_t{actor.item.hold_until} * 2 + 1;
    remember(point_of(yield));
    quiet_ = true;  // looking who can run is no step
    const size_t next = lowest(kNobody);
    if (next != current_) interrupt(next, point_of(yield));
    quiet_ = false;
  } else {
    point(point_of(yield));
    // It goes on where the one was that ran before it.
    if (verdict_.switches != switches && mutator_before_ != kNobody) {
      actor.resumes_on = static_cast<Proc>(mutator_before_ - kFirstProc);
    }
  }
  if (yield != Yield::kClaim) return;
  if (actor.job >= 0) about_to_claim(actor, static_cast<uint32_t>(actor.job));
  actor.at_claim = false;
}

// A root job is. Who ran the goroutine meanwhile is at a safepoint first, and what it did is known.
void Scheduler::about_to_claim(Actor& actor, uint32_t g) {
  wait_for_goroutine(g);
  actor.claimed_from = expected(g).status;
  if (users_[g].runs == actor.runs) return;
  races_.acquire(current_, races_.clock_of(&users_[g]));
  actor.claims = 0;  // tries that others' doing let fail are not its own
  see_job(actor, g);
}

// How `g` is when its root job begins, or after others ran it.
void Scheduler::see_job(Actor& actor, uint32_t g) {
  const ModelGoroutine& owner = expected(g);
  actor.runs = users_[g].runs;
  actor.claimed_from = owner.status;
  actor.claimed_used = owner.counted(pool_->params());
  quiet_ = true;
  actor.claimed_stack = retired_of(g);
  quiet_ = false;
}

// A goroutine that lost its processor in the middle of something goes on where whoever ran then was.
Proc Scheduler::resumes_on(Proc proc) {
  if (quiet_ || proc == kNoProc || current_ < kFirstProc || current_ >= kFirstMarker) return proc;
  const Proc then = me().resumes_on;
  return then < pool_->params().procs ? then : proc;
}

void Scheduler::drain_goes_on(uintptr_t next, size_t left) {
  if (quiet_) return;
  quiet_ = true;
  checker_.check_next_of_drain(next, left);
  check(true);
  quiet_ = false;
}

// Something that the operation under way has come to, and that no switch tells of.
void Scheduler::count_state(size_t state) {
  if (counters_ == nullptr) return;
  const size_t what = (size_t{code_of(me())} * 80 + 79) * kCodes + state % kCodes;
  counters_[what * 0x9e3779b97f4a7c15u >> 50] = 1;
}

// ---- faults ----

void Scheduler::note_fault(Fault fault) {
  verdict_.faults |= bit_of(fault);
  count_state(static_cast<size_t>(fault));
}

bool Scheduler::maps() {
  if (quiet_) return true;
  if (refusals_ == 0) {
    if (marking()) note_fault(Fault::kGrewInMark);
    return true;
  }
  --refusals_;
  note_refusal();
  return false;
}

void Scheduler::note_refusal() {
  const bool marker = current_ >= kFirstMarker && current_ < kFirstDrainer;
  const Op op = me().item.work == Work::kOperation ? input_.program[me().item.operation].op() : Op::kNop;
  if (marker) note_fault(Fault::kRefusedInShrink);
  if (op == Op::kGrow || op == Op::kCall) note_fault(Fault::kRefusedInGrow);
  for (const Actor& other : fibers_) {
    if (other.state == State::kIdle) continue;
    if (other.drains && !other.drain_step_over) note_fault(Fault::kRefusedInDrain);
    if (other.flushes) note_fault(Fault::kRefusedInFlush);
  }
}

// Does a thread run the processor that runs now? Who does knows what was done on it; to ask is no step.
bool Scheduler::has_thread() {
  in_one_go_ = true;
  const bool has = collector_.has_thread(proc_of_me());
  in_one_go_ = false;
  return has;
}

// ---- locks ----

size_t Scheduler::lock_number(const void* mutex) {
  for (size_t i = 0; i < lock_count_; ++i) {
    if (locks_[i].mutex == mutex) return i;
  }
  STACKDRAIN_CHECK(lock_count_ < kMaxLocks, "more locks than the scheduler has room for");
  locks_[lock_count_].mutex = mutex;
  return lock_count_++;
}

// The lock is about to be taken under what this actor holds: no lock may come before itself, on any way (F1).
void Scheduler::note_nesting(size_t lock) {
  uint32_t held = me().held_locks;
  for (; held != 0; held &= held - 1) {
    const size_t under = static_cast<size_t>(std::countr_zero(held));
    locks_[under].after |= 1u << lock;
    uint32_t reached = locks_[lock].after;
    for (uint32_t before = 0; before != reached;) {
      before = reached;
      for (uint32_t left = before; left != 0; left &= left - 1) {
        reached |= locks_[static_cast<size_t>(std::countr_zero(left))].after;
      }
    }
    if ((reached >> under & 1) == 0) continue;
    checker_.report(Invariant::kF1, "%s takes lock %zu under lock %zu, and before it went before it",
                    kActorNames[current_].data(), lock, under);
    stop();
  }
}

// In a drain step, or between two root jobs where a policy frees then.
bool Scheduler::drains(size_t actor) const {
  if (actor == kNobody) return false;
  const bool marker = actor >= kFirstMarker && actor < kFirstDrainer;
  return fibers_[actor].drains || (marker && policy_->claims.frees_after_grace);
}

bool Scheduler::mutator_waits(size_t lock) const {
  for (size_t proc = kFirstProc; proc < kFirstMarker; ++proc) {
    if (fibers_[proc].state == State::kWaitsForLock && fibers_[proc].waits_lock == lock) return true;
  }
  return false;
}

// From here on a mutator waits for the lock; its owner does not run just now, or has just taken it.
void Scheduler::await(Lock& lock) {
  if (lock.awaited || !drains(lock.owner)) return;
  lock.awaited = true;
  lock.awaited_since = fibers_[lock.owner].work;
}

// The one who runs gives a lock back that a mutator waits for.
void Scheduler::check_wait(Lock& lock) {
  lock.awaited = false;
  count_work();
  quiet_ = true;
  const uint64_t pages = pool_->stats().peak_stack_bytes >> kPageShift;
  const uint64_t bound = checker_.hold_bound(me().drains ? me().budget : 0, model_.deferred.count, pages);
  const uint64_t work = me().work - lock.awaited_since;
  count_state(kWaited + std::min<uint64_t>(work, kMostWaited));  // who waited longer is nearer to too long
  if (work >= verdict_.longest_wait) {
    verdict_.longest_wait = work;
    verdict_.wait_bound = bound;
  }
  if (work > bound) {
    checker_.report(Invariant::kC8,
                    "%s did %" PRIu64 " units of work under a lock that a mutator waits for, the policy says %" PRIu64
                    " at most",
                    kActorNames[current_].data(), work, bound);
  }
  check(true);
  quiet_ = false;
}

bool Scheduler::acquires(const void* mutex) {
  if (quiet_) return true;
  point(Point::kLock);
  show_all(me());
  const size_t lock = lock_number(mutex);
  Actor& actor = me();
  if (locks_[lock].owner == current_) {
    checker_.report(Invariant::kF1, "%s takes lock %zu, which it holds", kActorNames[current_].data(), lock);
    stop();
  }
  if (actor.held_locks != 0) note_nesting(lock);
  while (locks_[lock].owner != kNobody) {
    if (current_ >= kFirstProc && current_ < kFirstMarker) await(locks_[lock]);
    actor.state = State::kWaitsForLock;
    actor.waits_lock = lock;
    quiet_ = true;
    go_on();
    quiet_ = false;
  }
  actor.state = State::kReady;
  locks_[lock].owner = current_;
  if (mutator_waits(lock)) {  // somebody else was faster
    count_work();
    await(locks_[lock]);
  }
  races_.acquire(current_, races_.clock_of(mutex));
  actor.held_locks |= 1u << lock;
  return false;
}

bool Scheduler::releases(const void* mutex) {
  if (quiet_) return true;
  const size_t lock = lock_number(mutex);
  if (me().store_count != 0) point(Point::kUnlock);  // what was stored last may be seen first
  show_all(me());
  if (locks_[lock].awaited) check_wait(locks_[lock]);
  races_.release(current_, races_.clock_of(mutex), true);
  locks_[lock].owner = kNobody;
  me().held_locks &= ~(1u << lock);
  point(Point::kUnlock);
  return false;
}

// Nobody can run, and not all is over: who waits for whom.
void Scheduler::report_deadlock() {
  std::array<char, 256> text{};
  size_t size = 0;
  for (size_t i = 0; i < kActors; ++i) {
    const Actor& actor = fibers_[i];
    if (actor.state != State::kWaitsForLock) continue;
    const size_t owner = locks_[actor.waits_lock].owner;
    const int written = std::snprintf(text.data() + size, text.size() - size, "%s%s waits for lock %zu, which %s holds",
                                      size == 0 ? "" : "; ", kActorNames[i].data(), actor.waits_lock,
                                      owner == kNobody ? "nobody" : kActorNames[owner].data());
    if (written > 0) size = std::min(text.size() - 1, size + static_cast<size_t>(written));
  }
  checker_.report(Invariant::kF1, "deadlock: %s", text.data());
}

// ---- shared data ----

void Scheduler::plain(const void* field, bool writes, const Place& where) {
  if (quiet_) return;
  Access other;
  if (races_.access(field, {current_, writes, where}, other)) return;
  const auto file = [](const Place& at) {
    const char* path = at.file;
    const char* slash = std::strrchr(path, '/');
    return slash == nullptr ? path : slash + 1;
  };
  checker_.report(Invariant::kF8, "%s %s in %s (%s:%u) what %s %s in %s (%s:%u), and nothing orders the two",
                  kActorNames[current_].data(), writes ? "writes" : "reads", where.function, file(where), where.line,
                  kActorNames[other.actor].data(), other.writes ? "wrote" : "read", other.where.function,
                  file(other.where), other.where.line);
  stop();
}

void Scheduler::before(const void*, AtomicStep step, std::memory_order order) {
  if (quiet_) return;
  note_buffers();  // what was in one may be judged in the middle of an operation, and freed by who comes next
  if (!std::exchange(in_one_go_, false)) point(Point::kAtomic);
  if (step == AtomicStep::kModify || order == std::memory_order_seq_cst) show_all(me());
}

void Scheduler::after(const void* atomic, AtomicStep step, std::memory_order order) {
  if (step == AtomicStep::kModify) stored_ = true;
  if (quiet_) return;
  Clock& clock = races_.clock_of(atomic);
  if (stackdrain::acquires(order)) races_.acquire(current_, clock);
  if (step == AtomicStep::kModify && stackdrain::releases(order)) races_.release(current_, clock, true);
}

void Scheduler::fence(std::memory_order) {
  if (quiet_) return;
  point(Point::kAtomic);
  show_all(me());
}

// The clock goes with the store although it may be seen later: what was done before it is not done later.
bool Scheduler::keeps(void* atomic, uint64_t bits, std::memory_order order, void (*make)(void*, uint64_t)) {
  stored_ = true;
  if (quiet_) return false;
  Clock& clock = races_.clock_of(atomic);
  if (stackdrain::releases(order)) {
    races_.release(current_, clock, false);
  } else {
    clock = {};
  }
  if (!input_.weak_memory || order == std::memory_order_seq_cst) return false;
  Actor& actor = me();
  if (actor.store_count == (input_.deep_buffer ? kDeepStores : kShallowStores)) show(actor, 0);
  actor.stores[actor.store_count++] = {atomic, bits, make, stackdrain::releases(order)};
  return true;
}

bool Scheduler::kept(const void* atomic, uint64_t& bits) {
  if (quiet_) return false;
  const Actor& actor = me();
  for (size_t i = actor.store_count; i-- > 0;) {
    if (actor.stores[i].atomic != atomic) continue;
    bits = actor.stores[i].bits;
    return true;
  }
  return false;
}

bool Scheduler::may_show(const Actor& actor, size_t store) const {
  if (actor.stores[store].releases) return store == 0;
  return std::none_of(actor.stores.begin(), actor.stores.begin() + static_cast<ptrdiff_t>(store),
                      [&](const Store& older) { return older.atomic == actor.stores[store].atomic; });
}

void Scheduler::show(Actor& actor, size_t store) {
  const Store shown = actor.stores[store];
  std::move(actor.stores.begin() + static_cast<ptrdiff_t>(store) + 1,
            actor.stores.begin() + static_cast<ptrdiff_t>(actor.store_count),
            actor.stores.begin() + static_cast<ptrdiff_t>(store));
  --actor.store_count;
  stored_ = true;
  shown.make(shown.atomic, shown.bits);
}

void Scheduler::show_all(Actor& actor) {
  while (actor.store_count != 0) show(actor, 0);
}

// True: something became visible, and something older did not.
bool Scheduler::show_some(Actor& actor, uint32_t which) {
  bool overtaken = false;
  if (input_.deep_buffer) {
    for (size_t i = actor.store_count; i-- > 0 && which != 0; which >>= 1) {
      if ((which & 1) == 0 || !may_show(actor, i)) continue;
      show(actor, i);
      overtaken = true;
    }
    return overtaken && actor.store_count != 0;
  }
  for (size_t i = 0; i < actor.store_count; which >>= 1) {
    if ((which & 1) != 0 && may_show(actor, i)) {
      show(actor, i);
      overtaken |= i != 0;
    } else {
      ++i;
    }
  }
  return overtaken;
}

void Scheduler::issued(Stack stack) {
  if (quiet_) return;
  if (!live_.add(stack)) {
    checker_.report(Invariant::kB2, "%s was given +0x%" PRIxPTR " (%zu bytes), where a live stack lies",
                    kActorNames[current_].data(), stack.lo - pool_->arena_base(), stack.bytes());
    stop();
  }
}

void Scheduler::given_up(Stack stack) {
  if (quiet_) return;
  if (!live_.remove(stack)) {
    checker_.report(Invariant::kB1, "%s gives +0x%" PRIxPTR " (%zu bytes) back, which is not live",
                    kActorNames[current_].data(), stack.lo - pool_->arena_base(), stack.bytes());
    stop();
  }
  if (current_ == kNobody) return;
  me().gave_up_at = model_.moment;
  me().gave_up_serial = ++retires_;
}

// ---- what must become of stacks ----

bool Scheduler::defers(RetireWhy why) const {
  return policy_->claims.defers_shrunk && marking() && (why == RetireWhy::kShrunk || collector_.kind().concurrent);
}

ModelRetired Scheduler::retired_of(uint32_t g) const {
  const ModelGoroutine& owner = model_.goroutines[g];
  return {owner.stack, pool_->locate(owner.stack.lo), g, owner.generation, 0};
}

// `coming`: it is about to be given up; who begins to read until then is not waited for.
void Scheduler::expect_given_back(ModelRetired retired, RetireWhy why, bool coming) {
  const bool told = !coming && current_ != kNobody;
  retired.at = told ? me().gave_up_at : model_.moment;
  retired.serial = told ? me().gave_up_serial : ++retires_;
  --model_.live_stacks;
  model_.live_bytes -= retired.stack.bytes();
  if (marking() && why == RetireWhy::kShrunk && !model_.shrunk.full()) model_.shrunk.add(retired);
  if (defers(why) && !model_.deferred.full()) model_.deferred.add(retired);
}

// `old`: taken before the move, because afterwards its span may be anything.
void Scheduler::expect_move(uint32_t g, ModelRetired old, RetireWhy why) {
  ModelGoroutine& owner = expected(g);
  old.used = owner.used;
  owner.stack = goroutine(g).stack();
  ++model_.live_stacks;
  ++model_.allocations;
  model_.live_bytes += owner.stack.bytes();
  expect_given_back(old, why);
}

void Scheduler::note_write(uint32_t g, RootKind kind) {
  collector_.note_write(proc_of_me(), g, kind);
  note_buffers();
}

// ---- operations ----

bool Scheduler::mutators_run() const {
  return collector_.phase() == Phase::kOff || (marking() && collector_.kind().concurrent);
}

void Scheduler::execute(Actor& actor) {
  if (current_ == kCollectorActor) settle_drains();  // a barrier is behind it: nobody is in the middle of anything
  switch (actor.item.work) {
    case Work::kOperation:
      return execute_operation(actor, input_.program[actor.item.operation]);
    case Work::kFinishMarking:
      return finish_marking();
    case Work::kEndMark:
      return end_mark_now();
    case Work::kRestart:
      return restart_now();
    case Work::kDrainAll:
      return drain_all();
    case Work::kRest:
      return rest();
  }
}

void Scheduler::execute_operation(Actor& actor, Operation operation) {
  const uint32_t g = operation.goroutine().value_or(0);
  const bool marker = current_ >= kFirstMarker && current_ < kFirstDrainer;
  if (marker && !marker_here(marker_of_me())) return no_op();
  const bool mutator = current_ >= kFirstProc && current_ < kFirstMarker && operation.op() != Op::kRelease;
  if (mutator && (!mutators_run() || proc_of_me() >= pool_->params().procs || !has_thread())) return no_op();
  switch (operation.op()) {
    case Op::kSpawn:
      return do_spawn(g, stack_bytes_of(operation.arg(1)));
    case Op::kExit:
      return do_exit(g);
    case Op::kCall:
      return do_call(g, frame_bytes_of(operation.arg(1)));
    case Op::kReturn:
      return do_return(g, operation.arg(1) + 1);
    case Op::kGrow:
      if (expected(g).status != GoStatus::kRunning) return no_op();
      grow_to(g, expected(g).stack.bytes() * 2, 0);
      return;
    case Op::kShrink:
      return marker_job(operation.arg(1));
    case Op::kBlock:
      return do_block(g, static_cast<WaitKind>(operation.arg(1)));
    case Op::kWake:
      return do_wake(g);
    case Op::kSend:
      return do_send(g, operation.arg(1));
    case Op::kPush:
      return do_records(g, operation.arg(1), true);
    case Op::kPop:
      return do_records(g, operation.arg(1), false);
    case Op::kHeapAlloc:
      return do_heap_alloc(operation.arg(0), operation.arg(1) + 1, operation.arg(2) != 0);
    case Op::kHeapFree:
      return do_heap_free(operation.arg(0));
    case Op::kFlush:
      return pool_->flush_cache(proc_of_me());
    case Op::kGcBegin:
      if (collector_.phase() != Phase::kOff || model_.deferred.count > kMaxRetired - kDeferredInCycle) return no_op();
      note_cycle_in_drain();
      begin_cycle({std::min(static_cast<int>(operation.arg(0)) + 1, kMachineMarkers),
                   concurrent_ && policy_->claims.concurrent_mark});
      ++verdict_.cycles;
      return;
    case Op::kGcMark:
      return run_jobs(operation.arg(1) + 1);
    case Op::kLoad:
      return do_load(operation.arg(1), operation.arg(2));
    case Op::kResolve:
      if (collector_.resolve(marker_of_me()) == Resolved::kObject) {
        checker_.report(Invariant::kA3, "%s marked an object that is none: its pointer was into a stack",
                        kActorNames[current_].data());
      }
      note_reader(marker_of_me());
      return check(true);
    case Op::kRestart:
      return restart_now();
    case Op::kDrain:
      do_drain(operation.arg(0));
      return;
    case Op::kStatus:
      return do_status(g, operation.arg(1));
    case Op::kRelease:
      pool_->release_idle();
      return;
    case Op::kLook:
      return do_look();
    case Op::kRefuse:
      refusals_ = operation.arg(0) + 1;
      return;
    case Op::kDie:
      note_fault(Fault::kDied);
      return collector_.abandon(proc_of_me());
    case Op::kAdopt:
      return do_adopt(static_cast<Proc>(operation.arg(0)));
    default:
      STACKDRAIN_CHECK(actor.count == 0, "an operation that nobody is dealt");
  }
}

void Scheduler::do_spawn(uint32_t g, size_t bytes) {
  ModelGoroutine& owner = expected(g);
  if (owner.alive()) return no_op();
  const ModelRetired kept = retired_of(g);
  const bool gives_back = owner.stack && owner.stack.bytes() != bytes;
  const bool reuses = owner.stack && !gives_back;
  if (gives_back) {
    expect_given_back(kept, RetireWhy::kDead, true);
    owner.stack = {};
  }
  const bool spawned = goroutine(g).spawn(watched_, proc_of_me(), bytes, marking());
  if (!spawned) return no_op();
  const Stack stack = goroutine(g).stack();
  if ((reuses && stack != owner.stack) || stack.bytes() != bytes) {
    checker_.report(Invariant::kB2, "spawn g%u of %zu bytes got +0x%" PRIxPTR " of %zu", g, bytes,
                    stack.lo - pool_->arena_base(), stack.bytes());
    stop();
  }
  if (!reuses) {
    ++model_.live_stacks;
    ++model_.allocations;
    model_.live_bytes += bytes;
  }
  owner.stack = stack;
  owner.status = GoStatus::kRunning;
  ++owner.generation;
  owner.frames = 1;
  owner.frame_bytes[0] = kFrameUnit;
  owner.values[0] = 0;
  owner.used = kFrameUnit;
  owner.roots = {};
  owner.shrunk_cycle = 0;
}

void Scheduler::do_exit(uint32_t g) {
  ModelGoroutine& owner = expected(g);
  if (owner.status != GoStatus::kRunning) return no_op();
  const ModelRetired old = retired_of(g);
  owner.status = GoStatus::kDead;
  owner.frames = 0;
  owner.used = 0;
  owner.roots = {};
  if (old.stack.bytes() != kStartStack) {
    expect_given_back(old, RetireWhy::kDead, true);
    owner.stack = {};
  }
  goroutine(g).exit(watched_, proc_of_me(), marking());
}

bool Scheduler::grow_to(uint32_t g, size_t bytes, size_t frame) {
  const ModelRetired old = retired_of(g);
  const bool grown = frame != 0 ? goroutine(g).call(watched_, proc_of_me(), frame, marking())
                                : goroutine(g).grow(watched_, proc_of_me(), bytes, marking());
  if (!grown) {
    no_op();
    return false;
  }
  const Stack fresh = goroutine(g).stack();
  if (fresh.bytes() != bytes || bytes > pool_->params().max_stack_bytes) {
    checker_.report(Invariant::kD3, "g%u grew from %zu to %zu bytes, the rule says %zu and at most %zu", g,
                    old.stack.bytes(), fresh.bytes(), bytes, pool_->params().max_stack_bytes);
    stop();
  }
  expect_move(g, old, RetireWhy::kGrown);
  return true;
}

void Scheduler::do_call(uint32_t g, size_t frame) {
  ModelGoroutine& owner = expected(g);
  if (owner.status != GoStatus::kRunning || owner.frames == kMaxFrames) return no_op();
  const size_t need = owner.used + frame + pool_->params().guard_bytes;
  size_t bytes = owner.stack.bytes();
  while (bytes < need) bytes *= 2;
  if (bytes == owner.stack.bytes()) {
    goroutine(g).call(watched_, proc_of_me(), frame, marking());
  } else if (!grow_to(g, bytes, frame)) {
    return;
  }
  owner.frame_bytes[owner.frames] = static_cast<uint32_t>(frame);
  owner.values[owner.frames++] = 0;
  owner.used += static_cast<uint32_t>(frame);
}

void Scheduler::do_return(uint32_t g, uint32_t count) {
  ModelGoroutine& owner = expected(g);
  if (owner.status != GoStatus::kRunning || owner.frames == 1) return no_op();
  for (; count > 0 && owner.frames > 1; --count) {
    goroutine(g).ret();
    owner.used -= owner.frame_bytes[--owner.frames];
    for (uint32_t& root : owner.roots) root = root > owner.used ? 0 : root;
  }
}

void Scheduler::do_block(uint32_t g, WaitKind wait) {
  ModelGoroutine& owner = expected(g);
  if (owner.status != GoStatus::kRunning) return no_op();
  owner.parking = true;
  goroutine(g).block(wait);
  owner.parking = false;
  owner.status = GoStatus::kWaiting;
  const auto points_at = [&](RootKind kind, FrameWord word) {
    owner.roots[static_cast<size_t>(kind)] = owner.distance_of(word);
  };
  if (wait != WaitKind::kSleep) points_at(RootKind::kElem, FrameWord::kValue);
  if (wait == WaitKind::kSelect) points_at(RootKind::kSelectDone, FrameWord::kSelectDone);
  points_at(RootKind::kContext, FrameWord::kLink);
  for (const RootKind kind : {RootKind::kElem, RootKind::kSelectDone, RootKind::kContext}) note_write(g, kind);
}

void Scheduler::do_wake(uint32_t g) {
  if (expected(g).status != GoStatus::kWaiting || users_[g].owner != kNobody) return no_op();
  if (!goroutine(g).wake()) return no_op();
  forget_wait(expected(g));
}

// The remote write is what may race with a move, so it waits for nobody.
void Scheduler::do_send(uint32_t g, uint32_t number) {
  ModelGoroutine& owner = expected(g);
  if (owner.roots[static_cast<size_t>(RootKind::kElem)] == 0 || users_[g].owner != kNobody) return no_op();
  Actor& actor = me();
  const uint64_t value = (uint64_t{number} << 32) | (uint64_t{actor.item.operation} << 1) | 1;
  const size_t frame = owner.frames - 1;
  actor.stack_at_elem = {};
  if (!goroutine(g).send(value)) return no_op();
  owner.values[frame] = value;
  if (actor.stack_at_elem && goroutine(g).stack() != actor.stack_at_elem) {
    checker_.report(Invariant::kD6, "g%u moved from +0x%" PRIxPTR " to +0x%" PRIxPTR " while %s held its elem", g,
                    actor.stack_at_elem.lo - pool_->arena_base(), goroutine(g).stack().lo - pool_->arena_base(),
                    kActorNames[current_].data());
    stop();
  }
  if (goroutine(g).root(RootKind::kElem) == 0) forget_wait(owner);
}

void Scheduler::do_records(uint32_t g, uint32_t records, bool push) {
  ModelGoroutine& owner = expected(g);
  if (owner.status != GoStatus::kRunning) return no_op();
  constexpr RootKind kKinds[] = {RootKind::kPanic, RootKind::kDefer, RootKind::kContext};
  for (uint32_t i = 0; i < 3; ++i) {
    if (records != i && !(records == 3 && i < 2)) continue;
    uint32_t& root = owner.roots[static_cast<size_t>(kKinds[i])];
    if (push) {
      goroutine(g).push_record(kKinds[i]);
      root = owner.distance_of(kKinds[i] == RootKind::kContext ? FrameWord::kLink : FrameWord::kSlot);
      note_write(g, kKinds[i]);
    } else {
      goroutine(g).pop_record(kKinds[i]);
      root = 0;
    }
  }
}

// In one go: who runs the goroutine changes it as a casgstatus would, and a copier that is about to claim it must find
// one or the other.
void Scheduler::do_status(uint32_t g, uint32_t which) {
  struct Change {
    GoStatus from;
    GoStatus to;
  };
  constexpr Change kChanges[] = {{GoStatus::kSyscall, GoStatus::kRunning},
                                 {GoStatus::kRunning, GoStatus::kSyscall},
                                 {GoStatus::kWaiting, GoStatus::kParking},
                                 {GoStatus::kParking, GoStatus::kWaiting}};
  const Change change = kChanges[which];
  if (expected(g).status != change.from || claimed_by_job(g) || users_[g].waker != kNobody) return no_op();
  quiet_ = true;
  goroutine(g).set_status(change.to);
  expected(g).status = change.to;
  quiet_ = false;
}

void Scheduler::do_heap_alloc(uint32_t slot, uint32_t pages, bool zeroed) {
  if (model_.heap[slot] != 0) return no_op();
  const uintptr_t base = pool_->allocate_heap(pages, zeroed);
  if (base == 0) return no_op();
  const Location at = pool_->locate(base);
  if (at.state != SpanState::kInUse || at.base != base || at.pages != pages) {
    checker_.report(Invariant::kA7, "heap span +0x%" PRIxPTR ": %u pages %s, asked for %u", base - pool_->arena_base(),
                    at.pages, kSpanStateNames[static_cast<size_t>(at.state)].data(), pages);
    stop();
  }
  model_.heap[slot] = base;
  model_.heap_pages[slot] = pages;
}

void Scheduler::do_heap_free(uint32_t slot) {
  if (collector_.phase() != Phase::kOff || model_.heap[slot] == 0) return no_op();
  pool_->free_heap(std::exchange(model_.heap[slot], 0));
}

void Scheduler::do_load(uint32_t g, uint32_t kind) {
  if (kind >= kRootKinds || !collector_.load(marker_of_me(), g, static_cast<RootKind>(kind))) return no_op();
  note_reader(marker_of_me());
  const Held& held = collector_.held(marker_of_me());
  if (held.at_load.state == SpanState::kStack) return;
  checker_.report(Invariant::kA3, "%s LOADed %s of g%u: +0x%" PRIxPTR " lies in a %s span",
                  kActorNames[current_].data(), kRootNames[kind].data(), g, held.pointer - pool_->arena_base(),
                  kSpanStateNames[static_cast<size_t>(held.at_load.state)].data());
  stop();
}

void Scheduler::do_look() {
  const auto hides = [](const Actor& actor) { return actor.store_count != 0; };
  if (std::any_of(fibers_.begin(), fibers_.end(), hides)) count_state(kLookedPastStores);
  quiet_ = true;
  checker_.check_published();
  check(true);
  quiet_ = false;
}

void Scheduler::do_adopt(Proc proc) {
  if (!mutators_run() || proc >= pool_->params().procs) return no_op();
  me().adopts = true;
  const bool adopted = collector_.adopt(proc);
  me().adopts = false;
  note_buffers();
  if (!adopted) no_op();
}

// ---- the collector ----

void Scheduler::note_cycle_in_drain() {
  quiet_ = true;
  const bool half_done = std::exchange(drained_a_part_, false) && pool_->drain_pending();
  quiet_ = false;
  if (half_done) note_fault(Fault::kCycleInDrain);
}

void Scheduler::begin_cycle(CycleKind kind) {
  model_.shrunk.clear();
  collector_.begin(kind);
  for (int marker = 0; marker < kMachineMarkers; ++marker) note_reader(marker);
  note_buffers();
  quiet_ = true;
  checker_.note_mark_began(pool_->stats().spans_released);
  check(checker_.check_step(false));
  quiet_ = false;
}

// Until nobody runs it: it is at a safepoint, or waits.
void Scheduler::wait_for_goroutine(uint32_t g) {
  Actor& actor = me();
  while (!goroutine_free_for_job(g)) {
    actor.state = State::kWaitsForGoroutine;
    actor.waits_goroutine = g;
    quiet_ = true;
    go_on();
    quiet_ = false;
  }
  actor.state = State::kReady;
}

// One goroutine's root job, against what the rule says must come of it.
void Scheduler::marker_job(uint32_t g) {
  Actor& actor = me();
  wait_for_goroutine(g);
  actor.job = static_cast<int>(g);
  actor.claims = 0;
  ++users_[g].jobs;
  races_.acquire(current_, races_.clock_of(&users_[g]));
  ModelGoroutine& owner = expected(g);
  const bool dead = !owner.alive();
  const bool had_stack = static_cast<bool>(owner.stack);
  actor.moved_parking = false;
  see_job(actor, g);
  const JobResult job = collector_.run_goroutine_job(marker_of_me(), g);
  show_all(actor);
  races_.release(current_, races_.clock_of(&users_[g]), true);
  actor.job = -1;
  --users_[g].jobs;
  const ModelRetired old = actor.claimed_stack;
  const size_t bytes = old.stack.bytes();
  const size_t counted = actor.claimed_used;
  if (dead && had_stack && job.claimed) {
    expect_given_back(old, RetireWhy::kDead);
    owner.stack = {};
  }
  if (!dead && job.claimed && job.shrink == ShrinkResult::kShrunk) {
    ++verdict_.shrinks;
    const Stack fresh = goroutine(g).stack();
    const bool movable =
        !actor.moved_parking && (actor.claimed_from == GoStatus::kRunning || actor.claimed_from == GoStatus::kWaiting);
    if (owner.shrunk_cycle == collector_.cycle()) {
      checker_.report(Invariant::kD9, "g%u was halved twice in cycle %u", g, collector_.cycle());
    } else if (fresh.bytes() * 2 != bytes || fresh.bytes() < kMinStackBytes || counted >= bytes / 4) {
      checker_.report(Invariant::kD3, "g%u shrank from %zu to %zu bytes with %zu counted as used", g, bytes,
                      fresh.bytes(), counted);
    } else if (!movable) {
      checker_.report(
          Invariant::kD10, "g%u was moved by %s while %s", g, kActorNames[current_].data(),
          actor.moved_parking ? "it parked" : kGoStatusNames[static_cast<size_t>(actor.claimed_from)].data());
    }
    check(true);
    owner.shrunk_cycle = collector_.cycle();
    if (fresh.hi == old.stack.hi) {  // where it is: nothing was given up that anybody could point into
      owner.stack = fresh;
      model_.live_bytes -= fresh.bytes();
    } else {
      expect_move(g, old, RetireWhy::kShrunk);
    }
  }
  quiet_ = true;
  check_goroutine_at_rest(g);
  check(true);
  quiet_ = false;
}

void Scheduler::run_jobs(uint32_t most) {
  for (uint32_t n = most; n > 0 && collector_.jobs_left(); --n) {
    quiet_ = true;
    const uint32_t job = collector_.next_job();
    if (job >= kFixedJobs) collector_.skip_job();
    quiet_ = false;
    in_one_go_ = job < kFixedJobs;  // looking at the next job, and taking it
    if (job >= kFixedJobs) {
      marker_job(job - kFixedJobs);
      continue;
    }
    if (collector_.run_next_job(marker_of_me()).flushed) checker_.note_flushed(true);
    me().flushes = false;
  }
}

void Scheduler::finish_marking() {
  if (!marker_here(marker_of_me())) return;
  run_jobs(UINT32_MAX);
  collector_.resolve(marker_of_me());
  note_reader(marker_of_me());
}

void Scheduler::end_mark_now() {
  if (!marking()) return;
  quiet_ = true;
  if (policy_->claims.frees_after_grace) check(checker_.settle_graces(model_, false));
  check(checker_.check_step(false) && checker_.check_mark_ended());
  const uint64_t pages = pool_->stats().stack_bytes >> kPageShift;
  quiet_ = false;
  const uint64_t work = work_so_far();
  collector_.end_mark();
  check(checker_.check_pause(work_so_far() - work, model_.deferred.count, pages));
  note_buffers();
  for (size_t i = 0; i < model_.deferred.count; ++i) model_.deferred.items[i].handed_off = true;
  quiet_ = true;
  if (policy_->claims.empties_in_pause) {
    model_.deferred.clear();
    check(checker_.check_quiescent(false));
  }
  check(checker_.check_step(false));
  quiet_ = false;
}

void Scheduler::restart_now() {
  if (collector_.phase() != Phase::kMarked) return no_op();
  checker_.note_flushed(false);
  collector_.restart();
}

// The stacks, or spans, freed.
size_t Scheduler::do_drain(size_t budget) {
  if (collector_.phase() != Phase::kOff || !pool_->drain_pending()) {
    no_op();
    return 0;
  }
  Actor& actor = me();
  actor.drains = true;
  actor.drain_step_over = false;
  actor.budget = budget;
  ++drains_running_;
  const size_t freed = pool_->drain_step(budget);
  actor.drains = false;
  if (budget != 0 && policy_->claims.defers_shrunk && freed > budget) {
    checker_.report(Invariant::kC8, "a drain step of %s with a budget of %zu freed %zu stacks",
                    kActorNames[current_].data(), budget, freed);
    stop();
  }
  drained_ += freed;
  drained_a_part_ = drained_a_part_ || freed != 0;
  --drains_running_;
  settle_drains();
  return freed;
}

// What was freed is what left the deferred set: when no drainer has anything in hand, and nobody is in the middle of an
// operation, because a cache that is being flushed can't be walked.
void Scheduler::settle_drains() {
  if (!policy_->claims.defers_shrunk) drained_ = 0;
  const auto busy = [this](size_t i) { return i != current_ && fibers_[i].state != State::kIdle; };
  bool anybody = drained_ == 0 || drains_running_ != 0;
  for (size_t i = 0; i < kActors; ++i) anybody = anybody || busy(i);
  if (anybody) return;
  quiet_ = true;
  const size_t freed = std::exchange(drained_, 0);
  check(checker_.settle_drained(model_, freed));
  quiet_ = false;
}

// Two drainers do this at once. One that has nothing to do, because the other has the last of it in hand, is through.
void Scheduler::drain_all() {
  for (size_t steps = 0; pool_->drain_pending(); ++steps) {
    if (steps > kMaxRetired + 1) {
      checker_.report(Invariant::kF4, "the drain does not end after %zu steps", steps);
      stop();
    }
    if (do_drain(0) == 0 && drains_running_ != 0) return;
  }
}

// Nothing is under way, nothing is deferred.
void Scheduler::rest() {
  quiet_ = true;
  check(checker_.check_quiescent(false));
  if (me().item.operation == length_) kill_all();
  quiet_ = false;
}

// Everything dies, through the front door; nothing may be left (E6).
void Scheduler::kill_all() {
  for (Proc proc = 0; proc < pool_->params().procs; ++proc) collector_.adopt(proc);
  for (uint32_t g = 0; g < kGoroutines; ++g) {
    ModelGoroutine& owner = expected(g);
    if (!owner.alive()) continue;
    const bool waits = owner.status == GoStatus::kParking || owner.status == GoStatus::kWaiting;
    goroutine(g).set_status(waits ? GoStatus::kWaiting : GoStatus::kRunning);
    if (waits) goroutine(g).wake();
    const ModelRetired old = retired_of(g);
    owner.status = GoStatus::kDead;
    owner.frames = 0;
    owner.used = 0;
    owner.roots = {};
    if (old.stack.bytes() != kStartStack) {
      expect_given_back(old, RetireWhy::kDead);
      owner.stack = {};
    }
    goroutine(g).exit(*pool_, 0, false);
  }
  for (uintptr_t& base : model_.heap) {
    if (base != 0) pool_->free_heap(std::exchange(base, 0));
  }
  model_.shrunk.clear();
  collector_.begin({1, false});
  for (uint32_t g = 0; g < kGoroutines; ++g) {
    if (!expected(g).stack) continue;
    const ModelRetired old = retired_of(g);
    collector_.run_goroutine_job(0, g);
    expect_given_back(old, RetireWhy::kDead);
    expected(g).stack = {};
  }
  collector_.end_mark();
  collector_.restart();
  for (size_t steps = 0; pool_->drain_pending(); ++steps) {
    if (steps > kMaxRetired + 1) {
      checker_.report(Invariant::kF4, "the drain does not end after %zu steps", steps);
      return;
    }
    pool_->drain_step(0);
  }
  model_.deferred.clear();
  for (Proc proc = 0; proc < pool_->params().procs; ++proc) pool_->flush_cache(proc);
  if (policy_->claims.keeps_reserve) pass_idle_cycles(*pool_);
  check(checker_.check_quiescent(true));
}

}  // namespace stackdrain
