#include "fuzz/machine.h"

#include <algorithm>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <iterator>
#include <utility>

#include "target/defects.h"

namespace stackdrain {
namespace {

constexpr const char* kStopped = "the world is stopped";
constexpr const char* kNoMark = "no mark runs";
constexpr const char* kBusy = "it is busy in the operation around this one";
constexpr const char* kTaken = "a sender has its record already, and wakes it";
constexpr const char* kNoThread = "its processor's thread is gone";
constexpr const char* kNoProcessor = "there is no such processor";
constexpr const char* kNeedsStop = "can't stop the world inside an operation";

// A walk is due when kWalkEvery operations changed the pool since the last, and as many as an eighth of the spans and
// slots that there are to walk: no world spends most of its time on walks. What one comes too late for an earlier
// operation, a run of the tool sees there: it walks after each.
constexpr size_t kWalkedForOne = 8;
constexpr size_t kWalkEvery = 12;
// Tries to claim a goroutine that are enough: a try fails only when something ran in between, and that is once (F4).
constexpr int kMaxClaims = 16;

constexpr const char* name_of(bool value) {
  return value ? "true" : "false";
}
// As they are called in C++, for who is told of calls.
constexpr std::array kWaitNames = {"kReceive", "kSelect", "kSend", "kSleep"};
constexpr std::array kRecordNames = {"kElem", "kSelectDone", "kPanic", "kDefer", "kContext"};
constexpr std::array kStatusNames = {"kDead", "kRunning", "kWaiting", "kSyscall", "kParking", "kCopying"};
static_assert(kRecordNames.size() == kRootKinds && kStatusNames.size() == std::size(kGoStatusNames));

}  // namespace

Machine::Machine() : collector_(*(choose_pool(policies()[0]), pool_), goroutines_) {}

void Machine::choose_pool(const PolicyRow& policy) {
  const size_t row = static_cast<size_t>(&policy - policies().data());
  Slot& slot = slots_[row];
  if (slot.pool == nullptr) {
    slot.arena = std::make_unique<Arena>(kArenaBytes);
    slot.pool = policy.make(*slot.arena);
  }
  slot.used = true;
  pool_ = slot.pool.get();
  policy_ = &policy;
}

void Machine::put_away() {
  for (Slot& slot : slots_) {
    if (slot.used) slot.pool->reset(default_world(concurrent_));
    slot.used = false;
  }
}

void Machine::reset(ProgramView program, const PolicyRow& policy) {
  choose_pool(policy);
  program_ = program;
  length_ = std::min(program.size(), kMaxOperations);
  const bool says = length_ > 0 && !program[0].reserved() && program[0].op() == Op::kWorld;
  params_ = says ? world_params(program[0], concurrent_) : default_world(concurrent_);
  pool_->reset(params_);
  for (uint32_t g = 0; g < kGoroutines; ++g) goroutines_[g].reset(g);
  collector_.reset(*pool_);
  collector_.set_heap_roots(model_.heap);
  model_.reset();
  if (policy.claims.pools_as_go) model_.demand.begin(params_.orders);
  if (policy.claims.keeps_shelves) model_.demand.keep_shelves(params_);
  checker_.reset({pool_, &collector_, goroutines_, &model_, policy.claims});
  checker_.check_fresh(params_);
  verdict_ = {};
  verdict_.operations = length_;
  index_ = next_ = armed_count_ = 0;
  proc_ = 0;
  last_done_ = {};
  host_ = {};
  nested_ = armed_ = live_hook_ = stopping_ = false;
  claim_ = {};
  retired_ = {};
  retires_ = 0;
  job_over_ = false;
  refusals_ = 0;
  refused_ = false;
  since_walk_ = 0;
  points_reached_ = 0;
  watch_ = watch_always_;
  alternatives_ = nullptr;
  locks_.reset();
}

const Verdict& Machine::run(ProgramView program, const PolicyRow& policy, MachineObserver* observer) {
  observer_ = observer;
  reset(program, policy);
  running_ = true;
#if STACKDRAIN_YIELDS
  yield_hook = this;
  lock_hook = &locks_;
#endif
  run_all();
#if STACKDRAIN_YIELDS
  yield_hook = nullptr;
  lock_hook = nullptr;
#endif
  running_ = false;
  verdict_.violated = checker_.failed();
  if (verdict_.violated) {
    verdict_.violation = checker_.violation();
    verdict_.index = index_;
  }
  return verdict_;
}

void Machine::run_all() {
  while (next_ < length_ && !checker_.failed() && !model_.deferred.full() && !model_.shrunk.full()) {
    run_next();
  }
  if (checker_.failed()) return;
  if (next_ < length_) starve();  // the model is full
  index_ = outer_index_ = length_;
  nested_ = false;
  finish();
  check_locks();
}

// The next operation, and what runs inside it.
void Machine::run_next() {
  index_ = outer_index_ = next_++;
  const bool host = armed_;
  const size_t nested_end = std::min(length_, next_ + armed_count_);
  armed_ = false;
  refused_ = false;
  live_hook_ = host;
  checker_.note_overlap(false);
  run_one(index_);
  live_hook_ = false;
  if (host && armed_count_ == 0) next_ = std::max(next_, nested_end);  // they ran inside
}

void Machine::run_one(size_t index) {
  const Operation operation = program_[index];
  if (observer_ != nullptr) outcome_.story[0] = 0;
  bool held = false;
  bool held_of_it = false;
  if (state_counters_ != nullptr) held_pointers(operation, held, held_of_it);
  outcome_.no_op = operation.reserved() ? "a reserved code" : execute(operation);
  if (!nested_ && model_.demand.refilled()) settle_refill();
  if (state_counters_ != nullptr) count_state(operation, held, held_of_it);
  if (outcome_.no_op != nullptr) ++verdict_.no_ops;
  const bool calls_pool = pool_use(operation.op()) == PoolUse::kCalls;
  if (outcome_.no_op == nullptr && calls_pool) settle_graces();
  const bool changed = outcome_.no_op == nullptr && (calls_pool || checker_.overlap());
  if (watch_ == Watch::kEverything ? outcome_.no_op == nullptr : changed && watch_ != Watch::kNothing) {
    check_after(watch_ == Watch::kEverything);
  }
  if (observer_ != nullptr) observer_->operation(index, operation, nested_, outcome_);
}

// Does any marker hold a pointer, and one into the goroutine that the operation names?
void Machine::held_pointers(Operation operation, bool& any, bool& of_it) const {
  if (!marking()) return;
  const std::optional<uint32_t> g = operation.goroutine();
  for (int marker = 0; marker < collector_.kind().markers; ++marker) {
    const Held& held = collector_.held(marker);
    if (held.pointer == 0) continue;
    any = true;
    of_it = of_it || (g.has_value() && held.goroutine == *g);
  }
}

void Machine::count_state(Operation operation, bool held, bool held_of_it) {
  size_t at = operation.code;
  at = at * 2 + (outcome_.no_op == nullptr ? 1 : 0);
  at = at * 4 + static_cast<size_t>(collector_.phase());
  at = at * 2 + (held ? 1 : 0);
  at = at * 2 + (held_of_it ? 1 : 0);
  at = at * 2 + (model_.deferred.count != 0 ? 1 : 0);
  state_counters_[at] = 1;
  if (outcome_.no_op != nullptr) return;
  if (nested_) state_counters_[kStates + kPairs + static_cast<size_t>(armed_point_) * kCodes + operation.code] = 1;
  const std::optional<uint32_t> g = operation.goroutine();
  if (!g.has_value()) return;
  const size_t pair = size_t{last_done_[*g]} * kCodes + operation.code;
  state_counters_[kStates + pair * 4 + static_cast<size_t>(collector_.phase())] = 1;
  last_done_[*g] = operation.code;
}

// Reached by the host: the armed operations run here, once.
void Machine::at(Yield point) {
  if (!nested_) points_reached_ |= uint32_t{1} << static_cast<uint32_t>(point);
  if (observer_ != nullptr) observer_->reached(point, nested_);
  if (point == Yield::kClaim && ++claim_.tries > kMaxClaims) {
    checker_.report(Invariant::kF4, "a copier tries for the %dth time to claim one goroutine", claim_.tries);
  }
  if (point == Yield::kCacheRelease) checker_.note_cache_release();
  if (point == Yield::kRetire) retired_ = {++retires_, model_.moment};
  if (point == Yield::kHandOff && !nested_) model_.no_job_runs();  // who frees what is out of its grace is through
  if (host_.drains && point == Yield::kHandOff) checker_.check_not_over(freed_inside_);
  if (!live_hook_ || nested_ || point != armed_point_ || checker_.failed()) return;
  live_hook_ = false;
  run_nested();
  if (point == Yield::kClaim && host_.goroutine >= 0) see_claimed(static_cast<uint32_t>(host_.goroutine));
}

// How `g` is when it is claimed: until then others may have run it.
void Machine::see_claimed(uint32_t g) {
  ModelGoroutine& owner = expected(g);
  claim_.from = owner.status;
  claim_.old = retired_of(g);
  claim_.counted = owner.counted(params_);
  owner.in_move = true;
}

void Machine::run_nested() {
  const Outcome host_outcome = outcome_;
  const Claim host_claim = claim_;
  const Moment host_retired = retired_;
  const bool host_job_over = job_over_;
  const size_t host_index = index_;
  const Op host_site = verdict_.site;
  const uint64_t host_hold = locks_.longest_hold();  // how long others hold a lock is not the host's doing
  const size_t first = index_ + 1;
  const size_t end = std::min(length_, first + armed_count_);
  nested_ = true;
  // Where a lock is held only what takes none runs, so nothing leaves, and nobody may ask.
  const uint64_t host_released = inside_lock() ? 0 : pool_->stats().spans_released;
  checker_.check_step(true);
  for (size_t i = first; i < end && !checker_.failed(); ++i) {
    index_ = i;
    do {
      run_one(i);
    } while (alternatives_ != nullptr && outcome_.no_op != nullptr && alternatives_->next(i));
    if (outcome_.no_op != nullptr) continue;
    checker_.note_overlap(true);
    model_.reserve_known = false;
    model_.demand.overlapped();
  }
  // By who finds the arena exhausted, too.
  if (!inside_lock()) released_inside_ += pool_->stats().spans_released - host_released;
  nested_ = false;
  if (!checker_.failed()) {
    index_ = host_index;
    verdict_.site = host_site;
  }
  armed_count_ = 0;
  outcome_ = host_outcome;
  claim_ = host_claim;
  retired_ = host_retired;
  job_over_ = host_job_over;
  locks_.forget_holds(host_hold);
}

bool Machine::maps() {
  if (refusals_ == 0) return true;
  --refusals_;
  refused_ = true;
  return false;
}

bool Machine::check_locks() {
  if (!locks_.has_cycle()) return true;
  if (locks_.from() == locks_.to()) {
    return checker_.report(Invariant::kF1, "lock %zu is taken by the thread that holds it", locks_.to());
  }
  return checker_.report(Invariant::kF1, "lock %zu is taken under lock %zu, and before it went before it", locks_.to(),
                         locks_.from());
}

bool Machine::check_after(bool walk) {
  if (!check_locks()) return false;
  if (!checker_.check_step(nested_) || nested_) return !checker_.failed();
  if (!walk && ++since_walk_ < std::max(kWalkEvery, checker_.walk_size() / kWalkedForOne)) return true;
  since_walk_ = 0;
  return checker_.check_walk_after_step();
}

void Machine::note(const char* format, ...) {
  if (observer_ == nullptr || !observer_->wants_story()) return;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(outcome_.story.data(), outcome_.story.size(), format, arguments);
  va_end(arguments);
}

void Machine::call(Op site, const char* format, ...) {
  if (!checker_.failed()) verdict_.site = site;
  if (observer_ == nullptr || !observer_->wants_calls()) return;
  std::array<char, 160> text;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text.data(), text.size(), format, arguments);
  va_end(arguments);
  observer_->calls(text.data(), nested_);
}

