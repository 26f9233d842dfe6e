#include "fuzz/explore.h"

#include <algorithm>
#include <chrono>

namespace stackdrain {
namespace {

// The one table of reduced worlds. Sizes stand on both sides of each edge: smallest stack, last order, first stack with
// a span of its own; frames that do and do not leave room to shrink.
constexpr ExploreWorld kExploreWorlds[] = {
    {.name = "stopped",
     .summary = "the seed's own: two markers, the mutators stopped while they run",
     .world = "world seed orders=3 locks=one stopped procs=1 arena=1M hold=each",
     .goroutines = 2,
     .markers = 2,
     .alphabet = "spawn g0 2K\nspawn g0 4K\nspawn g0 16K\nspawn g0 32K\nspawn g1 4K\nspawn g1 16K\n"
                 "exit g0\nexit g1\ncall g0 1664\ncall g1 1664\nreturn g0 1\ngrow g0\ngrow g1\n"
                 "block g0 recv\nblock g1 select\nwake g0\nwake g1\nsend g0 1\npush g0 both\nstatus g1 syscall\n"
                 "heap-alloc h0 1 dirty\nheap-alloc h1 2 zeroed\nheap-free h0\nflush p0\n"
                 "gc-begin 2\ngc-mark m0 5\nshrink m0 g0\nshrink m0 g1\nload m0 g0 elem\nload m0 g0 panic\nload m0 g1 "
                 "selectdone\n"
                 "resolve m0\ngc-end\nrestart\ndrain 0\n"},
    {.name = "concurrent",
     .summary = "mutators on two processors run while two markers do",
     .world = "world go1.19 orders=4 locks=each concurrent procs=2 arena=1M hold=whole",
     .goroutines = 2,
     .markers = 2,
     .alphabet =
         "spawn g0 4K\nspawn g0 32K\nspawn g1 4K\nspawn g1 32K\nexit g0\nexit g1\ngrow g0\ngrow g1\n"
         "block g0 recv\nblock g1 recv\nwake g0\nwake g1\nsend g0 1\nsend g1 1\npush g0 both\n"
         "heap-alloc h0 4 zeroed\nheap-free h0\nproc p0\nproc p1\nflush p0\n"
         "gc-begin 2\nshrink m0 g0\nshrink m0 g1\nload m0 g0 elem\nload m0 g0 panic\nload m0 g1 elem\nresolve m0\n"
         "gc-end\nrestart\ndrain 1\n"},
    {.name = "caches",
     .summary = "three goroutines on two processors' caches of large slots, one marker",
     .world = "world seed orders=4 locks=each stopped procs=2 arena=1M hold=batch2",
     .goroutines = 3,
     .markers = 1,
     .alphabet = "spawn g0 2K\nspawn g0 16K\nspawn g1 16K\nspawn g2 16K\nspawn g2 32K\nexit g0\nexit g1\nexit g2\n"
                 "grow g0\ncall g1 8192\nproc p0\nproc p1\nflush p0\nflush p1\nheap-alloc h0 2 zeroed\nheap-free h0\n"
                 "release\ngc-begin 1\ngc-mark m0 5\nshrink m0 g0\nshrink m0 g1\ngc-end\nrestart\ndrain 0\nquiesce\n"},
};

std::vector<Operation> decoded(std::string_view text) {
  std::vector<uint8_t> bytes;
  STACKDRAIN_CHECK(!parse_text(text, bytes).has_value(), "a world of explore is no program");
  const ProgramView program(bytes.data(), bytes.size());
  std::vector<Operation> operations;
  operations.reserve(program.size());
  for (size_t i = 0; i < program.size(); ++i) operations.push_back(program[i]);
  return operations;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void add_layer(ExploreResult& result, const ExploreLayer& layer) {
  result.layers.push_back(layer);
  result.total.states += layer.states;
  result.total.transitions += layer.transitions;
  result.total.refused += layer.refused;
}

constexpr size_t kFirstTable = size_t{1} << 14;
constexpr size_t kInsideLength = 3;  // `at`, the host, what runs inside

}  // namespace

std::span<const ExploreWorld> explore_worlds() {
  return kExploreWorlds;
}

// The alphabet names m0 only: markers are interchangeable (stepper.h), so each has the same letters.
std::vector<Operation> letters_of(const ExploreWorld& world) {
  std::vector<Operation> letters;
  for (const Operation letter : decoded(world.alphabet)) {
    letters.push_back(letter);
    const OperationRow& row = kOperations[static_cast<size_t>(letter.op())];
    if (row.fields[0].kind != FieldKind::kMarker) continue;
    for (uint32_t marker = 1; marker < world.markers; ++marker) {
      letters.push_back({letter.code, static_cast<uint16_t>(letter.bits | marker)});
    }
  }
  return letters;
}

Operation maker_of(const ExploreWorld& world) {
  return decoded(world.world)[0];
}

// ---- the set of digests ----

void Explorer::Seen::clear() {
  slots_.assign(kFirstTable, {});
  slots_.shrink_to_fit();
  count_ = 0;
}

// An empty slot is all zero; a digest of that value, which nobody will meet, would only be explored more than once.
bool Explorer::Seen::place(const StateDigest& digest) {
  const size_t mask = slots_.size() - 1;
  for (size_t at = digest.low & mask;; at = (at + 1) & mask) {
    if (slots_[at] == digest) return false;
    if (slots_[at] != StateDigest{}) continue;
    slots_[at] = digest;
    return true;
  }
}

bool Explorer::Seen::add(const StateDigest& digest) {
  const bool added = place(digest);
  count_ += added ? 1 : 0;
  return added;
}

void Explorer::Seen::grow() {
  std::vector<StateDigest> old(slots_.size() * 2);
  old.swap(slots_);
  for (const StateDigest& digest : old) {
    if (digest != StateDigest{}) place(digest);
  }
}

// ---- paths ----

uint32_t Explorer::pack(Step step) {
  return uint32_t{step.letter} | uint32_t{step.inside} << 8 | uint32_t{step.point} << 16;
}

Explorer::Step Explorer::unpack(uint32_t packed) {
  return {static_cast<uint8_t>(packed), static_cast<uint8_t>(packed >> 8), static_cast<uint8_t>(packed >> 16)};
}

void Explorer::append(std::vector<Operation>& program, Step step) const {
  if (step.inside != Step::kNone) program.push_back({static_cast<uint8_t>(Op::kAt), step.point});
  program.push_back(letters_[step.letter]);
  if (step.inside != Step::kNone) program.push_back(letters_[step.inside]);
}

// The operations from the empty world to `node`.
void Explorer::path_of(uint32_t node, std::vector<Operation>& path) const {
  std::array<Step, Stepper::kMaxLength> back;
  size_t count = 0;
  for (; node != 0; node = nodes_[node].parent) back[count++] = unpack(nodes_[node].step);
  path.clear();
  while (count > 0) append(path, back[--count]);
}

std::vector<Operation> Explorer::current() const {
  std::vector<Operation> program;
  path_of(at_node_, program);
  if (stepping_) append(program, at_step_);
  program.insert(program.begin(), world_);
  return program;
}

// ---- bounds ----

double Explorer::seconds() const {
  return now() - begun_;
}

bool Explorer::may_go_on() {
  if (limits_.stop != nullptr && limits_.stop->load(std::memory_order_relaxed)) {
    result_.end = ExploreEnd::kStopped;
    return false;
  }
  constexpr uint32_t kNodesBetweenClocks = 64;
  if (until_clock_-- != 0) return true;
  until_clock_ = kNodesBetweenClocks;
  if (limits_.seconds <= 0 || seconds() < limits_.seconds) return true;
  result_.end = ExploreEnd::kTime;
  return false;
}

// Room for one state more, within the bound also while something moves to a larger place.
bool Explorer::room() {
  const size_t nodes = nodes_.capacity() * sizeof(Node);
  const bool nodes_full = nodes_.size() == nodes_.capacity();
  const size_t peak = nodes + seen_.bytes() + (nodes_full ? nodes : 0) * 2 + (seen_.full() ? seen_.bytes() : 0) * 2;
  if ((limits_.bytes != 0 && peak > limits_.bytes) || nodes_.size() == UINT32_MAX) {
    result_.end = ExploreEnd::kMemory;
    return false;
  }
  if (nodes_full) nodes_.reserve(nodes_.capacity() * 2);
  if (seen_.full()) seen_.grow();
  return true;
}

// ---- the search ----

void Explorer::begin(const ExploreWorld& world, const PolicyRow& policy, const ExploreLimits& limits) {
  policy_ = &policy;
  limits_ = limits;
  limits_.depth = std::min(limits.depth, Stepper::kMaxLength - kInsideLength - 1);
  world_ = maker_of(world);
  letters_ = letters_of(world);
  STACKDRAIN_CHECK(letters_.size() < Step::kNone, "an alphabet of explore has too many letters");
  nodes_.clear();
  nodes_.reserve(kFirstTable);
  nodes_.push_back({});  // the empty world
  first_ = {0};
  seen_.clear();
  result_ = {};
  choose(0);
  until_clock_ = 0;
  begun_ = now();
}

ExploreResult Explorer::run(const ExploreWorld& world, const PolicyRow& policy, const ExploreLimits& limits,
                            const std::function<void(size_t, const ExploreLayer&)>& progress) {
  begin(world, policy, limits);
  Stepper stepper(machine_, world.goroutines);
  go_to(stepper);
  seen_.add(stepper.digest());
  layer_ = {.states = 1};
  bool going = stepper.finish() || report(stepper);
  end_length();
  for (size_t length = 1; going && length <= limits_.depth; ++length) {
    layer_ = {};
    const double at = seconds();
    going = explore_length(stepper, length);
    layer_.seconds = seconds() - at;
    end_length();
    if (!going) break;
    result_.depth = length;
    if (progress) progress(length, layer_);
    // A length is made of the one before it and the third before it.
    if (length < kInsideLength || first_[length + 1 - kInsideLength] != nodes_.size()) continue;
    result_.end = ExploreEnd::kClosed;
    going = false;
  }
  result_.total.seconds = seconds();
  result_.bytes = bytes();
  return std::move(result_);
}

void Explorer::end_length() {
  first_.push_back(nodes_.size());
  add_layer(result_, layer_);
}

ExploreResult Explorer::so_far() const {
  ExploreResult result = result_;
  add_layer(result, layer_);
  result.total.seconds = seconds();
  result.bytes = bytes();
  return result;
}

size_t Explorer::bytes() const {
  return nodes_.capacity() * sizeof(Node) + seen_.bytes();
}

// False, here and below: the search ends.
bool Explorer::explore_length(Stepper& stepper, size_t length) {
  for (size_t node = first_[length - 1]; node < first_[length]; ++node) {
    if (!may_go_on() || !expand(stepper, static_cast<uint32_t>(node))) return false;
  }
  if (length < kInsideLength) return true;
  for (size_t node = first_[length - kInsideLength]; node < first_[length - kInsideLength + 1]; ++node) {
    if (!may_go_on() || !expand_inside(stepper, static_cast<uint32_t>(node))) return false;
  }
  return true;
}

void Explorer::choose(uint32_t node) {
  at_node_ = node;
  stepping_ = false;
  path_of(node, path_);
}

void Explorer::stepping(Step step) {
  at_step_ = step;
  stepping_ = true;
  ++steps_;
}

void Explorer::go_to(Stepper& stepper) {
  stepper.begin(*policy_, world_);
  stepper.replay(path_);
}

// Each letter on a node. Letters that change nothing share one replay.
bool Explorer::expand(Stepper& stepper, uint32_t node) {
  choose(node);
  StateDigest here;
  for (size_t letter = 0; letter < letters_.size();) {
    go_to(stepper);
    if (letter == 0) here = stepper.digest();
    for (bool same = true; same && letter < letters_.size(); ++letter) {
      stepping(Step{static_cast<uint8_t>(letter)});
      const bool refused = stepper.step(letters_[letter]) != nullptr;
      ++(refused ? layer_.refused : layer_.transitions);
      if (stepper.failed()) return report(stepper);
      same = refused || stepper.digest() == here;  // a refused operation changes nothing: stepper_test.cc
      if (!same && !reached(stepper)) return false;
    }
  }
  return true;
}

// Each letter on a node, with each letter at each yield point inside.
bool Explorer::expand_inside(Stepper& stepper, uint32_t node) {
  choose(node);
  for (size_t letter = 0; letter < letters_.size(); ++letter) {
    go_to(stepper);
    stepping(Step{static_cast<uint8_t>(letter)});
    if (stepper.step(letters_[letter]) != nullptr) continue;
    const uint32_t points = stepper.points_reached();
    for (size_t point = 0; point < kYieldPoints.size(); ++point) {
      if (kYieldPoints[point].locked || (points >> point & 1) == 0) continue;
      if (!expand_point(stepper, static_cast<uint8_t>(letter), static_cast<uint8_t>(point))) return false;
    }
  }
  return true;
}

// Letters that are refused there share a replay with the next one that is not.
bool Explorer::expand_point(Stepper& stepper, uint8_t host, uint8_t point) {
  const std::span<const Operation> all = letters_;
  for (size_t letter = 0; letter < all.size(); ++letter) {
    go_to(stepper);
    stepping(Step{host, static_cast<uint8_t>(letter), point});
    const size_t skipped = stepper.step_inside(static_cast<Yield>(point), all[host], all.subspan(letter));
    layer_.refused += skipped;
    letter += skipped;
    if (letter == all.size()) break;
    ++layer_.transitions;
    stepping(Step{host, static_cast<uint8_t>(letter), point});
    if (stepper.failed() ? !report(stepper) : !reached(stepper)) return false;
  }
  return true;
}

// The state that the step under way led to: kept, and ended once, if it is new.
bool Explorer::reached(Stepper& stepper) {
  if (!room()) return false;
  if (!seen_.add(stepper.digest())) return true;
  ++layer_.states;
  nodes_.push_back({at_node_, pack(at_step_)});
  return stepper.finish() || report(stepper);
}

bool Explorer::report(const Stepper& stepper) {
  result_.end = ExploreEnd::kCounterexample;
  result_.counterexample = {current(), stepper.violation()};
  return false;
}

}  // namespace stackdrain
