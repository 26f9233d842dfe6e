// Model: the shadow of the world: what must be true of every goroutine, heap span and deferred stack, by the program
// alone. Plain arrays, reset in place; it never asks the pool what happened, only where a stack was put.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "fuzz/demand.h"
#include "target/any_pool.h"
#include "target/goroutine.h"

namespace stackdrain {

inline constexpr size_t kGoroutines = 16;
inline constexpr size_t kHeapSlots = 16;
inline constexpr int kMachineMarkers = 4;
inline constexpr int kMachineProcs = 4;
inline constexpr size_t kMaxFrames = 64;
inline constexpr size_t kMaxRetired = 512;  // deferred stacks that a world may have; more end the program early

struct ModelGoroutine {
  GoStatus status = GoStatus::kDead;
  uint32_t generation = 0;
  Stack stack;  // where it was put; a dead goroutine may keep one
  size_t frames = 0;
  std::array<uint32_t, kMaxFrames> frame_bytes{};
  std::array<uint64_t, kMaxFrames> values{};  // what the frame's value word holds
  std::array<uint32_t, kRootKinds> roots{};   // distance of each record's pointer from hi; 0: none
  uint32_t used = 0;
  uint32_t shrunk_cycle = 0;
  bool in_move = false;  // an operation that moves it is under way: only its old memory and its roots may be judged
  bool parking = false;  // it is blocking, and must not be moved until it is through with that (D10)

  bool alive() const { return status != GoStatus::kDead; }
  // Bytes that the shrink rule counts as used.
  size_t counted(const PoolParams& params) const {
    return used + (params.shrink_counts_guard ? params.guard_bytes : 0);
  }
  // Distance from hi of the youngest frame's high end.
  uint32_t youngest_high() const { return used - frame_bytes[frames - 1]; }
  uint32_t distance_of(FrameWord word) const {
    return youngest_high() + static_cast<uint32_t>(word) * static_cast<uint32_t>(sizeof(uint64_t));
  }
};

// A stack that was given up while a mark ran.
struct ModelRetired {
  Stack stack;
  Location span;  // where it lay when it was given up
  uint32_t goroutine = 0;
  uint32_t life = 0;  // the goroutine's generation, for the pattern
  uint32_t used = 0;  // bytes below hi that still carry the pattern; 0: was not moved away from
  // For a policy that frees after a grace; moments are Model::moment.
  uint64_t serial = 0;      // counts retires: of two at one address the later one
  uint64_t at = 0;          // not after the retire: who reads since then or longer may hold a pointer into it
  uint64_t by = 0;          // not before the retire, nor the end of the operation; 0: that is under way
  uint64_t second = 0;      // when its first grace was over and somebody looked; 0: not yet
  bool coming = false;      // is about to be retired by the operation under way
  bool handed_off = false;  // the mark left it to drain steps
};

// A small set without order, in place.
template <class T, size_t kCapacity>
struct FlatSet {
  std::array<T, kCapacity> items{};
  size_t count = 0;

  void clear() { count = 0; }
  bool full() const { return count == kCapacity; }
  void add(const T& item) { items[count++] = item; }
  void remove(size_t i) { items[i] = items[--count]; }
};

struct Model {
  std::array<ModelGoroutine, kGoroutines> goroutines;
  std::array<uintptr_t, kHeapSlots> heap{};  // base of each heap slot's span, 0: none
  std::array<uint32_t, kHeapSlots> heap_pages{};
  FlatSet<ModelRetired, kMaxRetired> shrunk;    // shrunk in this cycle: what the weak A2 watches
  FlatSet<ModelRetired, kMaxRetired> deferred;  // what the policy must hold back now (C1, C2, D8)
  // Large stacks given up in mark that a policy which keeps them must use again, by log2 of their pages (C7).
  std::array<uint32_t, 32> reserve{};
  bool reserve_known = true;  // false once operations overlapped: which came first is not known
  size_t deferred_bytes = 0;
  // Since when each marker holds a pointer, and each write buffer some; 0: it holds none. The moment is that of the
  // last one who began.
  uint64_t moment = 1;
  std::array<uint64_t, kMachineMarkers> marker_since{};
  std::array<uint64_t, kMachineMarkers> job_since{};  // since when it is in a root job; 0: it is between two
  std::array<uint64_t, kMachineProcs> buffer_since{};
  std::array<size_t, kMachineProcs> buffered{};  // pointers, when it was looked at last
  uint64_t pointers = 0;                         // that markers have had to judge so far, each once a cycle and root
  uint64_t objects = 0;                          // of them: heap objects
  uint64_t live_stacks = 0;                      // includes what dead goroutines keep
  uint64_t live_bytes = 0;
  uint64_t allocations = 0;
  Demand demand;  // begun by who tells it of every stack