void Machine::note_write(uint32_t g, RootKind kind) {
  if (marking()) {
    call(verdict_.site, "collector.note_write(%d, %u, RootKind::%s);", proc_, g,
         kRecordNames[static_cast<size_t>(kind)]);
  }
  const bool asks = marking() && collector_.kind().concurrent;
  const bool buffers = asks && goroutine(g).root(kind) != 0;
  const size_t before = collector_.buffered(proc_).size();
  if (buffers) ++model_.pointers;
  collector_.note_write(proc_, g, kind);
  note_buffer(proc_);
  const size_t after = collector_.buffered(proc_).size();
  const size_t kept =
      asks && before == Collector::kBufferedWrites ? 0 : before;  // a full one is judged before the word is read
  if (after == kept + (buffers ? 1 : 0)) return;
  checker_.report(Invariant::kA3, "the write buffer of p%d held %zu pointers and, %s, %zu", proc_, before,
                  buffers ? "one more being written" : "nothing to be kept", after);
}

bool Machine::mutators_run() const {
  if (stopping_) return false;
  return collector_.phase() == Phase::kOff || (marking() && collector_.kind().concurrent);
}

// Inside a marker's job on `g`, before the goroutine is claimed: it can still be woken, and run.
bool Machine::before_claim(uint32_t g) const {
  return nested_ && armed_point_ == Yield::kClaim && host_.marker >= 0 && host_.goroutine == static_cast<int>(g);
}

// Why an operation of a mutator on `g` can't happen now, or nullptr.
const char* Machine::mutator_refusal(uint32_t g) const {
  if (!mutators_run()) return kStopped;
  if (!collector_.has_thread(proc_)) return kNoThread;
  if (nested_ && host_.proc == proc_) return kBusy;
  if (nested_ && host_.goroutine == static_cast<int>(g) && !before_claim(g)) return kBusy;
  return nullptr;
}

const char* Machine::marker_refusal(uint32_t marker) const {
  if (!marking()) return kNoMark;
  if (static_cast<int>(marker) >= collector_.kind().markers) return "there is no such marker in this cycle";
  if (nested_ && host_.marker == static_cast<int>(marker)) return kBusy;
  return nullptr;
}

const char* Machine::execute(Operation operation) {
  const Host outer = host_;
  retired_ = {++retires_, model_.moment};
  job_over_ = false;
  verdict_.site = operation.op();
  if (!nested_) host_ = {};
  const char* refusal = nullptr;
  if (inside_lock() && pool_use(operation.op()) != PoolUse::kNoLock)
    return "a lock is held there: it would wait for ever";
  switch (operation.op()) {
    case Op::kNop:
      break;
    case Op::kWorld:
      refusal = index_ == 0 ? nullptr : "the world is made by the first operation only";
      break;
    case Op::kSpawn:
      refusal = do_spawn(operation);
      break;
    case Op::kExit:
      refusal = do_exit(operation);
      break;
    case Op::kCall:
      refusal = do_call(operation);
      break;
    case Op::kReturn:
      refusal = do_return(operation);
      break;
    case Op::kGrow:
      refusal = do_grow(operation);
      break;
    case Op::kShrink:
      refusal = do_shrink(operation);
      break;
    case Op::kBlock:
      refusal = do_block(operation);
      break;
    case Op::kWake:
      refusal = do_wake(operation);
      break;
    case Op::kSend:
      refusal = do_send(operation);
      break;
    case Op::kPush:
      refusal = do_push(operation, true);
      break;
    case Op::kPop:
      refusal = do_push(operation, false);
      break;
    case Op::kHeapAlloc:
      refusal = do_heap_alloc(operation);
      break;
    case Op::kHeapFree:
      refusal = do_heap_free(operation);
      break;
    case Op::kSetProc:
      refusal = do_proc(operation);
      break;
    case Op::kFlush:
      refusal = do_flush(operation);
      break;
    case Op::kGcBegin:
      refusal = do_gc_begin(operation);
      break;
    case Op::kGcMark:
      refusal = do_gc_mark(operation);
      break;
    case Op::kLoad:
      refusal = do_load(operation);
      break;
    case Op::kResolve:
      refusal = do_resolve(operation);
      break;
    case Op::kGcEnd:
      refusal = do_gc_end();
      break;
    case Op::kRestart:
      refusal = do_restart();
      break;
    case Op::kDrain:
      refusal = do_drain(operation.arg(0));
      break;
    case Op::kAt:
      refusal = do_at(operation);
      break;
    case Op::kInside:
      refusal = do_inside(operation.arg(0), operation.arg(1));
      break;
    case Op::kLook:
      refusal = do_look();
      break;
    case Op::kHelp:
      refusal = do_help(operation.arg(0));
      break;
    case Op::kStatus:
      refusal = do_status(operation);
      break;
    case Op::kRelease:
      refusal = do_release();
      break;
    case Op::kRefuse:
    case Op::kDie:
    case Op::kAdopt:
      refusal = do_fault(operation);
      break;
    case Op::kQuiesce:
      refusal = do_quiesce();
      break;
  }
  host_ = outer;
  return refusal;
}

