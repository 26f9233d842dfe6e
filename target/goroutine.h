// Goroutine: the owner of a stack: frames in the stack's memory, and records in the heap that point into it.
//
//                spawn                       block / wake           exit
//     Dead ───────────────▶ Running ◀────────────────────▶ Waiting ──────▶ Dead (a stack of start size may stay with
//     it)
//                             │ ▲                             │
//                    syscall  ▼ │                             ▼ park: about to wait, not yet safe to move
//                           Syscall                         Parking
//     Running or Waiting ──(copier claims)──▶ Copying ──(restored, D5)──▶ what it was
//
// A goroutine that blocks counts as Waiting a moment before it is through with it (Go: the park commit); until then
// that keeps copiers away (D10). Who may move it when, and by which edges: claim.h.
//
// A frame, from its high end (the stack grows down):
//     [-1] link: address of the caller's link word (the saved base pointer chain), 0 in the oldest frame    pointer
//     [-2] size of the frame in bytes                                                                        word
//     [-3] a slot that points at the link word of this frame's caller or of itself                           pointer
//     [-4] value: what a channel operation writes through a SudoG's elem                                     word
//     [-5] selectdone: the word a select's records share                                                     word
//     then one pattern word a 64-byte line, from (id, generation, distance to hi), to see that copies are exact (D2)
// The two lowest words of a stack are a canary (G1). Frames are multiples of 128 bytes, so a pattern word's place is
// the same distance from hi wherever the stack lies.
//
// Heap records that point into the own stack (roots): a SudoG's elem and selectdone, a panic's and a defer's record,
// the saved context's base pointer. They are atomic words: a marker LOADs them without a lock. After a wait its SudoG
// goes back to a processor's cache of records, an object in the heap like any other, which markers scan: it must not
// keep its pointers (D1).
//
// copy() moves a stack: alloc | adjust (frame words, records) | copy | swap | free-or-retire, with a yield point after
// each, in the seed's order. A goroutine is claimed for the move, and who writes through elem (send) is an observer:
// neither proceeds while the other does (D6, D10). Thread-safety: claims and roots are atomic; everything else belongs
// to whoever runs the goroutine or has claimed it. Source: Go commit 91e8554b8b (stack.c: copystack, adjustframes), in
// our own words.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "target/any_pool.h"
#include "target/claim.h"
#include "target/shared.h"
#include "target/stack.h"
#include "target/yield.h"

namespace stackdrain {

// Heap records that hold a pointer into the goroutine's own stack.
enum class RootKind : uint8_t { kElem, kSelectDone, kPanic, kDefer, kContext };
inline constexpr std::array<std::string_view, 5> kRootNames = {"elem", "selectdone", "panic", "defer", "context"};
inline constexpr size_t kRootKinds = kRootNames.size();

enum class WaitKind : uint8_t { kReceive, kSelect, kSend, kSleep };

// What became of a request to shrink.
enum class ShrinkResult : uint8_t {
  kShrunk,
  kInUse,    // more than the rule allows is used
  kMinimum,  // already the smallest stack
  kRefused,  // in a system call, parking, copied or observed by somebody (D10)
  kAlready,  // halved in this cycle (D9)
  kNoMemory,
};
inline constexpr std::string_view kShrinkResultNames[] = {"shrunk",          "too much in use", "already the minimum",
                                                          "not movable now", "already halved",  "no memory"};

inline constexpr size_t kFrameUnit = 128;              // frames are multiples of this
inline constexpr size_t kStartStack = kMinStackBytes;  // a dead goroutine keeps a stack of exactly this size

// Words of a frame, counted down from its high end.
enum class FrameWord : size_t { kLink = 1, kSize = 2, kSlot = 3, kValue = 4, kSelectDone = 5 };

// The words that one life of a goroutine leaves on its stack: at `distance` bytes below hi, and as its canary. One that
// is read in another life, of another goroutine or at another distance, is another. All are odd: never a pointer of
// ours. A sum and no hash of the distance, because who writes or checks a stack asks for one a line.
class StackPattern {
 public:
  StackPattern(uint32_t id, uint32_t generation) : life_(mix((uint64_t{id} << 56) ^ (uint64_t{generation} << 32))) {}
  uint64_t at(size_t distance) const { return (life_ + distance * kOddStep) | 1; }
  uint64_t canary(int word) const { return at(~size_t{0} - static_cast<size_t>(word)); }

  static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 31)) * kOddStep;
    return x ^ (x >> 29);
  }

 private:
  static constexpr uint64_t kOddStep = 0x9e3779b97f4a7c15u;
  uint64_t life_;
};

class Goroutine {
 public:
  Goroutine() = default;
  Goroutine(const Goroutine&) = delete;
  Goroutine& operator=(const Goroutine&) = delete;

  // Back to the dead goroutine `id` without a stack, forgetting everything.
  void reset(uint32_t id);

