// Stepper: a machine driven one operation at a time, and a digest of where it stands; what explore is made of.
//
// A machine can't go back. begin() and replay() bring it to where a program leads (what was checked before is not
// checked again), step() and step_inside() go on from there with every check and a full walk, finish() ends the program
// as Machine::run does.
//
// The digest. Two programs with one digest must have the same future: whatever operations follow, both report or
// neither does. It is 128 bits of these words (n states share one with a probability of about n * n / 2^129):
//
//   kPhase     phase; deferred work pending; caches flushed (B5); while a mark runs: markers, concurrent or not, root
//              jobs taken
//   kProc      the processor that mutators' operations run on
//   kOwners    each goroutine: status, its stack's place and size, each frame's bytes, each record's distance from hi
//   kScans     while a mark runs, each goroutine: scanned, halved in this cycle
//   kHeap      the heap spans, by heap slot
//   kHeld      what markers hold, a set: each pointer's span, and whether it is the same span still
//   kShrunk    while a mark runs, if the policy is held to it: the spans that A2 watches, a set, and whether each is
//              the same span still
//   kDeferred  the model's deferred stacks, a set: place, size, bytes that must stay as they are (D8); where graces
//              count, how many readers each waits for, and of each reader how many began before it (kHeld)
//   kSpans     each span of the walk, in address order, with all that it says of itself but its generation
//   kSlots     each slot that is not live, in the walk's order: free lists, and so the order of spans on an order's
//              list; caches, the reserve, the deferred queue
//   kHidden    what the pool says beside (WalkVisitor::hidden): the order of Free spans of one size, pages that are
//              not zero though they say so, where a queue is cut
//
// What is left out, and why nothing can tell the difference:
//
// * Generations, cycle numbers, values that were sent, patterns, and with them the bytes of stacks. They are only
//   compared for equality; a new one differs from all before; and the walk before the digest compared each of them.
// * Which slot of a small span it is. All that an address does is to be equal to another, and to lie in its span: so
//   slots are numbered, span by span, as they are met (goroutines by index, then the walk), and where a pointer points
//   in its slot does not count. Spans are not interchangeable: best fit and merging see where they lie. Nor are the
//   slots of a policy that issues them by address (PolicyClaims::by_address): there a slot is where it lies.
// * Which marker it is: sets, not sequences. Whoever goes on from a state must give each marker the same choices.
// * Counts of events, and what only messages, fuzzers' counters and statistics use. Sums of bytes follow from spans,
//   slots and queues, or the walk before would have reported (E1, E3, E4).
// * What the checker keeps of gc-begin (A1, strong A2). While a mark runs under a policy that is held to it, each
//   operation so far left every Stack span Stack, or it was reported.
// * Jobs of goroutines that no operation will name: they find nothing to do.
//
// Goroutines are not interchangeable, nor are processors: root jobs run by index, caches are flushed by index, and a
// program begins on p0. (stepper_test.cc has two programs that differ in the goroutines' names alone, and leave
// different pools.) Heap slots stay apart because an alphabet need not have the same letters for each. The digest is
// only taken between operations, never inside one.
//
// Not thread-safe; one at a time, as there is one machine a process. Allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fuzz/machine.h"

namespace stackdrain {

struct StateDigest {
  uint64_t high = 0;
  uint64_t low = 0;

  bool operator==(const StateDigest&) const = default;
  auto operator<=>(const StateDigest&) const = default;
};

// The parts of a digest; a test leaves out each in turn.
enum class DigestPart : uint8_t {
  kPhase,
  kProc,
  kOwners,
  kScans,
  kHeap,
  kHeld,
  kShrunk,
  kDeferred,
  kSpans,
  kSlots,
  kHidden,
};
inline constexpr size_t kDigestParts = 11;
inline constexpr uint32_t kWholeDigest = (uint32_t{1} << kDigestParts) - 1;

class Stepper final : private Alternatives {
 public:
  static constexpr size_t kMaxLength = 64;  // operations, with the one that makes the world

  // No operation will name a goroutine but the first `goroutines`.
  Stepper(Machine& machine, uint32_t goroutines) : machine_(machine), goroutines_(goroutines) {}
  ~Stepper();
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;

  // An empty world.
  void begin(const PolicyRow& policy, Operation world);
  // Operations that are known to pass.
  void replay(std::span<const Operation> operations);
  // One operation with every check; nullptr, or why nothing happened. See failed().
  const char* step(Operation operation);
  // `host` with one of `inside` at its yield point `point`: the first one that is not refused there. Its index, or
  // inside.size() if all are refused or the host never comes there.
  size_t step_inside(Yield point, Operation host, std::span<const Operation> inside);
  // Ends the program; false if that reports. The next call must be begin().
  bool finish();

  bool failed() const { return machine_.checker_.failed(); }
  const Violation& violation() const { return machine_.checker_.violation(); }
  // The yield points that the last step reached, a bit each.
  uint32_t points_reached() const { return machine_.points_reached_; }
  // `parts`: all of them but in tests.
  StateDigest digest(uint32_t parts = kWholeDigest);

 private:
  friend class StateHasher;

  bool next(size_t index) override;
  void add(Operation operation);
  void run();

  Machine& machine_;
  uint32_t goroutines_;
  std::array<uint8_t, kMaxLength * kBytesPerOperation> program_{};
  size_t length_ = 0;
  std::span<const Operation> inside_;
  size_t tried_ = 0;
  // Numbers by 2 KiB unit of the arena; of this digest if the epoch is.
  static constexpr size_t kUnits = Machine::kArenaBytes / kMinStackBytes;
  struct Number {
    uint32_t epoch = 0;
    uint32_t value = 0;
  };
  using Numbers = std::array<Number, kUnits>;
  Numbers number_{};  // of a slot in its span, by the slot's first unit
  Numbers met_{};     // slots of a span that were met so far, by the span's first unit
  uint32_t epoch_ = 0;
};

}  // namespace stackdrain