// ---- what the policy must do with a stack that is given up ----

bool Machine::defers(RetireWhy why) const {
  return policy_->claims.defers_shrunk && marking() && (why == RetireWhy::kShrunk || collector_.kind().concurrent);
}

ModelRetired Machine::retired_of(uint32_t g) const {
  const ModelGoroutine& owner = model_.goroutines[g];
  return {owner.stack, pool_->locate(owner.stack.lo), g, owner.generation, 0};
}

// Says what must become of a stack that the pool gives up; `coming`: it is about to.
void Machine::expect_given_back(ModelRetired retired, RetireWhy why, Proc proc, bool coming) {
  retired.serial = retired_.serial;
  retired.at = retired_.at;
  retired.coming = coming;
  const bool kept = reserves() && marking() && model_.large(retired.stack, retired.span);
  const bool past_caches = marking() && policy_->claims.retires_past_caches;
  --model_.live_stacks;
  model_.live_bytes -= retired.stack.bytes();
  if (!defers(why) && !kept) model_.demand.freed(past_caches ? kNoProc : proc, retired.stack.bytes());
  if (marking() && why == RetireWhy::kShrunk) model_.shrunk.add(retired);
  if (defers(why) && !model_.deferred.full()) model_.deferred.add(retired);
  if (kept) ++model_.reserve_of(retired.stack);
}

// What g was about to give up is given up.
void Machine::given_back(uint32_t g) {
  for (size_t i = 0; i < model_.deferred.count; ++i) {
    ModelRetired& retired = model_.deferred.items[i];
    if (!retired.coming || retired.goroutine != g) continue;
    retired.serial = retired_.serial;
    retired.at = retired_.at;
    retired.coming = false;
  }
}

// For a policy that frees while the mark runs. Where a lock is held nothing is freed, and a walk would wait for it.
bool Machine::settle_graces() {
  if (!policy_->claims.frees_after_grace || !marking() || inside_lock()) return !checker_.failed();
  const bool job_over = std::exchange(job_over_, false) && !nested_ && !checker_.overlap();
  return model_.deferred.count == 0 || checker_.settle_graces(model_, job_over);
}

bool Machine::reserves() const {
  return policy_->claims.keeps_empty_spans && !policy_->claims.defers_shrunk;
}

// A stack came from the pool; a large one from the reserve, if that has one of its size.
void Machine::expect_allocated(Stack stack, Proc proc) {
  ++model_.live_stacks;
  ++model_.allocations;
  model_.live_bytes += stack.bytes();
  const bool reused = reserves() && stack.bytes() >= kPageBytes && model_.reserve_of(stack) != 0 &&
                      model_.large(stack, pool_->locate(stack.lo));
  if (reused) --model_.reserve_of(stack);
  model_.demand.allocated(proc, stack.bytes(), reused);
}

// An exhausted arena fills a cache as far as it goes.
void Machine::settle_refill() {
  const uint64_t expected = model_.demand.cached_bytes();
  const uint64_t cached = pool_->stats().cached_bytes;
  const bool exhausted = refused_ || pool_->arena_mapped() == size_t{params_.arena_pages} << kPageShift;
  model_.demand.settle(exhausted && cached < expected ? expected - cached : 0);
}

void Machine::expect_flushed() {
  for (Proc proc = 0; proc < params_.procs; ++proc) model_.demand.flushed(proc);
}

// A stack of so many bytes was refused for want of memory.
void Machine::refuse(size_t bytes) {
  starve();
  const int order = order_of(bytes);
  const bool small = order < params_.orders;
  checker_.check_refused(small ? kPoolSpanPages : pages_for(bytes), small ? order : kLargeOrder, refused_);
}

// `old`: taken before the move, because afterwards its span may be anything.
void Machine::expect_move(uint32_t g, ModelRetired old, RetireWhy why, Proc proc) {
  ModelGoroutine& owner = expected(g);
  const Stack fresh = goroutine(g).stack();
  old.used = owner.used;
  owner.stack = fresh;
  expect_allocated(fresh, proc);
  expect_given_back(old, why, proc);
}

// ---- mutators ----

const char* Machine::do_spawn(Operation operation) {
  const uint32_t g = operation.arg(0);
  if (const char* refusal = mutator_refusal(g)) return refusal;
  if (expected(g).alive()) return "it lives already";
  const size_t bytes = stack_bytes_of(operation.arg(1));
  if (!nested_) host_ = {proc_, -1, static_cast<int>(g)};
  ModelGoroutine& owner = expected(g);
  const bool gives_back = owner.stack && owner.stack.bytes() != bytes;
  const bool reuses = owner.stack && !gives_back;
  if (gives_back) {
    expect_given_back(retired_of(g), RetireWhy::kDead, proc_, true);
    owner.stack = {};
  }
  owner.in_move = true;
  const Proc proc = proc_;
  call(Op::kSpawn, "go[%u].spawn(pool, %d, %zu, %s);", g, proc, bytes, name_of(marking()));
  const bool spawned = goroutine(g).spawn(*pool_, proc, bytes, marking());
  given_back(g);
  owner.in_move = false;
  if (!spawned) refuse(bytes);
  if (!spawned && !gives_back) return "the arena is exhausted";
  if (!spawned) {
    note("g%u gave its stack back, and the arena is exhausted", g);
    return nullptr;
  }
  const Stack stack = goroutine(g).stack();
  if (reuses && stack != owner.stack) checker_.report(Invariant::kB2, "g%u did not reuse the stack it kept", g);
  if (stack.bytes() != bytes) {
    checker_.report(Invariant::kB2, "spawn g%u got %zu bytes, not %zu", g, stack.bytes(), bytes);
  }
  if (!reuses) expect_allocated(stack, proc);
  owner.stack = stack;
  owner.status = GoStatus::kRunning;
  ++owner.generation;
  owner.frames = 1;
  owner.frame_bytes[0] = kFrameUnit;
  owner.values[0] = 0;
  owner.used = kFrameUnit;
  owner.roots = {};
  owner.shrunk_cycle = 0;
  checker_.check_goroutine(g);
  note("g%u lives on +0x%" PRIxPTR " (%zu bytes)%s", g, stack.lo - pool_->arena_base(), bytes,
       reuses ? ", reused" : "");
  return nullptr;
}

void Machine::expect_exit(uint32_t g, Proc proc) {
  ModelGoroutine& owner = expected(g);
  owner.status = GoStatus::kDead;
  owner.frames = 0;
  owner.used = 0;
  owner.roots = {};
  if (owner.stack.bytes() == kStartStack) return;
  expect_given_back(retired_of(g), RetireWhy::kDead, proc, true);
  owner.stack = {};
}

const char* Machine::do_exit(Operation operation) {
  const uint32_t g = operation.arg(0);
  if (const char* refusal = mutator_refusal(g)) return refusal;
  if (expected(g).status != GoStatus::kRunning) return "it doesn't run";
  if (!nested_) host_ = {proc_, -1, static_cast<int>(g)};
  expect_exit(g, proc_);
  expected(g).in_move = true;
  call(Op::kExit, "go[%u].exit(pool, %d, %s);", g, proc_, name_of(marking()));
  goroutine(g).exit(*pool_, proc_, marking());
  given_back(g);
  expected(g).in_move = false;
  check_touched(g);
  return nullptr;
}