  // A new life on a stack of `bytes`; false without memory. Dead only. Reuses a kept stack of that size; gives one of
  // another size back, by retire() when `marking`, because a marker may hold a pointer from the goroutine's last life.
  bool spawn(AnyPool& pool, Proc proc, size_t bytes, bool marking);
  // Dies; clears its records; gives its stack back, or keeps one of start size. Running only. `marking`: retire.
  void exit(AnyPool& pool, Proc proc, bool marking);
  // Pushes a frame; doubles the stack as often as needed first. False if it can't grow (everything as before).
  bool call(AnyPool& pool, Proc proc, size_t frame_bytes, bool marking);
  // Pops a frame and the records that point into it; false at the oldest frame.
  bool ret();
  // Doubles the stack (`new_bytes` >= 2 * old); false without memory, beyond the maximum, or when not movable.
  bool grow(AnyPool& pool, Proc proc, size_t new_bytes, bool marking);
  // Halves the stack, by a marker, at most once in `cycle`. It may be woken, run and wait again until it is claimed:
  // what counts is how it is then.
  ShrinkResult shrink(AnyPool& pool, uint32_t cycle);
  // Gives a dead goroutine's kept stack back, by a marker. False if there is none.
  bool drop_dead_stack(AnyPool& pool);

  void block(WaitKind wait);
  // Another goroutine ends the wait. False if it doesn't wait, or its stack is moving.
  bool wake();
  // The same, and writes `value` through elem into this one's stack before. One sender a wait: Go's channel takes the
  // SudoG off its queue under the channel's lock, which is the caller's here.
  bool send(uint64_t value);
  void push_record(RootKind kind);
  void pop_record(RootKind kind) { set_root(kind, 0); }
  // Between Running/Waiting and Syscall/Parking.
  void set_status(GoStatus status) { claim_.set(status); }
  // False if this cycle's scan was claimed before. Relaxed: it publishes nothing; who gets it is the only one at it,
  // and the cycle before ended with the world stopped.
  bool claim_scan(uint32_t cycle) { return scanned_cycle_.exchange(cycle, std::memory_order_relaxed) != cycle; }

  // Of all that was written into it, wherever its stack lies: status, life, size, the frames' words and patterns,
  // records; addresses into the stack as distances from hi. Nobody may run it meanwhile.
  uint64_t digest() const;

  uint32_t id() const { return id_; }
  uint32_t generation() const { return generation_; }
  // The last cycles in which it was scanned and halved.
  uint32_t scanned_cycle() const { return scanned_cycle_.load(std::memory_order_relaxed); }
  uint32_t shrunk_cycle() const { return shrunk_cycle_; }
  GoStatus status() const { return claim_.status(); }
  bool alive() const { return status() != GoStatus::kDead; }
  Stack stack() const { return stack_; }
  // not reached by programs: tests ask
  uintptr_t sp() const { return sp_; }
  size_t used() const { return stack_.hi - sp_; }
  uintptr_t youngest_link() const {
    shared_read(stack_);
    return frame_;
  }  // address of the youngest frame's link word
  uintptr_t root(RootKind kind) const { return roots_[static_cast<size_t>(kind)].load(std::memory_order_acquire); }

  // What the record of its last wait points at in the cache of records.
  uintptr_t cached_record(size_t word) const { return cached_record_[word].load(std::memory_order_acquire); }
  static constexpr size_t kCachedWords = 2;  // elem, selectdone

  // A frame's word, given the address of its link word.
  static uintptr_t word_at(uintptr_t link, FrameWord word) {
    return link - (static_cast<size_t>(word) - 1) * sizeof(uint64_t);
  }
  static uint64_t read(uintptr_t address) { return *reinterpret_cast<const uint64_t*>(address); }

 private:
  bool claim_for_copy(GoStatus& was);
  bool fits(size_t frame_bytes, size_t guard) const { return sp_ - stack_.lo >= frame_bytes + guard; }
  static void give_back(AnyPool& pool, Proc proc, Stack stack, RetireWhy why, bool marking);
  void copy(AnyPool& pool, Proc proc, Stack fresh, RetireWhy why, bool retire);
  ShrinkResult shrink_claimed(AnyPool& pool, uint32_t cycle, bool judged);
  bool uses_little(const PoolParams& params) const;
  bool halve(AnyPool& pool);
  void adjust_frames(const Stack& from, uintptr_t delta);
  void adjust_roots(const Stack& from, uintptr_t delta);
  void push_frame(size_t bytes);
  void note_written(AnyPool& pool, uintptr_t low);
  void write_canary() const;
  void clear_roots();
  void clear_wait();
  void give_record_back();
  void wake_observed();
  void set_root(RootKind kind, uintptr_t value) {
    roots_[static_cast<size_t>(kind)].store(value, std::memory_order_release);
  }

  Stack stack_;
  uintptr_t noted_ = 0;  // the pool knows that what is above may be written to; only where a reset has to be fast
  uintptr_t sp_ = 0;
  uintptr_t frame_ = 0;
  std::array<Atomic<uintptr_t>, kRootKinds> roots_{};
  std::array<Atomic<uintptr_t>, kCachedWords> cached_record_{};
  Claim<StdAtomics> claim_;
  Atomic<uint32_t> scanned_cycle_{0};
  uint32_t shrunk_cycle_ = 0;
  uint32_t id_ = 0;
  uint32_t generation_ = 0;
};

}  // namespace stackdrain
