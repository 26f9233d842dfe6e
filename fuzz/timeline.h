// Timeline: what a run did, step by step, with what the arena, the goroutines and the markers looked like after each
// step; what a picture and a reproducer are made of.
//
// A step is an operation that is over, or a yield point that one came to, where something had changed. What ran inside
// an operation stands before it, as it does in time. Addresses are distances from the arena's base.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "fuzz/machine.h"

namespace stackdrain {

// Steps that are kept: the last ones.
inline constexpr size_t kMostSteps = 48;

inline constexpr uint64_t kNowhere = ~uint64_t{0};

struct OwnerView {
  GoStatus status = GoStatus::kDead;
  uint64_t lo = 0;  // == hi: no stack
  uint64_t hi = 0;
  std::array<uint64_t, kRootKinds> roots = {kNowhere, kNowhere, kNowhere, kNowhere, kNowhere};
  bool operator==(const OwnerView&) const = default;
};

struct HeldView {
  uint64_t pointer = kNowhere;
  uint32_t goroutine = 0;
  RootKind kind = RootKind::kElem;
  bool dangles = false;
  bool operator==(const HeldView&) const = default;
};

struct SpanPicture {
  uint64_t base = 0;
  uint64_t bytes = 0;
  SpanState state = SpanState::kFree;
  uint32_t generation = 0;
  uint32_t slot_bytes = 0;
  uint32_t out = 0;
  uint32_t capacity = 0;
  bool operator==(const SpanPicture&) const = default;
};

struct SlotPicture {
  uint64_t lo = 0;
  uint64_t bytes = 0;
  SlotPlace place = SlotPlace::kLive;
  Proc proc = kNoProc;
  bool operator==(const SlotPicture&) const = default;
};

struct Snapshot {
  std::vector<SpanPicture> spans;
  std::vector<SlotPicture> slots;  // those that are not live, by address
  std::array<OwnerView, kGoroutines> owners;
  std::array<HeldView, kMachineMarkers> held;
  Phase phase = Phase::kOff;
  bool operator==(const Snapshot&) const = default;
};

struct Step {
  size_t index = 0;  // the operation that it is or is in; the program's length: what the machine does at the end
  bool point = false;
  bool nested = false;
  Yield at = Yield::kCopyAlloc;  // of a point; of a nested operation: where it ran
  // What the operation did, or why nothing. Without the braces g++ warns of designated initialisers that leave it out.
  std::string story{};  // NOLINT(readability-redundant-member-init)
  bool no_op = false;
  bool at_point = false;  // of an operation: nothing changed since it was at that point
  Snapshot after{};
};

// A call that the machine made on target, as a line of C++.
struct MadeCall {
  std::string line;
  size_t index = 0;
  bool nested = false;
  Yield at = Yield::kCopyAlloc;  // of a nested one: where
};

struct Recording {
  const PolicyRow* policy = nullptr;
  std::vector<uint8_t> program;
  std::deque<Step> steps;
  size_t steps_left_out = 0;
  std::vector<MadeCall> calls;
  PoolParams params;
  Verdict verdict;
  std::string stopped_by;    // not empty: something else than the checker ended the process there
  std::string signature;     // empty: it passed
  bool seen_inside = false;  // seen in an operation inside another one
  // Where it was seen, or at the end:
  bool dangling = false;    // a pointer dangles
  bool relocked = false;    // a lock was taken twice (F1)
  std::string state_there;  // see StateText

  ProgramView view() const { return {program.data(), program.size()}; }
  bool failed() const { return !signature.empty(); }
};

// Runs the program and writes down what happens into `recording`, which is complete up to there whenever the process
// ends.
void record(Machine& machine, ProgramView program, const PolicyRow& policy, Recording& recording);
// For who is told that the process ends: makes the best of what was recorded.
void stop_recording(const Machine& machine, const std::string& stopped_by, Recording& recording);

// The operation's text, or "the end".
std::string text_of(ProgramView program, size_t index);

}  // namespace stackdrain