// Grows `g` to at least new_bytes, for a frame of frame_bytes (0: grow alone); false if it must not or can't.
bool Machine::grow_to(uint32_t g, size_t new_bytes, size_t frame_bytes) {
  ModelGoroutine& owner = expected(g);
  if (!nested_) host_ = {proc_, -1, static_cast<int>(g)};
  const ModelRetired old = retired_of(g);
  claim_ = {0, owner.status, old, 0};
  owner.in_move = true;
  const Proc proc = proc_;
  call(Op::kGrow, "go[%u].%s(pool, %d, %zu, %s);", g, frame_bytes != 0 ? "call" : "grow", proc,
       frame_bytes != 0 ? frame_bytes : new_bytes, name_of(marking()));
  const bool grown = frame_bytes != 0 ? goroutine(g).call(*pool_, proc, frame_bytes, marking())
                                      : goroutine(g).grow(*pool_, proc, new_bytes, marking());
  owner.in_move = false;
  if (checker_.failed()) return false;
  const Stack fresh = goroutine(g).stack();
  if (grown && new_bytes > params_.max_stack_bytes) {
    checker_.report(Invariant::kD3, "g%u grew beyond the maximum of %zu bytes, to %zu", g, params_.max_stack_bytes,
                    new_bytes);
  }
  if (grown && fresh.bytes() != new_bytes) {
    checker_.report(Invariant::kD3, "g%u grew from %zu to %zu bytes, the rule says %zu", g, old.stack.bytes(),
                    fresh.bytes(), new_bytes);
  }
  if (grown) expect_move(g, old, RetireWhy::kGrown, proc);
  if (!grown && new_bytes <= params_.max_stack_bytes) refuse(new_bytes);
  if (!grown) checker_.check_goroutine(g);
  note("g%u %s from %zu to %zu bytes", g, grown ? "grew" : "could not grow", old.stack.bytes(), new_bytes);
  return grown;
}

const char* Machine::do_call(Operation operation) {
  const uint32_t g = operation.arg(0);
  if (const char* refusal = mutator_refusal(g)) return refusal;
  ModelGoroutine& owner = expected(g);
  if (owner.status != GoStatus::kRunning) return "it doesn't run";
  if (owner.frames == kMaxFrames) return "its frames are at the model's limit";
  const size_t frame = frame_bytes_of(operation.arg(1));
  const size_t need = owner.used + frame + params_.guard_bytes;
  size_t bytes = owner.stack.bytes();
  while (bytes < need) bytes *= 2;
  const bool fits = bytes == owner.stack.bytes();
  if (fits) {
    call(Op::kCall, "go[%u].call(pool, %d, %zu, %s);", g, proc_, frame, name_of(marking()));
    goroutine(g).call(*pool_, proc_, frame, marking());
  } else if (!grow_to(g, bytes, frame)) {
    return "the stack can't grow";
  }
  owner.frame_bytes[owner.frames] = static_cast<uint32_t>(frame);
  owner.values[owner.frames++] = 0;
  owner.used += static_cast<uint32_t>(frame);
  check_touched(g, fits ? Checker::Frames::kYoungest : Checker::Frames::kAll);
  return nullptr;
}

const char* Machine::do_return(Operation operation) {
  const uint32_t g = operation.arg(0);
  if (const char* refusal = mutator_refusal(g)) return refusal;
  ModelGoroutine& owner = expected(g);
  if (owner.status != GoStatus::kRunning) return "it doesn't run";
  if (owner.frames == 1) return "only its first frame is left";
  for (uint32_t n = operation.arg(1) + 1; n > 0 && owner.frames > 1; --n) {
    call(Op::kReturn, "go[%u].ret();", g);
    if (!goroutine(g).ret())
      checker_.report(Invariant::kD2, "g%u has no caller where the program says %zu", g, owner.frames);
    owner.used -= owner.frame_bytes[--owner.frames];
    for (uint32_t& root : owner.roots) root = root > owner.used ? 0 : root;
  }
  check_touched(g);
  return nullptr;
}

const char* Machine::do_grow(Operation operation) {
  const uint32_t g = operation.arg(0);
  if (const char* refusal = mutator_refusal(g)) return refusal;
  const ModelGoroutine& owner = expected(g);
  if (owner.status != GoStatus::kRunning) return "it doesn't run";
  if (!grow_to(g, owner.stack.bytes() * 2, 0)) return "the stack can't grow";
  checker_.check_goroutine(g);
  return nullptr;
}

const char* Machine::do_block(Operation operation) {
  const uint32_t g = operation.arg(0);
  if (const char* refusal = mutator_refusal(g)) return refusal;
  ModelGoroutine& owner = expected(g);
  if (owner.status != GoStatus::kRunning) return "it doesn't run";
  const WaitKind wait = static_cast<WaitKind>(operation.arg(1));
  if (!nested_) host_ = {.proc = proc_, .goroutine = static_cast<int>(g), .parking = true};
  owner.parking = owner.in_move = true;
  call(Op::kBlock, "go[%u].block(WaitKind::%s);", g, kWaitNames[operation.arg(1)]);
  goroutine(g).block(wait);
  owner.parking = owner.in_move = false;
  owner.status = GoStatus::kWaiting;
  const auto point = [&](RootKind kind, FrameWord word) {
    owner.roots[static_cast<size_t>(kind)] = owner.distance_of(word);
  };
  if (wait != WaitKind::kSleep) point(RootKind::kElem, FrameWord::kValue);
  if (wait == WaitKind::kSelect) point(RootKind::kSelectDone, FrameWord::kSelectDone);
  point(RootKind::kContext, FrameWord::kLink);
  for (const RootKind kind : {RootKind::kElem, RootKind::kSelectDone, RootKind::kContext}) {
    note_write(g, kind);
  }
  check_touched(g);
  return nullptr;
}

namespace {

void forget_wait(ModelGoroutine& owner) {
  for (const RootKind kind : {RootKind::kElem, RootKind::kSelectDone, RootKind::kContext}) {
    owner.roots[static_cast<size_t>(kind)] = 0;
  }
  owner.status = GoStatus::kRunning;
}

}  // namespace

const char* Machine::do_wake(Operation operation) {
  const uint32_t g = operation.arg(0);
  if (const char* refusal = mutator_refusal(g)) return refusal;
  if (expected(g).status != GoStatus::kWaiting) return "it doesn't wait";
  if (nested_ && host_.wakes == static_cast<int>(g)) return kTaken;
  call(Op::kWake, "go[%u].wake();", g);
  if (!goroutine(g).wake()) return "its stack is moving";
  forget_wait(expected(g));
  check_touched(g);
  return nullptr;
}

// The remote write is what may race with a move, so it may run inside one.
const char* Machine::do_send(Operation operation) {
  const uint32_t g = operation.arg(0);
  if (!mutators_run()) return kStopped;
  if (!collector_.has_thread(proc_)) return kNoThread;
  ModelGoroutine& owner = expected(g);
  if (owner.roots[static_cast<size_t>(RootKind::kElem)] == 0) return "it waits on no channel";
  if (nested_ && host_.wakes == static_cast<int>(g)) return kTaken;
  if (!nested_) host_ = {.proc = proc_, .wakes = static_cast<int>(g)};
  const uint64_t value = (uint64_t{operation.arg(1)} << 32) | (index_ << 1) | 1;
  const size_t frame = owner.frames - 1;
  // In a marker's job a goroutine is only moving while it is being copied; when it is scanned after that, it can be
  // woken.
  const bool moving = goroutine(g).status() == GoStatus::kCopying;
  const Stack before = owner.stack;
  call(Op::kSend, "go[%u].send(0x%" PRIx64 ");", g, value);
  const bool sent = goroutine(g).send(value);
  if (sent && owner.stack != before) {
    checker_.report(Invariant::kD6, "g%u moved from +0x%" PRIxPTR " to +0x%" PRIxPTR " while a sender held its elem", g,
                    before.lo - pool_->arena_base(), owner.stack.lo - pool_->arena_base());
  }
  if (!sent) return "its stack is moving, or it is parking";
  owner.values[frame] = value;
  if (owner.status == GoStatus::kWaiting && !moving) forget_wait(owner);
  note("0x%" PRIx64 " was written into g%u's frame %zu", value, g, frame);
  check_touched(g);
  return nullptr;
}

