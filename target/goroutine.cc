#include "target/goroutine.h"

#include <cstring>

#include "target/defects.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

constexpr size_t kLine = 64;
// A status that changes under a copier's hands this often is left alone; the next cycle comes.
constexpr int kClaimTries = 64;

uint64_t& word(uintptr_t address) {
  return *reinterpret_cast<uint64_t*>(address);
}

}  // namespace

void Goroutine::reset(uint32_t id) {
  stack_ = {};
  sp_ = frame_ = 0;
  clear_roots();
  for (auto& pointer : cached_record_) pointer.store(0, std::memory_order_relaxed);
  claim_.reset();
  scanned_cycle_.store(0, std::memory_order_relaxed);
  shrunk_cycle_ = 0;
  id_ = id;
  generation_ = 0;
}

void Goroutine::clear_roots() {
  for (auto& root : roots_) root.store(0, std::memory_order_relaxed);
}

void Goroutine::write_canary() const {
  const StackPattern pattern(id_, generation_);
  word(stack_.lo) = pattern.canary(0);
  word(stack_.lo + sizeof(uint64_t)) = pattern.canary(1);
}

// Tells the pool, once for each smallest stack's worth of it, how far down the stack is written to.
void Goroutine::note_written([[maybe_unused]] AnyPool& pool, [[maybe_unused]] uintptr_t low) {
#if STACKDRAIN_YIELDS
  if (low >= noted_) return;
  const uintptr_t end = noted_;
  noted_ = low & ~uintptr_t{kMinStackBytes - 1};
  pool.note_written(noted_, end - noted_);
#endif
}

void Goroutine::push_frame(size_t bytes) {
  shared_write(stack_);
  const uintptr_t link = sp_ - sizeof(uint64_t);
  const uintptr_t low = sp_ - bytes;
  const StackPattern pattern(id_, generation_);
  for (uintptr_t line = low; line < sp_; line += kLine) word(line) = pattern.at(stack_.hi - line);
  word(link) = frame_;
  word(word_at(link, FrameWord::kSize)) = bytes;
  word(word_at(link, FrameWord::kSlot)) = frame_ != 0 ? frame_ : link;
  word(word_at(link, FrameWord::kValue)) = 0;
  word(word_at(link, FrameWord::kSelectDone)) = 0;
  frame_ = link;
  sp_ = low;
}

void Goroutine::give_back(AnyPool& pool, Proc proc, Stack stack, RetireWhy why, bool marking) {
  if (marking || (planted(Defect::kQ6OverDeferral) && why == RetireWhy::kGrown)) {
    pool.retire(proc, stack, why);
  } else {
    pool.free(proc, stack);
  }
}

bool Goroutine::spawn(AnyPool& pool, Proc proc, size_t bytes, bool marking) {
  if (stack_ && stack_.bytes() != bytes) {
    give_back(pool, proc, stack_, RetireWhy::kDead, marking);
    stack_ = {};
  }
  if (!stack_) stack_ = pool.allocate(proc, bytes);
  if (!stack_) return false;
  ++generation_;
  clear_roots();
  sp_ = stack_.hi;
  frame_ = 0;
  shrunk_cycle_ = 0;
  noted_ = sp_;
  write_canary();
  note_written(pool, sp_ - kFrameUnit);
  push_frame(kFrameUnit);
  set_status(GoStatus::kRunning);
  return true;
}

void Goroutine::exit(AnyPool& pool, Proc proc, bool marking) {
  if (!planted(Defect::kDeadStackBypass)) clear_roots();
  set_status(GoStatus::kDead);
  shared_write(stack_);
  sp_ = frame_ = 0;
  if (stack_.bytes() == kStartStack) return;  // stays with the dead goroutine until it is reused or a marker drops it
  give_back(pool, proc, stack_, RetireWhy::kDead, marking);
  stack_ = {};
}

bool Goroutine::drop_dead_stack(AnyPool& pool) {
  shared_write(stack_);
  if (!stack_) return false;
  const Stack stack = stack_;
  stack_ = {};
  pool.retire(kNoProc, stack, RetireWhy::kDead);
  return true;
}

bool Goroutine::call(AnyPool& pool, Proc proc, size_t frame_bytes, bool marking) {
  const size_t guard = pool.params().guard_bytes;
  if (!fits(frame_bytes, guard)) {
    size_t bytes = stack_.bytes() * 2;
    while (bytes - used() < frame_bytes + guard) bytes *= 2;
    if (!grow(pool, proc, bytes, marking)) return false;
  }
  note_written(pool, sp_ - frame_bytes);
  push_frame(frame_bytes);
  return true;
}

bool Goroutine::ret() {
  shared_write(stack_);
  const uintptr_t caller = word(frame_);
  // not reached by programs: the machine doesn't return from the first frame
  if (caller == 0) return false;
  sp_ += word(word_at(frame_, FrameWord::kSize));
  frame_ = caller;
  for (auto& root : roots_) {
    if (root.load(std::memory_order_relaxed) < sp_) root.store(0, std::memory_order_release);
  }
  return true;
}

