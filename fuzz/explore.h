// Explore: every program up to a length over a small world's alphabet, breadth first, so that the first counterexample
// is a shortest one.
//
//   length 0   the empty world
//   length n   each state of length n - 1 with each letter; and each state of length n - 3 with each `at POINT 1`, host
//              and operation inside: each letter as host, each yield point that it reaches there, each letter inside
//
// A state that was seen (Stepper's digest; stepper.h argues why it is enough) is not gone on from: whatever can follow
// it could follow the shorter program. Each new state is also ended once, as every program is: cycle, drain, kill,
// flush, E6. So "no program of up to n operations violates anything" is about all programs of at most n letters, `at`
// and what runs inside counted, whose letters are the world's and where at most one operation runs inside another,
// ended at any point. The order in which locks were taken (F1) is no part of a state: a cycle of which one program
// makes one edge and another program the other is for the fuzzers to find.
//
// There is no undo: each step begins with a replay from the empty world. A program is a handful of operations, while a
// snapshot would be the arena's used pages, its tables, the pool, the model and the checker's memory (measured: 2 us
// for a replay of seven operations, reset included; 10 us for copying 270 KB). Letters that change nothing share a
// replay.
//
// Memory: 8 bytes a state, and a hash table of 16-byte digests. Not thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "fuzz/machine.h"
#include "fuzz/stepper.h"

namespace stackdrain {

// A reduced world: what programs are made of. The one table of them is kExploreWorlds.
struct ExploreWorld {
  std::string_view name;
  std::string_view summary;
  std::string_view world;     // the operation that makes it, as text
  uint32_t goroutines;        // the letters name g0..
  uint32_t markers;           // ... m0..
  std::string_view alphabet;  // the letters, as text; what m0 has, the other markers have too
};
std::span<const ExploreWorld> explore_worlds();

// The alphabet, decoded.
std::vector<Operation> letters_of(const ExploreWorld& world);
// The operation that makes the world.
Operation maker_of(const ExploreWorld& world);

struct ExploreLimits {
  size_t depth = 0;  // longest program; at most Stepper::kMaxLength - 4
  double seconds = 0;
  size_t bytes = 0;
  const std::atomic<bool>* stop = nullptr;  // ends the search when it becomes true
};

enum class ExploreEnd : uint8_t {
  kDepth,   // every program of limits.depth operations was tried
  kClosed,  // no new states: every program of any length was
  kCounterexample,
  kTime,
  kMemory,
  kStopped,
};
inline constexpr std::string_view kExploreEndNames[] = {"depth", "closed", "counterexample",
                                                        "time",  "memory", "stopped"};

struct ExploreLayer {
  uint64_t states = 0;       // new ones of this length
  uint64_t transitions = 0;  // operations, or operations with one inside, that were not refused
  uint64_t refused = 0;      // ... that were: they change nothing
  double seconds = 0;
};

struct Counterexample {
  std::vector<Operation> program;  // begins with the operation that makes the world
  Violation violation;
};

struct ExploreResult {
  ExploreEnd end = ExploreEnd::kDepth;
  size_t depth = 0;  // every program of at most so many operations was tried
  std::vector<ExploreLayer> layers;
  ExploreLayer total;
  size_t bytes = 0;
  Counterexample counterexample;  // only if `end` says so

  bool found() const { return end == ExploreEnd::kCounterexample; }
};

class Explorer {
 public:
  explicit Explorer(Machine& machine) : machine_(machine) {}

  // `progress`: told after each length that is complete.
  ExploreResult run(const ExploreWorld& world, const PolicyRow& policy, const ExploreLimits& limits,
                    const std::function<void(size_t length, const ExploreLayer&)>& progress = {});
  // For when something else than the checker ends the process: the program under way, and what was done before it.
  std::vector<Operation> current() const;
  ExploreResult so_far() const;
  uint64_t steps() const { return steps_; }  // grows while the search does

 private:
  // How a state was reached first. A letter, or three: `at`, host, inside.
  struct Step {
    uint8_t letter = 0;  // the host's
    uint8_t inside = kNone;
    uint8_t point = 0;
    static constexpr uint8_t kNone = 0xff;
  };
  struct Node {
    uint32_t parent = 0;
    uint32_t step = 0;
  };
  // A set of digests, open addressing.
  class Seen {
   public:
    void clear();
    // False if it is there already.
    bool add(const StateDigest& digest);
    bool full() const { return count_ * 4 >= slots_.size() * 3; }
    void grow();
    size_t bytes() const { return slots_.capacity() * sizeof(StateDigest); }

   private:
    bool place(const StateDigest& digest);
    std::vector<StateDigest> slots_;
    size_t count_ = 0;
  };

  void begin(const ExploreWorld& world, const PolicyRow& policy, const ExploreLimits& limits);
  bool explore_length(Stepper& stepper, size_t length);
  void end_length();
  bool expand(Stepper& stepper, uint32_t node);
  bool expand_inside(Stepper& stepper, uint32_t node);
  bool expand_point(Stepper& stepper, uint8_t host, uint8_t point);
  bool reached(Stepper& stepper);
  bool report(const Stepper& stepper);
  void choose(uint32_t node);
  void stepping(Step step);
  void go_to(Stepper& stepper);
  bool room();
  bool may_go_on();
  double seconds() const;
  size_t bytes() const;
  void append(std::vector<Operation>& program, Step step) const;
  void path_of(uint32_t node, std::vector<Operation>& path) const;
  static uint32_t pack(Step step);
  static Step unpack(uint32_t packed);

  Machine& machine_;
  const PolicyRow* policy_ = nullptr;
  ExploreLimits limits_;
  Operation world_;
  std::vector<Operation> letters_;
  std::vector<Node> nodes_;
  std::vector<size_t> first_;  // of each length, into nodes_
  Seen seen_;
  ExploreResult result_;
  ExploreLayer layer_;
  // Where the search is: a node, the operations that lead to it, and the step from there.
  uint32_t at_node_ = 0;
  std::vector<Operation> path_;
  Step at_step_;
  bool stepping_ = false;
  uint64_t steps_ = 0;
  double begun_ = 0;
  uint32_t until_clock_ = 0;
};

}  // namespace stackdrain
