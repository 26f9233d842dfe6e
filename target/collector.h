// Collector: a cycle's mark phase, step by step, so that a harness can put anything between two steps.
//
//   Off ──begin──▶ Mark ──(jobs of all markers done)──▶ end_mark ──▶ Marked ──restart──▶ Off
//                   │ root jobs: data, bss, finalizers, specials, flush all caches, then one a goroutine:
//                   │            claim it; dead: give its kept stack back; else shrink it, then scan it
//                   └ load(m, g, kind): a marker LOADs a heap record's word; resolve(m): it judges what it holds
//
// While mutators run during a mark, the write barrier buffers each pointer that a mutator writes into a record, by
// processor, unlooked at; a full buffer is judged by its owner, and end_mark judges what is left before anything is
// freed (Go: wbBuf, #29362).
//
// A processor is a thread's. One whose thread is gone, at a safepoint, keeps what the thread left in its cache and its
// write buffer until somebody adopts it: of those who try one does, empties both, and only then may a thread use it.
//
//   a thread's ──abandon, by the thread──▶ nobody's ──adopt: claimed by one──▶ being emptied ──▶ a thread's
//
// Who may hold a pointer by value is told to the pool: a marker is reading from its LOAD to its RESOLVE and while it is
// in a root job, a write buffer while it is not empty. After each root job the pool may reclaim.
//
// A goroutine may be woken, and run, until its root job claims it; from then on, until the job is over, nobody runs it:
// the job halves its stack and reads its frames (Go: the scan bit in its status, for which casgstatus waits). A running
// one is claimed at a safepoint; one that is dead, or that can't be claimed, is left alone from the job's begin to its
// end. Whoever calls the collector sees to that.
//
// The bad-pointer check (RESOLVE): Stack is ignored, InUse is marked, Free, Dead or unmapped is a bad pointer: counted
// and kept, never fatal here. The collector stops and starts no threads; who calls it has (see benchmarks/world). In a
// concurrent cycle the caches are flushed by begin, while the world is still stopped, because afterwards their owners
// use them.
//
// Thread-safety: run_next_job, run_marker, load and resolve from k threads, each with its own marker index; adopt and
// has_thread from any thread while mutators run; the rest with the world stopped. Source: Go commit 91e8554b8b (mgc0.c:
// markroot, scanblock, gc), in our own words.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "target/any_pool.h"
#include "target/defects.h"
#include "target/goroutine.h"
#include "target/shared.h"
#include "target/yield.h"

namespace stackdrain {

// Whether judged pointers are counted: only where yield points are compiled in, for a shared counter would slow
// parallel markers.
inline constexpr bool kCountsJudged = STACKDRAIN_YIELDS != 0;

enum class Phase : uint8_t { kOff, kMark, kMarked };
inline constexpr std::string_view kPhaseNames[] = {"off", "mark", "marked"};

// Root jobs before the goroutines'; the first four each take a share of the heap roots.
enum class RootJob : uint8_t { kData, kBss, kFinalizers, kSpecials, kFlushCaches };
inline constexpr uint32_t kFixedJobs = 5;

enum class Resolved : uint8_t { kNothing, kStack, kObject, kBad };

// A pointer that a marker has LOADed and not yet RESOLVEd.
struct Held {
  uintptr_t pointer = 0;  // 0: none
  uint32_t goroutine = 0;
  RootKind kind = RootKind::kElem;
  Location at_load;  // what it pointed into then
};

struct BadPointer {
  int marker = 0;
  Held held;
  Location found;
};

struct JobResult {
  bool ran = false;
  bool flushed = false;
  uint32_t goroutine = UINT32_MAX;  // of a goroutine's job
  ShrinkResult shrink = ShrinkResult::kRefused;
  bool claimed = false;  // false: somebody had done it already
};

class Collector {
 public:
  Collector(AnyPool& pool, std::span<Goroutine> goroutines) : pool_(&pool), goroutines_(goroutines) {}

  // Forgets everything but where the heap's roots are; from now on works on `pool`.
  void reset(AnyPool& pool);