const char* Machine::do_push(Operation operation, bool push) {
  const uint32_t g = operation.arg(0);
  if (const char* refusal = mutator_refusal(g)) return refusal;
  ModelGoroutine& owner = expected(g);
  if (owner.status != GoStatus::kRunning) return "it doesn't run";
  const uint32_t records = operation.arg(1);
  constexpr RootKind kKinds[] = {RootKind::kPanic, RootKind::kDefer, RootKind::kContext};
  for (uint32_t i = 0; i < 3; ++i) {
    if (records != i && !(records == 3 && i < 2)) continue;
    uint32_t& root = owner.roots[static_cast<size_t>(kKinds[i])];
    call(push ? Op::kPush : Op::kPop, "go[%u].%s_record(RootKind::%s);", g, push ? "push" : "pop",
         kRecordNames[static_cast<size_t>(kKinds[i])]);
    if (push) {
      goroutine(g).push_record(kKinds[i]);
      root = owner.distance_of(kKinds[i] == RootKind::kContext ? FrameWord::kLink : FrameWord::kSlot);
      note_write(g, kKinds[i]);
    } else {
      goroutine(g).pop_record(kKinds[i]);
      root = 0;
    }
  }
  check_touched(g);
  return nullptr;
}

const char* Machine::do_status(Operation operation) {
  const uint32_t g = operation.arg(0);
  if (const char* refusal = mutator_refusal(g)) return refusal;
  struct Change {
    GoStatus from;
    GoStatus to;
  };
  constexpr Change kChanges[] = {{GoStatus::kSyscall, GoStatus::kRunning},
                                 {GoStatus::kRunning, GoStatus::kSyscall},
                                 {GoStatus::kWaiting, GoStatus::kParking},
                                 {GoStatus::kParking, GoStatus::kWaiting}};
  const Change change = kChanges[operation.arg(1)];
  if (expected(g).status != change.from) return "it is in another state";
  call(Op::kStatus, "go[%u].set_status(GoStatus::%s);", g, kStatusNames[static_cast<size_t>(change.to)]);
  goroutine(g).set_status(change.to);
  expected(g).status = change.to;
  return nullptr;
}

const char* Machine::do_heap_alloc(Operation operation) {
  if (!mutators_run()) return kStopped;
  if (!collector_.has_thread(proc_)) return kNoThread;
  const uint32_t slot = operation.arg(0);
  if (model_.heap[slot] != 0) return "that heap slot is taken";
  const uint32_t pages = operation.arg(1) + 1;
  const bool zeroed = operation.arg(2) != 0;
  call(Op::kHeapAlloc, "heap[%u] = pool.allocate_heap(%u, %s);", slot, pages, name_of(zeroed));
  const size_t mapped = pool_->arena_mapped();
  const uintptr_t base = pool_->allocate_heap(pages, zeroed);
  checker_.check_mapped(mapped, pages);
  if (base == 0) {
    starve();
    checker_.check_refused(pages, kNoOrder, refused_);
    return "the arena is exhausted";
  }
  const Location at = pool_->locate(base);
  if (at.state != SpanState::kInUse || at.base != base || at.pages != pages) {
    checker_.report(Invariant::kA7, "heap span +0x%" PRIxPTR ": %u pages %s, asked for %u", base - pool_->arena_base(),
                    at.pages, kSpanStateNames[static_cast<size_t>(at.state)].data(), pages);
  }
  if (const uintptr_t poisoned = asan_first_poisoned(base, size_t{pages} << kPageShift); poisoned != 0) {
    checker_.report(Invariant::kF5, "heap span +0x%" PRIxPTR " was issued poisoned at +0x%" PRIxPTR,
                    base - pool_->arena_base(), poisoned - pool_->arena_base());
    return nullptr;
  }
  constexpr size_t kLine = 64;
  for (uintptr_t line = base; zeroed && line < base + (uintptr_t{pages} << kPageShift); line += kLine) {
    if (Goroutine::read(line) == 0) continue;
    checker_.report(Invariant::kA9,
                    "heap span +0x%" PRIxPTR " was issued as zeroed and holds 0x%" PRIx64 " at +0x%" PRIxPTR,
                    base - pool_->arena_base(), Goroutine::read(line), line - pool_->arena_base());
    break;
  }
  model_.heap[slot] = base;
  model_.heap_pages[slot] = pages;
  note("h%u is +0x%" PRIxPTR ", %u pages", slot, base - pool_->arena_base(), pages);
  return nullptr;
}

const char* Machine::do_heap_free(Operation operation) {
  // Objects are freed by sweeping, never while a mark runs (A1).
  if (collector_.phase() != Phase::kOff) return "a cycle runs; heap spans are swept after it";
  uintptr_t& base = model_.heap[operation.arg(0)];
  if (base == 0) return "that heap slot is empty";
  call(Op::kHeapFree, "pool.free_heap(std::exchange(heap[%u], 0));", operation.arg(0));
  pool_->free_heap(base);
  base = 0;
  return nullptr;
}

const char* Machine::do_proc(Operation operation) {
  const int proc = static_cast<int>(operation.arg(0));
  if (proc >= params_.procs) return kNoProcessor;
  if (nested_) call(Op::kSetProc, "hook.resume_on(%d);", proc);
  proc_ = proc;
  return nullptr;
}

const char* Machine::do_flush(Operation operation) {
  const int proc = static_cast<int>(operation.arg(0));
  if (proc >= params_.procs) return kNoProcessor;
  if (!mutators_run()) return kStopped;
  if (!collector_.has_thread(proc)) return kNoThread;
  if (nested_ && host_.proc == proc) return kBusy;
  if (!nested_) host_ = {proc, -1, -1};
  call(Op::kFlush, "pool.flush_cache(%d);", proc);
  pool_->flush_cache(proc);
  model_.demand.flushed(proc);
  if (!marking()) return nullptr;
  call(Op::kFlush, "collector.flush_writes(%d);", proc);
  collector_.flush_writes(proc);
  note_buffer(proc);
  return nullptr;
}

const char* Machine::do_release() {
  call(Op::kRelease, "pool.release_idle();");
  const uint64_t before = pool_->stats().released_bytes;
  const uint64_t bytes = pool_->release_idle();
  const PoolStats stats = pool_->stats();
  if (policy_->claims.tells_places &&
      (stats.released_bytes != stats.idle_bytes || bytes != stats.released_bytes - before)) {
    checker_.report(Invariant::kE5,
                    "%" PRIu64 " bytes are said to be given back to the system: %" PRIu64 " were and %" PRIu64
                    " are now, of %" PRIu64 " idle",
                    bytes, before, stats.released_bytes, stats.idle_bytes);
  }
  note("%" PRIu64 " bytes given back to the system", bytes);
  return nullptr;
}

// ---- faults ----

const char* Machine::do_fault(Operation operation) {
  const auto proc = static_cast<Proc>(operation.arg(0));
  if (operation.op() == Op::kRefuse) return do_refuse(operation.arg(0) + 1);
  return operation.op() == Op::kDie ? do_die(proc) : do_adopt(proc);
}

const char* Machine::do_refuse(uint32_t times) {
  call(Op::kRefuse, "hook.refuse_next(%u);", times);
  refusals_ = times;
  return nullptr;
}

// At a safepoint of its thread: not in the middle of anything.
const char* Machine::do_die(Proc proc) {
  if (proc >= params_.procs) return kNoProcessor;
  if (!mutators_run()) return kStopped;
  if (!collector_.has_thread(proc)) return kNoThread;
  if (nested_ && host_.proc == proc) return kBusy;
  call(Op::kDie, "collector.abandon(%d);", proc);
  collector_.abandon(proc);
  return nullptr;
}

// By a thread in the background, which has no processor of its own.
const char* Machine::do_adopt(Proc proc) {
  if (proc >= params_.procs) return kNoProcessor;
  if (!mutators_run()) return kStopped;
  call(Op::kAdopt, "collector.adopt(%d);", proc);
  if (!collector_.adopt(proc)) return "its thread is not gone, or somebody takes over already";
  model_.demand.flushed(proc);
  note_buffer(proc);
  checker_.check_adopted(proc);
  return nullptr;
}

void Machine::adopt_all() {
  for (Proc proc = 0; proc < params_.procs; ++proc) {
    if (collector_.has_thread(proc)) continue;
    call(Op::kAdopt, "collector.adopt(%d);", proc);
    collector_.adopt(proc);
    model_.demand.flushed(proc);
  }
}

// ---- the collector ----

