#include "target/collector.h"

#include "target/defects.h"
#include "target/yield.h"

namespace stackdrain {

void Collector::reset(AnyPool& pool) {
  pool_ = &pool;
  forget_held();
  for (Proc proc = 0; proc < pool.params().procs; ++proc) {
    buffers_[static_cast<size_t>(proc)].count = 0;
    owner(proc).store(Owner::kThread, std::memory_order_relaxed);
  }
  next_job_.store(0, std::memory_order_relaxed);
  bad_pointers_.store(0, std::memory_order_relaxed);
  objects_marked_.store(0, std::memory_order_relaxed);
  pointers_judged_.store(0, std::memory_order_relaxed);
  first_bad_ = {};
  kind_ = {};
  cycle_ = 0;
  phase_ = Phase::kOff;
}

void Collector::begin(CycleKind kind) {
  STACKDRAIN_CHECK(phase_ == Phase::kOff, "a cycle begins only when none runs");
  STACKDRAIN_CHECK(kind.markers >= 1 && kind.markers <= kMaxMarkers, "markers must be 1..16");
  kind_ = kind;
  ++cycle_;
  forget_held();
  next_job_.store(0, std::memory_order_relaxed);
  phase_ = Phase::kMark;
  judge_all_buffered();  // empty, but for the planted defect
  pool_->begin_cycle(kind);
  if (flushes_as_job()) return;
  flush_caches();
}

void Collector::forget_held() {
  for (Held& held : held_) {
    if (held.pointer != 0) held = {};
  }
}

void Collector::flush_caches() {
  const int procs = pool_->params().procs - (planted(Defect::kFlushOffByOne) ? 1 : 0);
  for (Proc proc = 0; proc < procs; ++proc) pool_->flush_cache(proc);
}

JobResult Collector::run_next_job(int marker) {
  const uint32_t job = next_job_.fetch_add(1, std::memory_order_relaxed);
  // not reached by programs: the machine runs a goroutine's job by itself, to hold it against the model
  if (job >= kFixedJobs + goroutines_.size()) {
    next_job_.store(kFixedJobs + static_cast<uint32_t>(goroutines_.size()), std::memory_order_relaxed);
    return {};
  }
  // not reached by programs: the machine runs a goroutine's job by itself, to hold it against the model
  if (job >= kFixedJobs) return run_goroutine_job(marker, job - kFixedJobs);
  JobResult result;
  result.ran = true;
  job_begins(marker);
  if (static_cast<RootJob>(job) != RootJob::kFlushCaches) {
    mark_heap_roots(marker, job);
  } else if (flushes_as_job()) {
    flush_caches();
    result.flushed = !kind_.concurrent;
  }
  job_ends(marker);
  return result;
}

// Between two jobs a marker holds what it LOADed and has not RESOLVEd, or nothing.
void Collector::job_ends(int marker) {
  if (held_[static_cast<size_t>(marker)].pointer == 0) pool_->quiescent(marker_reader(marker));
  pool_->reclaim();
}

JobResult Collector::run_goroutine_job(int marker, uint32_t index) {
  job_begins(marker);
  const JobResult result = do_goroutine_job(marker, index);
  job_ends(marker);
  return result;
}

JobResult Collector::do_goroutine_job(int marker, uint32_t index) {
  Goroutine& goroutine = goroutines_[index];
  JobResult result;
  result.ran = true;
  result.goroutine = index;
  if (!goroutine.claim_scan(cycle_) && !planted(Defect::kDoubleHalving)) return result;
  result.claimed = true;
  if (!goroutine.alive()) {
    goroutine.drop_dead_stack(*pool_);
    return result;
  }
  result.shrink = goroutine.shrink(*pool_, cycle_);
  yield_point(Yield::kScan);
  scan(marker, goroutine);
  return result;
}

void Collector::mark_heap_roots(int marker, uint32_t share) {
  for (size_t i = share; i < heap_roots_.size(); i += kFixedJobs - 1) {
    if (heap_roots_[i] == 0) continue;
    judge(marker, {heap_roots_[i], UINT32_MAX, RootKind::kElem, {}});
  }
  if (static_cast<RootJob>(share) != RootJob::kSpecials) return;
  for (const Goroutine& goroutine : goroutines_) {
    for (size_t word = 0; word < Goroutine::kCachedWords; ++word) {
      const uintptr_t pointer = goroutine.cached_record(word);
      // not reached by programs: only planted defects leave a pointer in a cached record
      if (pointer != 0) judge(marker, {pointer, goroutine.id(), RootKind::kElem, {}});
    }
  }
}

// Every pointer in the goroutine's frames: LOAD and RESOLVE at once, as a marker does for the stack it has in hand.
void Collector::scan(int marker, const Goroutine& goroutine) {
  for (uintptr_t link = goroutine.youngest_link(); link != 0; link = Goroutine::read(link)) {
    judge(marker,
          {Goroutine::read(Goroutine::word_at(link, FrameWord::kSlot)), goroutine.id(), RootKind::kContext, {}});
    judge(marker, {link, goroutine.id(), RootKind::kContext, {}});
  }
}

void Collector::note_write(Proc proc, uint32_t goroutine, RootKind kind) {
  // not reached by programs: in a mark with the world stopped nobody writes
  if (phase_ != Phase::kMark || !kind_.concurrent) return;
  WriteBuffer& buffer = buffers_[static_cast<size_t>(proc)];
  if (buffer.count == kBufferedWrites) judge_buffered(proc);
  pool_->reading(buffer_reader(proc));
  const uintptr_t pointer = goroutines_[goroutine].root(kind);
  if (pointer == 0) {
    if (buffer.count == 0) pool_->quiescent(buffer_reader(proc));
    return;
  }
  buffer.pointers[buffer.count++] = {pointer, goroutine, kind, pool_->locate(pointer)};
}

void Collector::judge_buffered(Proc proc) {
  WriteBuffer& buffer = buffers_[static_cast<size_t>(proc)];
  for (size_t i = 0; i < buffer.count; ++i) judge(0, buffer.pointers[i]);
  buffer.count = 0;
  pool_->quiescent(buffer_reader(proc));
}

bool Collector::adopt(Proc proc) {
  Owner was = Owner::kNobody;
  if (planted(Defect::kAdoptedByTwo)) {
    if (owner(proc).load(std::memory_order_acquire) != Owner::kNobody) return false;
  } else if (!owner(proc).compare_exchange_strong(was, Owner::kHeir, std::memory_order_acquire)) {
    return false;
  }
  pool_->flush_cache(proc);
  flush_writes(proc);
  owner(proc).store(Owner::kThread, std::memory_order_release);
  return true;
}

void Collector::judge_all_buffered() {
  for (Proc proc = 0; proc < pool_->params().procs; ++proc) judge_buffered(proc);
}

bool Collector::load(int marker, uint32_t goroutine, RootKind kind) {
  Held& held = held_[static_cast<size_t>(marker)];
  if (held.pointer != 0) return false;
  pool_->reading(marker_reader(marker));
  const uintptr_t pointer = goroutines_[goroutine].root(kind);
  if (pointer == 0) {
    pool_->quiescent(marker_reader(marker));
    return false;
  }
  held = {pointer, goroutine, kind, pool_->locate(pointer)};
  return true;
}

Resolved Collector::resolve(int marker) {
  Held& held = held_[static_cast<size_t>(marker)];
  if (held.pointer == 0) return Resolved::kNothing;
  const Resolved resolved = judge(marker, held);
  held = {};
  pool_->quiescent(marker_reader(marker));
  return resolved;
}

Resolved Collector::judge(int marker, const Held& held) {
  if constexpr (kCountsJudged) pointers_judged_.fetch_add(1, std::memory_order_relaxed);
  const Location found = pool_->locate(held.pointer);
  if (found.state == SpanState::kStack) return Resolved::kStack;
  if (found.state == SpanState::kInUse) {  // not reached by programs: a bad pointer, see below
    objects_marked_.fetch_add(1, std::memory_order_relaxed);
    return Resolved::kObject;
  }
  // not reached by programs: the checker ends the run before anybody judges a pointer that went bad
  if (bad_pointers_.fetch_add(1, std::memory_order_acq_rel) == 0) first_bad_ = {marker, held, found};
  // not reached by programs: the checker ends the run before anybody judges a pointer that went bad
  return Resolved::kBad;
}

void Collector::end_mark() {
  STACKDRAIN_CHECK(phase_ == Phase::kMark, "end_mark ends a mark phase");
  if (!planted(Defect::kPointerBufferedAcrossFree)) judge_all_buffered();
  phase_ = Phase::kMarked;
  pool_->end_mark();
}

void Collector::restart() {
  STACKDRAIN_CHECK(phase_ == Phase::kMarked, "restart follows end_mark");
  phase_ = Phase::kOff;
  pool_->restarted();
}

}  // namespace stackdrain