  // World stopped. Markers 0..kind.markers-1 may run from here on.
  void begin(CycleKind kind);
  // Heap objects (bases of InUse spans, 0: none) that the data roots hold; read by the first four jobs.
  void set_heap_roots(std::span<const uintptr_t> roots) { heap_roots_ = roots; }
  // The next root job that nobody took; {ran = false} when none is left.
  JobResult run_next_job(int marker);
  // The job that run_next_job would take, and taking it without running it (whoever did so ran it out of turn).
  uint32_t next_job() const { return next_job_.load(std::memory_order_relaxed); }
  void skip_job() { next_job_.fetch_add(1, std::memory_order_relaxed); }
  // The root job of one goroutine, out of turn.
  JobResult run_goroutine_job(int marker, uint32_t goroutine);
  // All that is left; returns when no job is.
  // not reached by programs: the machine chooses each job
  void run_marker(int marker) {
    while (run_next_job(marker).ran) {
    }
  }
  // LOAD; false if the record holds nothing or the marker still holds a pointer.
  bool load(int marker, uint32_t goroutine, RootKind kind);
  Resolved resolve(int marker);
  // The write barrier: a mutator on `proc` wrote the record. Does nothing unless it runs during a mark. By proc's
  // owner.
  void note_write(Proc proc, uint32_t goroutine, RootKind kind);
  // Judges what the write barrier has buffered on `proc`, which goes away (Go: wbBufFlush when a P is destroyed). By
  // proc's owner.
  void flush_writes(Proc proc) { judge_buffered(proc); }
  // The thread of `proc` is gone. By that thread, as the last that it does there; what it did is known to who adopts.
  void abandon(Proc proc) { owner(proc).store(Owner::kNobody, std::memory_order_release); }
  // Takes over from a thread that is gone. False: it is not, or somebody else takes over.
  bool adopt(Proc proc);
  // May a thread use `proc`? What was done there is known then.
  bool has_thread(Proc proc) const {
    return owners_[static_cast<size_t>(proc)].load(std::memory_order_acquire) == Owner::kThread;
  }
  static constexpr size_t kBufferedWrites = 8;  // at most, on each processor
  // What the write barrier has buffered on `proc`.
  std::span<const Held> buffered(Proc proc) const {
    const WriteBuffer& buffer = buffers_[static_cast<size_t>(proc)];
    return std::span(buffer.pointers).first(buffer.count);
  }
  // World stopped, all markers done. The policy's part of the pause is in here.
  void end_mark();
  // A marker that is done takes shares of end_mark's work, if the policy has any; the stacks that it freed. By any
  // thread that waits for end_mark to return, which waits for what is taken here.
  size_t help() { return pool_->help(); }
  void restart();

  Phase phase() const { return phase_; }
  uint32_t cycle() const { return cycle_; }
  const CycleKind& kind() const { return kind_; }
  const Held& held(int marker) const { return held_[static_cast<size_t>(marker)]; }
  uint64_t bad_pointers() const { return bad_pointers_.load(std::memory_order_acquire); }
  // The first bad pointer; only if bad_pointers() > 0.
  // not reached by programs: there is none, see judge()
  const BadPointer& first_bad() const { return first_bad_; }
  uint64_t objects_marked() const { return objects_marked_.load(std::memory_order_relaxed); }
  // Pointers judged since reset, objects' among them; 0 unless kCountsJudged.
  uint64_t pointers_judged() const { return pointers_judged_.load(std::memory_order_relaxed); }
  bool jobs_left() const { return next_job_.load(std::memory_order_relaxed) < kFixedJobs + goroutines_.size(); }

 private:
  struct WriteBuffer {
    std::array<Held, kBufferedWrites> pointers;
    size_t count = 0;
  };

  enum class Owner : uint8_t { kThread, kNobody, kHeir };

  Atomic<Owner>& owner(Proc proc) { return owners_[static_cast<size_t>(proc)]; }
  void forget_held();
  void judge_buffered(Proc proc);
  void judge_all_buffered();
  void scan(int marker, const Goroutine& goroutine);
  JobResult do_goroutine_job(int marker, uint32_t goroutine);
  void job_begins(int marker) { pool_->reading(marker_reader(marker)); }
  void job_ends(int marker);
  Resolved judge(int marker, const Held& held);
  void mark_heap_roots(int marker, uint32_t share);
  void flush_caches();
  // Else the caches are flushed by begin, while the world is still stopped.
  bool flushes_as_job() const { return !kind_.concurrent || planted(Defect::kCacheUsedWhileFlushed); }

  AnyPool* pool_;
  std::span<Goroutine> goroutines_;
  std::span<const uintptr_t> heap_roots_;
  std::array<Held, kMaxMarkers> held_;
  std::array<WriteBuffer, kMaxProcs> buffers_;
  std::array<Atomic<Owner>, kMaxProcs> owners_;
  Atomic<uint32_t> next_job_{0};
  std::atomic<uint64_t> bad_pointers_{0};
  std::atomic<uint64_t> objects_marked_{0};
  std::atomic<uint64_t> pointers_judged_{0};
  BadPointer first_bad_;
  CycleKind kind_;
  uint32_t cycle_ = 0;
  Phase phase_ = Phase::kOff;
};

}  // namespace stackdrain