void Machine::begin_cycle(CycleKind kind) {
  model_.shrunk.clear();
  stopping_ = true;
  call(Op::kGcBegin, "collector.begin({.markers = %d, .concurrent = %s});", kind.markers, name_of(kind.concurrent));
  const uint32_t cycle = collector_.cycle() + 1;
  const uint64_t cached = pool_->stats().cached_bytes;
  collector_.begin(kind);
  stopping_ = false;
  checker_.check_begun(kind, cycle, cached);
  if (kind.concurrent) expect_flushed();
  for (int marker = 0; marker < kMachineMarkers; ++marker) note_reader(marker);
  for (Proc proc = 0; proc < params_.procs; ++proc) note_buffer(proc);
  checker_.note_mark_began(checker_.stats().spans_released);
}

const char* Machine::do_gc_begin(Operation operation) {
  if (nested_) return kNeedsStop;
  if (collector_.phase() != Phase::kOff) return "a cycle runs already";
  const int markers = std::min(static_cast<int>(operation.arg(0)) + 1, kMachineMarkers);
  const bool concurrent = concurrent_ && policy_->claims.concurrent_mark;
  begin_cycle({markers, concurrent});
  ++verdict_.cycles;
  note("cycle %u: %d markers%s", collector_.cycle(), markers, concurrent ? ", mutators run" : "");
  return nullptr;
}

// One goroutine's root job, against what the rule says must come of it. False if a nested operation must not run it.
bool Machine::marker_job(uint32_t marker, uint32_t g) {
  if (nested_ && host_.goroutine == static_cast<int>(g) && !host_.parking) return false;
  ModelGoroutine& owner = expected(g);
  const bool had_stack = static_cast<bool>(owner.stack);
  if (!nested_) host_ = {kNoProc, static_cast<int>(marker), static_cast<int>(g)};
  const bool dead = !owner.alive();
  const bool was_in_move = owner.in_move;
  claim_ = {};
  see_claimed(g);
  retired_ = {++retires_, model_.moment};
  call(Op::kShrink, "collector.run_goroutine_job(%u, %u);", marker, g);
  model_.note_job(marker, true);
  const JobResult job = collector_.run_goroutine_job(static_cast<int>(marker), g);
  model_.note_job(marker, false);
  job_over_ = true;
  if (!job.ran || job.goroutine != g) checker_.report(Invariant::kF4, "the root job of g%u did not run", g);
  owner.in_move = was_in_move;
  const bool movable = !owner.parking && (claim_.from == GoStatus::kRunning || claim_.from == GoStatus::kWaiting);
  const ModelRetired old = claim_.old;
  const size_t bytes = old.stack.bytes();
  const size_t counted = claim_.counted;
  if (dead && had_stack && job.claimed) {
    expect_given_back(old, RetireWhy::kDead, kNoProc);
    owner.stack = {};
  }
  if (checker_.failed() || dead || !job.claimed) return true;
  model_.pointers += 2 * owner.frames;  // of each frame its link and its slot
  note("m%u: g%u %s", marker, g, kShrinkResultNames[static_cast<size_t>(job.shrink)].data());
  if (job.shrink == ShrinkResult::kNoMemory) refuse(bytes / 2);
  if (job.shrink == ShrinkResult::kShrunk) {
    ++verdict_.shrinks;
    const Stack fresh = goroutine(g).stack();
    if (owner.shrunk_cycle == collector_.cycle()) {
      checker_.report(Invariant::kD9, "g%u was halved twice in cycle %u", g, collector_.cycle());
    } else if (fresh.bytes() * 2 != bytes || fresh.bytes() < kMinStackBytes || counted >= bytes / 4) {
      checker_.report(Invariant::kD3, "g%u shrank from %zu to %zu bytes with %zu counted as used", g, bytes,
                      fresh.bytes(), counted);
    } else if (!movable) {
      checker_.report(Invariant::kD10, "g%u was moved while %s", g,
                      owner.parking ? "it parked" : kGoStatusNames[static_cast<size_t>(claim_.from)].data());
    }
    owner.shrunk_cycle = collector_.cycle();
    if (goroutine(g).shrunk_cycle() != owner.shrunk_cycle) {
      checker_.report(Invariant::kD9, "g%u was halved in cycle %u and takes it for cycle %u", g, owner.shrunk_cycle,
                      goroutine(g).shrunk_cycle());
    }
    if (fresh.hi == old.stack.hi) {  // where it is: nothing was given up that anybody could point into
      owner.stack = fresh;
      model_.live_bytes -= fresh.bytes();
      model_.demand.halved(fresh.bytes());
    } else {
      expect_move(g, old, RetireWhy::kShrunk, kNoProc);
    }
  } else if (movable && !nested_ && bytes > kMinStackBytes && counted < bytes / 4) {
    if (job.shrink == ShrinkResult::kInUse || job.shrink == ShrinkResult::kMinimum) {
      checker_.report(Invariant::kD3, "g%u was not shrunk: %zu of %zu bytes counted as used", g, counted, bytes);
    } else if (job.shrink == ShrinkResult::kAlready && owner.shrunk_cycle != collector_.cycle()) {
      checker_.report(Invariant::kD9, "g%u is said to have been halved in cycle %u, and was not", g,
                      collector_.cycle());
    } else if (job.shrink == ShrinkResult::kRefused && !checker_.overlap() && model_.deferred.count == 0) {
      // While stacks wait a policy may put a shrink off; differential runs would see that.
      checker_.report(Invariant::kD5, "g%u is %s and nobody is at it, but it was not let move", g,
                      kGoStatusNames[static_cast<size_t>(owner.status)].data());
    }
  }
  check_touched(g, job.shrink == ShrinkResult::kShrunk ? Checker::Frames::kAll : Checker::Frames::kWords);
  return true;
}

const char* Machine::do_shrink(Operation operation) {
  const uint32_t marker = operation.arg(0);
  const uint32_t g = operation.arg(1);
  if (const char* refusal = marker_refusal(marker)) return refusal;
  return marker_job(marker, g) ? nullptr : kBusy;
}

const char* Machine::do_gc_mark(Operation operation) {
  const uint32_t marker = operation.arg(0);
  if (const char* refusal = marker_refusal(marker)) return refusal;
  if (!collector_.jobs_left()) return "no root job is left";
  const uint32_t jobs = operation.arg(1) + 1;
  for (uint32_t n = jobs; n > 0 && collector_.jobs_left() && !checker_.failed(); --n) {
    const uint32_t job = collector_.next_job();
    if (job >= kFixedJobs) {
      if (!marker_job(marker, job - kFixedJobs)) return n == jobs ? kBusy : nullptr;
      skip_job();
      continue;
    }
    if (!nested_) host_ = {kNoProc, static_cast<int>(marker), -1};
    if (run_fixed_job(marker).flushed && !nested_) checker_.note_flushed(true);
  }
  return nullptr;
}

const char* Machine::do_load(Operation operation) {
  const uint32_t marker = operation.arg(0);
  const uint32_t g = operation.arg(1);
  if (const char* refusal = marker_refusal(marker)) return refusal;
  if (operation.arg(2) >= kRootKinds) return "there is no such record";
  const RootKind kind = static_cast<RootKind>(operation.arg(2));
  call(Op::kLoad, "collector.load(%u, %u, RootKind::%s);", marker, g, kRecordNames[operation.arg(2)]);
  const Held& held = collector_.held(static_cast<int>(marker));
  const bool can = held.pointer == 0 && goroutine(g).root(kind) != 0;
  const bool loaded = collector_.load(static_cast<int>(marker), g, kind);
  note_reader(static_cast<int>(marker));
  if (loaded != can || (loaded && held.pointer != goroutine(g).root(kind))) {
    checker_.report(Invariant::kA3, "m%u was%s to LOAD %s of g%u and holds +0x%" PRIxPTR, marker, can ? "" : " not",
                    kRecordNames[operation.arg(2)], g, held.pointer == 0 ? 0 : held.pointer - pool_->arena_base());
  }
  if (!loaded) return "the record is empty, or the marker's hands are full";
  note("m%u holds +0x%" PRIxPTR " (%s of g%u)", marker, held.pointer - pool_->arena_base(),
       kRootNames[operation.arg(2)].data(), g);
  if (held.at_load.state != SpanState::kStack) {
    checker_.report(Invariant::kA3, "marker m%u LOADed %s of g%u: +0x%" PRIxPTR " lies in a %s span", marker,
                    kRootNames[operation.arg(2)].data(), g, held.pointer - pool_->arena_base(),
                    kSpanStateNames[static_cast<size_t>(held.at_load.state)].data());
  }
  return nullptr;
}