// Takes the goroutine out of everybody's hands for a move. A send that is under way is let finish (D6).
// When the status changes between reading and claiming it is read again, and judged again.
bool Goroutine::claim_for_copy(GoStatus& was) {
  for (int tries = 0; tries < kClaimTries; ++tries) {  // not reached by programs: wants a second thread
    if (tries == 0 || !planted(Defect::kStaleStatusCas)) was = status();
    if (was != GoStatus::kRunning && was != GoStatus::kWaiting) return false;
    yield_point(Yield::kClaim);
    if (planted(Defect::kControlWordReadTwice)) was = status();
    GoStatus seen = was;
    if (!claim_.claim(seen)) continue;
    if (claim_.may_move()) return true;
    set_status(was);
    return false;
  }
  // not reached by programs: the status changes at every try: wants a second thread
  return false;
}

bool Goroutine::grow(AnyPool& pool, Proc proc, size_t new_bytes, bool marking) {
  GoStatus was;
  const size_t limited = planted(Defect::kGrowthLimitOnDelta) ? new_bytes - stack_.bytes() : new_bytes;
  // not reached by programs: who runs is in nobody's hands but a second thread's
  if (limited > pool.params().max_stack_bytes || !claim_for_copy(was)) return false;
  const Stack fresh = pool.allocate(proc, new_bytes);
  if (fresh) copy(pool, proc, fresh, RetireWhy::kGrown, marking);
  if (fresh || !planted(Defect::kClaimKeptWhenRefused)) set_status(was);
  return static_cast<bool>(fresh);
}

ShrinkResult Goroutine::shrink(AnyPool& pool, uint32_t cycle) {
  if (planted(Defect::kShrinkSkippedWhileHeld) && pool.stats().held_stacks != 0) return ShrinkResult::kRefused;
  const bool judged = planted(Defect::kJudgedBeforeClaim) && uses_little(pool.params());
  // Claimed before anything of it is looked at: until then somebody may wake it, and it may run.
  GoStatus was;
  if (!claim_for_copy(was)) return ShrinkResult::kRefused;
  const ShrinkResult result = shrink_claimed(pool, cycle, judged);
  if (result == ShrinkResult::kShrunk) shrunk_cycle_ = cycle;
  const bool tried = result == ShrinkResult::kShrunk || result == ShrinkResult::kNoMemory;
  if (!tried || !planted(Defect::kStatusNotRestored)) set_status(was);
  return result;
}

// `judged`: what a planted defect goes by.
ShrinkResult Goroutine::shrink_claimed(AnyPool& pool, uint32_t cycle, bool judged) {
  // not reached by programs: who claimed the scan shrinks, once a cycle
  if (shrunk_cycle_ == cycle && !planted(Defect::kDoubleHalving)) return ShrinkResult::kAlready;
  shared_read(stack_);
  if (stack_.bytes() <= kMinStackBytes) return ShrinkResult::kMinimum;
  const bool little = planted(Defect::kJudgedBeforeClaim) ? judged : uses_little(pool.params());
  if (!little) return ShrinkResult::kInUse;
  return halve(pool) ? ShrinkResult::kShrunk : ShrinkResult::kNoMemory;
}

// So little that half of the stack will do.
bool Goroutine::uses_little(const PoolParams& params) const {
  shared_read(stack_);
  const size_t bytes = stack_.bytes();
  if (planted(Defect::kShrinkIgnoresGuard)) return used() <= bytes / 2;
  return used() + (params.shrink_counts_guard ? params.guard_bytes : 0) < bytes / 4;
}

// Where it is, if the pool can; else by a copy. False without memory.
bool Goroutine::halve(AnyPool& pool) {
  if (const Stack upper = pool.halve(stack_)) {
    shared_write(stack_);
    stack_ = upper;
    write_canary();
    return true;
  }
  const Stack fresh = pool.allocate(kNoProc, stack_.bytes() / 2);
  if (fresh) copy(pool, kNoProc, fresh, RetireWhy::kShrunk, true);
  return static_cast<bool>(fresh);
}

void Goroutine::adjust_frames(const Stack& from, uintptr_t delta) {
  for (uintptr_t link = frame_; link != 0;) {
    const uintptr_t caller = word(link);
    uint64_t& slot = word(word_at(link, FrameWord::kSlot));
    const bool scalar = planted(Defect::kWrongFrameMap) && link == frame_;
    // not reached by programs: a frame's pointer is into its own stack; a planted defect alone has scalars
    if (from.contains(slot) && !scalar) slot += delta;
    if (caller != 0) word(link) = caller + delta;
    link = caller;
  }
}

void Goroutine::adjust_roots(const Stack& from, uintptr_t delta) {
  for (size_t kind = 0; kind < kRootKinds; ++kind) {
    if (planted(Defect::kRootKindMissed) && kind == static_cast<size_t>(RootKind::kSelectDone)) continue;
    const uintptr_t value = roots_[kind].load(std::memory_order_relaxed);
    if (from.contains(value)) roots_[kind].store(value + delta, std::memory_order_release);
  }
}