  // Has the stack a span of its own?
  static bool large(Stack stack, const Location& span) { return size_t{span.pages} << kPageShift == stack.bytes(); }
  uint32_t& reserve_of(Stack stack) {
    return reserve[static_cast<size_t>(std::countr_zero(stack.bytes() >> kPageShift))];
  }
  void forget_reserve() {
    for (size_t size = 0; size < reserve.size(); ++size) {
      if (reserve[size] != 0) demand.forget_kept((uint64_t{reserve[size]} << size) << kPageShift);
    }
    reserve = {};
    reserve_known = true;
  }
  // The stacks that were deferred and are freed now.
  void free_deferred(size_t i) {
    demand.freed(kNoProc, deferred.items[i].stack.bytes());
    deferred.remove(i);
  }
  void free_all_deferred() {
    for (size_t i = 0; i < deferred.count; ++i) demand.freed(kNoProc, deferred.items[i].stack.bytes());
    deferred.clear();
  }

  // Readers that read since `moment` or longer; they may hold a pointer into what was retired then.
  size_t readers_since(uint64_t then) const {
    size_t readers = 0;
    for (size_t marker = 0; marker < marker_since.size(); ++marker) {
      const auto reads = [then](uint64_t since) { return since != 0 && since <= then; };
      readers += reads(marker_since[marker]) || reads(job_since[marker]) ? 1 : 0;
    }
    for (const uint64_t since : buffer_since) readers += since != 0 && since <= then ? 1 : 0;
    return readers;
  }
  bool in_grace(uint64_t then) const { return readers_since(then) != 0; }
  void note_marker(int marker, bool holds) {
    uint64_t& since = marker_since[static_cast<size_t>(marker)];
    if (holds == (since != 0)) return;
    since = holds ? ++moment : 0;
  }
  void note_job(uint32_t marker, bool begins) { job_since[marker] = begins ? ++moment : 0; }
  void no_job_runs() { job_since = {}; }
  // A full buffer is judged, and then it takes the next pointer.
  void note_buffer(Proc proc, size_t count) {
    const auto p = static_cast<size_t>(proc);
    if (count < buffered[p]) buffer_since[p] = 0;
    if (count != 0 && buffer_since[p] == 0) buffer_since[p] = ++moment;
    buffered[p] = count;
  }

  void reset() {
    for (ModelGoroutine& goroutine : goroutines) {
      goroutine.status = GoStatus::kDead;
      goroutine.generation = 0;
      goroutine.stack = {};
      goroutine.frames = 0;
      goroutine.roots = {};
      goroutine.used = 0;
      goroutine.shrunk_cycle = 0;
      goroutine.in_move = goroutine.parking = false;
    }
    heap = {};
    heap_pages = {};
    shrunk.clear();
    deferred.clear();
    reserve = {};
    reserve_known = true;
    deferred_bytes = 0;
    moment = 1;
    marker_since = {};
    job_since = {};
    buffer_since = {};
    buffered = {};
    pointers = objects = 0;
    live_stacks = live_bytes = allocations = 0;
    demand = {};
  }
};

}  // namespace stackdrain