const char* Machine::do_resolve(Operation operation) {
  const uint32_t marker = operation.arg(0);
  if (const char* refusal = marker_refusal(marker)) return refusal;
  const Resolved resolved = resolve(static_cast<int>(marker));
  if (resolved == Resolved::kNothing) return "the marker holds no pointer";
  note("m%u: %s", marker, resolved == Resolved::kStack ? "a stack, ignored" : "not a stack");
  if (resolved == Resolved::kObject) {
    checker_.report(Invariant::kA3, "marker m%u marked an object that is none: its pointer was into a stack", marker);
  }
  return nullptr;
}

// The pause's part of the drain, held to the work that the policy says it may be. The accounts were just checked.
bool Machine::end_mark_in_bounds() {
  const uint64_t stacks = model_.deferred.count;
  const uint64_t pages = checker_.stats().stack_bytes >> kPageShift;
  const uint64_t before = work_so_far();
  call(Op::kGcEnd, "collector.end_mark();");
  host_.pauses = true;
  collector_.end_mark();
  host_.pauses = false;
  model_.demand.cycle_ended();
  checker_.note_pause_ended();
  const uint64_t work = work_so_far() - before;
  pause_work_ = work;
  return checker_.check_pause(work, stacks, pages);
}

Resolved Machine::resolve(int marker) {
  if (collector_.held(marker).pointer != 0) {
    call(Op::kResolve, "collector.resolve(%d);", marker);
    ++model_.pointers;
  }
  const Resolved resolved = collector_.resolve(marker);
  note_reader(marker);
  return resolved;
}

// The next root job, which is no goroutine's.
JobResult Machine::run_fixed_job(uint32_t marker) {
  const uint32_t job = collector_.next_job();
  const bool flushes = job == static_cast<uint32_t>(RootJob::kFlushCaches);
  if (!flushes) {
    for (size_t slot = job; slot < kHeapSlots; slot += kFixedJobs - 1) {
      if (model_.heap[slot] == 0) continue;
      ++model_.pointers;
      ++model_.objects;
    }
  }
  call(Op::kGcMark, "collector.run_next_job(%u);", marker);
  model_.note_job(marker, true);
  const JobResult result = collector_.run_next_job(static_cast<int>(marker));
  model_.note_job(marker, false);
  job_over_ = true;
  if (!result.ran) checker_.report(Invariant::kF4, "root job %u is left and did not run", job);
  if (result.flushed != (flushes && !collector_.kind().concurrent)) {
    checker_.report(Invariant::kB5, "root job %u says that the caches were %sflushed", job,
                    result.flushed ? "" : "not ");
  }
  if (flushes && !collector_.kind().concurrent) expect_flushed();
  return result;
}

// A3, from the other side: no root was passed over, and none judged twice.
bool Machine::check_all_judged() {
  if (checker_.failed()) return false;
  const uint64_t pointers = kCountsJudged ? collector_.pointers_judged() : model_.pointers;
  if (pointers == model_.pointers && collector_.objects_marked() == model_.objects) return true;
  return checker_.report(Invariant::kA3,
                         "markers have judged %" PRIu64 " pointers and marked %" PRIu64
                         " objects, the program has had %" PRIu64 " and %" PRIu64 " for them",
                         pointers, collector_.objects_marked(), model_.pointers, model_.objects);
}

// Who ran the next job out of turn says so.
void Machine::skip_job() {
  call(verdict_.site, "collector.skip_job();");
  collector_.skip_job();
}

// Finishes the mark phase: every job, every held pointer, then the pause's part of the drain. `goes_on`: the caller
// drains next, and looks at what is left then.
bool Machine::end_cycle(bool goes_on) {
  const int markers = collector_.kind().markers;
  for (int turn = 0; collector_.jobs_left() && !checker_.failed(); ++turn) {
    const uint32_t marker = static_cast<uint32_t>(turn % markers);
    const uint32_t job = collector_.next_job();
    if (job >= kFixedJobs) {
      const uint32_t g = job - kFixedJobs;
      skip_job();
      if (!expected(g).alive() && !expected(g).stack) continue;  // nothing to scan or to give back
      marker_job(marker, g);
    } else {
      if (run_fixed_job(marker).flushed) checker_.note_flushed(true);
    }
    settle_graces();
    // What the fixed jobs before the last do is judge roots, and what is out of its grace is settled.
    if (job + 1 >= kFixedJobs) checker_.check_step(false);
  }
  for (int marker = 0; marker < markers; ++marker) resolve(marker);
  if (!checker_.check_step(false) || !checker_.check_mark_ended()) return false;
  host_ = {};
  if (!end_mark_in_bounds() || !check_all_judged()) return false;
  for (size_t i = 0; i < model_.deferred.count; ++i) model_.deferred.items[i].handed_off = true;
  for (Proc proc = 0; proc < params_.procs; ++proc) note_buffer(proc);
  const PolicyClaims& claims = policy_->claims;
  const uint64_t least = claims.defers_shrunk && claims.tells_places ? model_.deferred.count : 0;
  const bool look = !goes_on || model_.deferred.count != 0;    // else the caller sees the same
  const bool walk = !goes_on || watch_ == Watch::kEverything;  // ... and walks
  if (claims.empties_in_pause) model_.free_all_deferred();
  if (!claims.empties_in_pause || checker_.failed()) return !checker_.failed();
  if (look &&
      (!(walk ? checker_.check_quiescent(false) : checker_.check_nothing_held()) || !checker_.check_step(false))) {
    return false;
  }
  if (!kCountsWork || pause_work_ >= least) return true;
  return checker_.report(Invariant::kF4, "the pause freed %" PRIu64 " stacks and says it did %" PRIu64 " units of work",
                         least, pause_work_);
}

const char* Machine::do_gc_end() {
  if (nested_) return kNeedsStop;
  if (!marking()) return kNoMark;
  end_cycle(false);
  return nullptr;
}

const char* Machine::do_restart() {
  if (nested_) return kNeedsStop;
  if (collector_.phase() != Phase::kMarked) return "no cycle has ended";
  checker_.note_flushed(false);
  call(Op::kRestart, "collector.restart();");
  collector_.restart();
  return nullptr;
}

const char* Machine::do_drain(size_t budget) {
  if (collector_.phase() != Phase::kOff) return kStopped;
  if (!pool_->drain_pending()) return "nothing is deferred";
  if (nested_ && host_.drains) {  // the drain around it settles for both
    call(Op::kDrain, "pool.drain_step(%zu);", budget);
    locks_.forget_holds();
    freed_inside_ += pool_->drain_step(budget);
    check_hold(budget, pool_->stats());
    return nullptr;
  }
  const size_t left = model_.deferred.count;
  const size_t all_freed = step_drain(budget);
  const size_t freed = all_freed - freed_inside_;
  note("%zu freed", freed);
  checker_.settle_drained(model_, policy_->claims.defers_shrunk ? all_freed : 0);
  if (policy_->claims.hold_bound == HoldBound::kAsTold && !checker_.overlap())
    checker_.check_step_size(budget, freed, left);
  if (nested_) return nullptr;
  if (!pool_->drain_pending()) model_.forget_reserve();
  if (!pool_->drain_pending() && !checker_.failed()) checker_.check_quiescent(false);
  return nullptr;
}

const char* Machine::do_at(Operation operation) {
  const uint32_t point = operation.arg(0);
  if (point >= kAtPoints) return "there is no such yield point";
  if (!nested_ && kYieldPoints[point].locked) return "a lock is held there: nothing else can run in one thread";
  return do_inside(point, operation.arg(1));
}

const char* Machine::do_inside(uint32_t point, uint32_t count) {
  if (nested_) return kBusy;
  if (point >= kYieldPoints.size()) return "there is no such yield point";
  armed_ = true;
  armed_point_ = static_cast<Yield>(point);
  armed_count_ = count + 1;
  return nullptr;
}

const char* Machine::do_look() {
  checker_.check_published();
  return nullptr;
}