void Goroutine::copy(AnyPool& pool, Proc proc, Stack fresh, RetireWhy why, bool retire) {
  yield_point(Yield::kCopyAlloc);
  shared_read(stack_);
  const Stack old = stack_;
  const uintptr_t delta = fresh.hi - old.hi;  // wraps: an address moves by it either way
  adjust_frames(old, delta);
  adjust_roots(old, delta);
  yield_point(Yield::kCopyAdjust);
  const size_t bytes = used();
  noted_ = fresh.hi;
  note_written(pool, fresh.hi - bytes);
  std::memcpy(reinterpret_cast<void*>(fresh.hi - bytes), reinterpret_cast<const void*>(sp_), bytes);
  yield_point(Yield::kCopyCopy);
  shared_write(stack_);
  stack_ = fresh;
  sp_ += delta;
  frame_ += delta;
  write_canary();
  yield_point(Yield::kCopySwap);
  give_back(pool, proc, old, why, retire);
  yield_point(Yield::kCopyFree);
}

void Goroutine::block(WaitKind wait) {
  shared_read(stack_);
  const bool channel = wait != WaitKind::kSleep;
  if (!planted(Defect::kParkingFlagLate)) claim_.begin_parking();
  const uintptr_t elem =
      planted(Defect::kOnePastTheEnd) ? frame_ + sizeof(uint64_t) : word_at(frame_, FrameWord::kValue);
  if (channel) set_root(RootKind::kElem, elem);
  if (wait == WaitKind::kSelect) set_root(RootKind::kSelectDone, word_at(frame_, FrameWord::kSelectDone));
  set_root(RootKind::kContext, frame_);
  set_status(GoStatus::kWaiting);
  yield_point(Yield::kPark);
  claim_.parked();
}

// The wait's SudoG goes back to the cache of records.
void Goroutine::give_record_back() {
  const uintptr_t elem = planted(Defect::kElemKeptInCachedRecord) ? root(RootKind::kElem) : 0;
  const uintptr_t selectdone = planted(Defect::kStaleLinkInCachedRecord) ? root(RootKind::kSelectDone) : 0;
  cached_record_[0].store(elem, std::memory_order_release);
  cached_record_[1].store(selectdone, std::memory_order_release);
}

void Goroutine::clear_wait() {
  give_record_back();
  for (const RootKind kind : {RootKind::kElem, RootKind::kSelectDone, RootKind::kContext}) set_root(kind, 0);
}

bool Goroutine::wake() {
  const bool waiting = claim_.observe();
  if (waiting) wake_observed();
  claim_.leave();
  return waiting;
}

// Wakes a waiter while the caller observes it.
void Goroutine::wake_observed() {
  const GoStatus seen = status();
  // not reached by programs: a copier beside: wants a second thread
  if (seen != GoStatus::kWaiting && seen != GoStatus::kCopying) return;  // somebody else woke it
  clear_wait();
  claim_.wake();
}

bool Goroutine::send(uint64_t value) {
  const uint32_t announced = planted(Defect::kElemYield) ? 0 : 1;
  const bool waiting = claim_.observe(announced);
  const uintptr_t elem = waiting || planted(Defect::kPublishBeforeCopy) ? root(RootKind::kElem) : 0;
  if (elem != 0) {
    yield_point(Yield::kSendElem);
    shared_read(stack_);  // what elem points into stays where it is
    word(elem) = value;
    // not reached by programs: elem is read of who waits, but for a planted defect
    if (waiting) wake_observed();
  }
  claim_.leave(announced);
  return elem != 0;
}

// not reached by programs: who compares policies asks
uint64_t Goroutine::digest() const {
  uint64_t hash = StackPattern::mix(id_ + 1);
  const auto add = [&hash](uint64_t value) { hash = StackPattern::mix(hash ^ value) + 1; };
  const auto add_address = [&](uintptr_t address) { add(stack_.contains(address) ? stack_.hi - address : address); };
  add(static_cast<uint64_t>(status()));
  add(generation_);
  add(stack_.bytes());
  for (const auto& root : roots_) add_address(root.load(std::memory_order_relaxed));
  if (!alive()) return hash;
  for (uintptr_t link = frame_; link != 0; link = word(link)) {
    add_address(word(link));
    add_address(word(word_at(link, FrameWord::kSlot)));
    add(word(word_at(link, FrameWord::kSize)));
    add(word(word_at(link, FrameWord::kValue)));
    add(word(word_at(link, FrameWord::kSelectDone)));
  }
  for (uintptr_t line = sp_; line < stack_.hi; line += kLine) add(word(line));
  return hash;
}

void Goroutine::push_record(RootKind kind) {
  set_root(kind, kind == RootKind::kContext ? frame_ : word_at(frame_, FrameWord::kSlot));
}

}  // namespace stackdrain