// Inside the pause, whose leader is marker 0. Nobody may think that it is over while stacks are in somebody's hands.
const char* Machine::do_help(uint32_t marker) {
  if (!nested_ || !host_.pauses) return "nobody drains in a pause";
  if (marker == 0 || static_cast<int>(marker) >= collector_.kind().markers) return "no marker of that number waits";
  const uint64_t before = pool_->stats().held_stacks;
  call(Op::kHelp, "collector.help();");
  const size_t freed = collector_.help();
  const uint64_t held = pool_->stats().held_stacks;
  if (freed == 0 && held == before) return "nothing is left to take";
  note("m%u freed %zu", marker, freed);
  if (held != 0 && !pool_->drain_pending()) {
    checker_.report(Invariant::kF7, "the pause's drain counts as over while %" PRIu64 " stacks are in somebody's hands",
                    held);
  }
  if (policy_->claims.defers_shrunk && freed != before - held) {
    checker_.report(Invariant::kC3,
                    "m%u says it freed %zu stacks of the pause's drain, but %" PRIu64 " were, and %" PRIu64 " are left",
                    marker, freed, before, held);
  }
  return nullptr;
}

// The stacks freed by a step and by those of other drainers inside it.
size_t Machine::step_drain(size_t budget) {
  freed_inside_ = 0;
  released_inside_ = 0;
  host_.drains = true;
  locks_.forget_holds();
  checker_.note_drain_begins();
  const uint64_t released = pool_->stats().spans_released;
  const uint64_t before = work_so_far();
  call(Op::kDrain, "pool.drain_step(%zu);", budget);
  const size_t freed = pool_->drain_step(budget) + freed_inside_;
  host_.drains = false;
  const PoolStats after = pool_->stats();
  check_hold(budget, after);
  const PolicyClaims& claims = policy_->claims;  // a step of the policy by address counts what it looked at
  const bool counts_work = kCountsWork && claims.tells_places && !checker_.overlap();
  if (counts_work && !claims.by_address && freed > work_so_far() - before) {
    checker_.report(Invariant::kF4, "a drain step freed %zu and says it did %" PRIu64 " units of work", freed,
                    work_so_far() - before);
  }
  if (counts_work && claims.by_address && freed != 0 && work_so_far() == before) {
    checker_.report(Invariant::kF4, "a drain step freed %zu and says it looked at nothing", freed);
  }
  const uint64_t left = after.spans_released - released - released_inside_;
  if (!claims.defers_shrunk) check_released(left, freed - freed_inside_);
  checker_.check_demand_kept(left, released_inside_ != 0);
  return freed;
}

// C3 for a policy whose steps free spans: as many as they say.
void Machine::check_released(uint64_t released, size_t said) {
  if (released == said) return;
  checker_.report(Invariant::kC3, "the drain says it freed %zu spans, but %" PRIu64 " became Free", said, released);
}

// A mutator waits at most for what a drainer does under one hold of a lock: as much as the policy says.
void Machine::check_hold(size_t budget, const PoolStats& stats) {
  const uint64_t pages = stats.peak_stack_bytes >> kPageShift;
  const uint64_t bound = checker_.hold_bound(budget, model_.deferred.count, pages);
  if (locks_.longest_hold() <= bound) return;
  checker_.report(Invariant::kF4,
                  "a drainer held a lock for %" PRIu64 " units of work, the policy says %" PRIu64 " at most",
                  locks_.longest_hold(), bound);
}

// Until nothing is pending; the caller looks at what is left.
bool Machine::drain_all() {
  // Every step frees at least one stack or ends a pass, so this many are enough (F4).
  for (size_t steps = 0; pool_->drain_pending(); ++steps) {
    if (steps > kMaxRetired + 1)
      return checker_.report(Invariant::kF4, "the drain does not end after %zu steps", steps);
    const size_t freed = step_drain(0);
    if (!checker_.settle_drained(model_, policy_->claims.defers_shrunk ? freed : 0)) return false;
  }
  model_.forget_reserve();
  return true;
}

const char* Machine::do_quiesce() {
  if (nested_) return kNeedsStop;
  if (marking() && !end_cycle(true)) return nullptr;
  do_restart();
  if (drain_all()) checker_.check_quiescent(false);
  return nullptr;
}

// Everything dies, through the front door: one more cycle gives back what dead goroutines kept.
bool Machine::kill_all() {
  adopt_all();
  for (uint32_t g = 0; g < kGoroutines; ++g) {
    ModelGoroutine& owner = expected(g);
    if (!owner.alive()) continue;
    const bool waits = owner.status == GoStatus::kParking || owner.status == GoStatus::kWaiting;
    call(Op::kStatus, "go[%u].set_status(GoStatus::%s);", g, waits ? "kWaiting" : "kRunning");
    goroutine(g).set_status(waits ? GoStatus::kWaiting : GoStatus::kRunning);
    if (waits) {
      call(Op::kWake, "go[%u].wake();", g);
      goroutine(g).wake();
    }
    expect_exit(g, 0);
    call(Op::kExit, "go[%u].exit(pool, 0, false);", g);
    goroutine(g).exit(*pool_, 0, false);
  }
  for (size_t slot = 0; slot < kHeapSlots; ++slot) {
    if (model_.heap[slot] == 0) continue;
    call(Op::kHeapFree, "pool.free_heap(std::exchange(heap[%zu], 0));", slot);
    pool_->free_heap(std::exchange(model_.heap[slot], 0));
  }
  // Before the cycle flushes what the dead have left in the caches; where a walk is not always due the one at the end
  // is.
  if (watch_ == Watch::kEverything && !checker_.check_walk()) return false;
  return whole_cycle();
}

bool Machine::whole_cycle() {
  begin_cycle({1, false});
  if (!end_cycle(true)) return false;
  do_restart();
  return drain_all();
}

void Machine::finish() {
  do_quiesce();
  if (checker_.failed()) return;
  for (uint32_t g = 0; g < kGoroutines && observer_ != nullptr && observer_->wants_digests(); ++g) {
    verdict_.digests[g] = goroutine(g).digest();
  }
  if (!kill_all()) return;
  for (Proc proc = 0; proc < params_.procs; ++proc) {
    call(Op::kFlush, "pool.flush_cache(%d);", proc);
    pool_->flush_cache(proc);
    model_.demand.flushed(proc);
  }
  // What waits for a next growth leaves after a cycle in which nothing grew.
  if (policy_->claims.keeps_reserve && pool_->stats().stack_bytes != 0 && !whole_cycle()) return;
  checker_.check_quiescent(true);
}

size_t Machine::format_span_map(char* buffer, size_t capacity) const {
  class Printer final : public WalkVisitor {
   public:
    Printer(char* buffer, size_t capacity, uintptr_t base) : buffer_(buffer), capacity_(capacity), base_(base) {}
    void span(const SpanView& view) override {
      if (size_ >= capacity_) return;
      const auto name = kSpanStateNames[static_cast<size_t>(view.state)];
      const int written =
          view.state == SpanState::kStack
              ? std::snprintf(buffer_ + size_, capacity_ - size_,
                              "  +0x%06" PRIxPTR " %4u pages  %-6s generation %u, %u of %u slots of %u bytes out\n",
                              view.base - base_, view.pages, name.data(), view.generation, view.out, view.capacity,
                              view.slot_bytes)
              : std::snprintf(buffer_ + size_, capacity_ - size_, "  +0x%06" PRIxPTR " %4u pages  %s\n",
                              view.base - base_, view.pages, name.data());
      if (written > 0) size_ = std::min(capacity_, size_ + static_cast<size_t>(written));
    }
    void slot(const SlotView&) override {}
    void fault(WalkFault fault, uintptr_t address) override {
      if (size_ >= capacity_) return;
      const int written =
          std::snprintf(buffer_ + size_, capacity_ - size_, "  +0x%06" PRIxPTR " damaged: %s\n",
                        address == 0 ? 0 : address - base_, kWalkFaultNames[static_cast<size_t>(fault)].data());
      if (written > 0) size_ = std::min(capacity_, size_ + static_cast<size_t>(written));
    }
    size_t size() const { return size_; }

   private:
    char* buffer_;
    size_t capacity_;
    uintptr_t base_;
    size_t size_ = 0;
  };
  Printer printer(buffer, capacity, pool_->arena_base());
  pool_->walk(printer);
  return std::min(printer.size(), capacity - 1);
}

}  // namespace stackdrain
