#include "fuzz/mutator.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include "fuzz/program.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

// SplitMix64: a good word from each step, whatever the seed.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t word() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // From 0 to n - 1; n > 0.
  size_t below(size_t n) { return static_cast<size_t>(word() % n); }
  bool one_in(size_t n) { return below(n) == 0; }

 private:
  uint64_t state_;
};

// How often an operation is chosen; what only makes sense now and then is rare.
constexpr auto kWeights = [] {
  std::array<uint8_t, kOperations.size()> weights{};
  weights.fill(4);
  const auto set = [&](Op op, uint8_t weight) { weights[static_cast<size_t>(op)] = weight; };
  set(Op::kNop, 0);
  set(Op::kWorld, 0);  // only where it counts
  set(Op::kSpawn, 10);
  set(Op::kShrink, 8);
  set(Op::kGcBegin, 8);
  set(Op::kLoad, 8);
  set(Op::kBlock, 8);
  set(Op::kSend, 8);
  set(Op::kFlush, 8);
  set(Op::kGcMark, 8);
  set(Op::kGcEnd, 6);
  set(Op::kRestart, 6);
  set(Op::kQuiesce, 1);
  set(Op::kRelease, 2);
  set(Op::kLook, 2);
  set(Op::kAt, 0);  // an interleaving brings what belongs to it
  set(Op::kInside, 0);
  set(Op::kHelp, 0);  // inside gc-end only
  set(Op::kRefuse, 2);
  set(Op::kDie, 2);
  return weights;
}();

// A bit for each operation.
using OpSet = uint64_t;
static_assert(kOperations.size() <= 64);
constexpr OpSet kAnyOp = ~OpSet{0};
constexpr OpSet one(Op op) {
  return OpSet{1} << static_cast<uint32_t>(op);
}

// Who meets whom at a yield point: the operations that come by it, and those that go to what the host has half done
// there, in the pool, in its cache, or with its goroutine. Where a lock is held that is who takes none.
struct Meeting {
  OpSet hosts = 0;
  OpSet guests = 0;
};
constexpr auto kMeetings = [] {
  std::array<Meeting, kYieldPoints.size()> meetings{};
  const auto set = [&](Yield point, std::initializer_list<Op> hosts, std::initializer_list<Op> guests) {
    Meeting& meeting = meetings[static_cast<size_t>(point)];
    for (const Op op : hosts) meeting.hosts |= one(op);
    for (const Op op : guests) meeting.guests |= one(op);
  };
  const std::initializer_list<Op> caches = {Op::kSpawn, Op::kExit, Op::kGrow, Op::kFlush};
  const std::initializer_list<Op> lock_free = {Op::kLoad, Op::kResolve, Op::kLook, Op::kRefuse};
  for (const Yield point :
       {Yield::kCopyAlloc, Yield::kCopyAdjust, Yield::kCopyCopy, Yield::kCopySwap, Yield::kCopyFree}) {
    set(point, {Op::kShrink, Op::kGrow}, {Op::kSend, Op::kWake, Op::kStatus, Op::kLoad, Op::kResolve, Op::kSpawn});
  }
  set(Yield::kClaim, {Op::kShrink, Op::kGrow}, {Op::kSend, Op::kWake, Op::kStatus, Op::kCall});
  set(Yield::kSendElem, {Op::kSend}, {Op::kShrink, Op::kGcMark, Op::kWake, Op::kStatus});
  set(Yield::kCacheRefill, {Op::kSpawn, Op::kGrow}, caches);
  set(Yield::kCacheRelease, {Op::kExit}, caches);
  for (const Yield point : {Yield::kFlush, Yield::kFlushList}) {
    set(point, {Op::kFlush, Op::kAdopt, Op::kGcBegin, Op::kGcMark}, caches);
  }
  set(Yield::kRetire, {Op::kShrink, Op::kGrow, Op::kExit}, {Op::kShrink, Op::kGrow, Op::kExit, Op::kGcMark});
  set(Yield::kDrainStep, {Op::kDrain, Op::kGcEnd}, {Op::kSpawn, Op::kExit, Op::kGrow, Op::kDrain, Op::kHeapAlloc});
  set(Yield::kHandOff, {Op::kDrain, Op::kGcEnd}, {Op::kSpawn, Op::kExit, Op::kGrow, Op::kDrain, Op::kShrink});
  set(Yield::kPoolLock, {Op::kSpawn, Op::kExit, Op::kShrink, Op::kDrain}, lock_free);
  set(Yield::kHeapLock, {Op::kSpawn, Op::kHeapAlloc, Op::kExit, Op::kDrain}, lock_free);
  set(Yield::kScan, {Op::kShrink}, {Op::kSend, Op::kWake, Op::kStatus, Op::kLoad});
  set(Yield::kPark, {Op::kBlock}, {Op::kShrink, Op::kGcMark, Op::kSend, Op::kWake});
  set(Yield::kCachePush, {Op::kExit, Op::kGrow}, {Op::kSetProc, Op::kSpawn, Op::kExit, Op::kFlush});
  set(Yield::kSpanFreed, {Op::kExit, Op::kGrow}, {Op::kSpawn, Op::kGrow, Op::kHeapAlloc});
  set(Yield::kIssue, {Op::kSpawn, Op::kHeapAlloc}, {Op::kLoad, Op::kResolve, Op::kLook});
  return meetings;
}();
static_assert(std::find_if(kMeetings.begin(), kMeetings.end(),
                           [](const Meeting& meeting) { return meeting.hosts == 0 || meeting.guests == 0; }) ==
                  kMeetings.end(),
              "each yield point needs a host and who meets it");
constexpr bool all_take_no_lock(OpSet guests) {
  for (; guests != 0; guests &= guests - 1) {
    if (pool_use(static_cast<Op>(std::countr_zero(guests))) != PoolUse::kNoLock) return false;
  }
  return true;
}
static_assert(
    [] {
      for (size_t point = 0; point < kYieldPoints.size(); ++point) {
        if (kYieldPoints[point].locked && !all_take_no_lock(kMeetings[point].guests)) return false;
      }
      return true;
    }(),
    "where a lock is held only what takes none can meet the host");

// Values that a byte mutator would spread over the whole field.
uint32_t likely_value(FieldKind kind, int bits, Random& random) {
  const uint32_t any = static_cast<uint32_t>(random.word()) & ((1u << bits) - 1);
  if (random.one_in(8)) return any;
  switch (kind) {
    case FieldKind::kSpare:
    case FieldKind::kNone:
      return 0;
    case FieldKind::kGoroutine:
    case FieldKind::kHeapSlot:
      return any % 3;
    case FieldKind::kMarker:
    case FieldKind::kProc:
      return any % 2;
    case FieldKind::kCount:
      return any % 8;
    case FieldKind::kStackSize:  // the orders that caches and pools keep: stacks meet in the same lists
      return random.one_in(3) ? any : any % 3;
    case FieldKind::kAnyPoint:
    case FieldKind::kPoint:
      return any % kYieldPoints.size();
    default:
      return any;
  }
}

uint16_t random_bits(const OperationRow& row, Random& random) {
  uint32_t bits = 0;
  int shift = 0;
  for (const Field& field : row.fields) {
    if (field.bits == 0) continue;
    bits |= likely_value(field.kind, field.bits, random) << shift;
    shift += field.bits;
  }
  return static_cast<uint16_t>(bits);
}

Operation made(Op op, Random& random) {
  const auto code = static_cast<uint8_t>(op);
  return {code, random_bits(kOperations[code], random)};
}

constexpr uint32_t weight_of(OpSet subset) {
  uint32_t total = 0;
  for (size_t code = 0; code < kOperations.size(); ++code) total += (subset >> code & 1) != 0 ? kWeights[code] : 0;
  return total;
}
constexpr uint32_t kWeightOfAny = weight_of(kAnyOp);

// One of the operations in `subset`, by weight.
Operation random_operation(OpSet subset, Random& random) {
  const uint32_t total = subset == kAnyOp ? kWeightOfAny : weight_of(subset);
  if (total == 0) return random_operation(kAnyOp, random);
  size_t left = random.below(total);
  for (size_t code = 0;; ++code) {
    const size_t weight = (subset >> code & 1) != 0 ? kWeights[code] : 0;
    if (left < weight) return made(static_cast<Op>(code), random);
    left -= weight;
  }
}

Op nth_set(OpSet mask, size_t n) {
  for (; n > 0; --n) mask &= mask - 1;
  return static_cast<Op>(std::countr_zero(mask));
}

// The operation with another value in its first field of that kind; as it is if it has none.
Operation with(Operation operation, FieldKind kind, uint32_t value) {
  int shift = 0;
  for (const Field& field : kOperations[operation.code].fields) {
    const uint32_t mask = ((1u << field.bits) - 1) << shift;
    if (field.kind == kind) {
      operation.bits = static_cast<uint16_t>((operation.bits & ~mask) | ((value << shift) & mask));
      return operation;
    }
    shift += field.bits;
  }
  return operation;
}

// Roughly where a program stands after some of its operations: enough to choose what is no no-op there. It knows
// nothing of sizes and memory, and a wrong guess costs a no-op.
class Sketch {
 public:
  void apply(Operation operation) {
    if (operation.reserved()) return;
    const uint32_t g = operation.goroutine().value_or(0);
    const uint32_t bit = uint32_t{1} << g;
    switch (operation.op()) {
      case Op::kWorld:
        concurrent_ = operation.arg(3) != 0;
        break;
      case Op::kSpawn:
        if (mutators() && !(alive() & bit)) running_ |= bit;
        break;
      case Op::kExit:
        if (mutators()) running_ &= ~bit;
        break;
      case Op::kBlock:
        if (mutators() && (running_ & bit) != 0) running_ &= ~bit, waiting_ |= bit;
        break;
      case Op::kWake:
      case Op::kSend:
        if (mutators() && (waiting_ & bit) != 0) waiting_ &= ~bit, running_ |= bit;
        break;
      case Op::kPush:
        if (mutators() && (running_ & bit) != 0) records_ |= bit;
        break;
      case Op::kStatus:
        change_status(bit, operation.arg(1));
        break;
      case Op::kHeapAlloc:
        heap_ |= uint32_t{1} << operation.arg(0);
        break;
      case Op::kHeapFree:
        heap_ &= ~(uint32_t{1} << operation.arg(0));
        break;
      case Op::kDie:
        if (mutators()) abandoned_ |= uint32_t{1} << operation.arg(0);
        break;
      case Op::kAdopt:
        if (mutators()) abandoned_ &= ~(uint32_t{1} << operation.arg(0));
        break;
      case Op::kGcBegin:
        if (phase_ == Phase::kOff) phase_ = Phase::kMark, markers_ = operation.arg(0) + 1, held_ = 0;
        break;
      case Op::kLoad:
        held_ |= uint32_t{1} << operation.arg(0);
        break;
      case Op::kResolve:
        held_ &= ~(uint32_t{1} << operation.arg(0));
        break;
      case Op::kGcEnd:
        if (phase_ == Phase::kMark) phase_ = Phase::kMarked;
        break;
      case Op::kRestart:
        if (phase_ == Phase::kMarked) phase_ = Phase::kOff;
        break;
      case Op::kQuiesce:
        phase_ = Phase::kOff;
        break;
      default:
        break;
    }
  }

  // Names what the operation can do something with; false if there is nothing.
  bool fit(Operation& operation, Random& random) const {
    switch (operation.op()) {
      case Op::kSpawn:
        return mutators() && choose(operation, FieldKind::kGoroutine, ~alive() & 0xffff, random);
      case Op::kExit:
      case Op::kCall:
      case Op::kReturn:
      case Op::kGrow:
      case Op::kBlock:
      case Op::kPush:
        return mutators() && choose(operation, FieldKind::kGoroutine, running_, random);
      case Op::kPop:
        return mutators() && choose(operation, FieldKind::kGoroutine, running_ & records_, random);
      case Op::kWake:
      case Op::kSend:
        return mutators() && choose(operation, FieldKind::kGoroutine, waiting_, random);
      case Op::kStatus:
        return choose(operation, FieldKind::kGoroutine, alive(), random);
      case Op::kShrink:
        return marks() && choose(operation, FieldKind::kMarker, markers(), random) &&
               choose(operation, FieldKind::kGoroutine, alive(), random);
      case Op::kLoad:
        return marks() && choose(operation, FieldKind::kMarker, markers() & ~held_, random) &&
               choose(operation, FieldKind::kGoroutine, waiting_ | records_, random);
      case Op::kResolve:
        return marks() && choose(operation, FieldKind::kMarker, markers() & held_, random);
      case Op::kGcMark:
        return marks() && choose(operation, FieldKind::kMarker, markers(), random);
      case Op::kGcEnd:
        return marks();
      case Op::kGcBegin:
      case Op::kDrain:
        return phase_ == Phase::kOff;
      case Op::kRestart:
        return phase_ == Phase::kMarked;
      case Op::kHeapAlloc:
        return mutators() && choose(operation, FieldKind::kHeapSlot, ~heap_ & 0xffff, random);
      case Op::kDie:
        return mutators();
      case Op::kAdopt:
        return mutators() && choose(operation, FieldKind::kProc, abandoned_, random);
      case Op::kHeapFree:
        return phase_ == Phase::kOff && choose(operation, FieldKind::kHeapSlot, heap_, random);
      default:
        return true;
    }
  }

 private:
  enum class Phase : uint8_t { kOff, kMark, kMarked };

  bool marks() const { return phase_ == Phase::kMark; }
  bool mutators() const { return phase_ == Phase::kOff || (marks() && concurrent_); }
  uint32_t alive() const { return running_ | waiting_ | other_; }
  uint32_t markers() const { return (1u << std::min(markers_, 4u)) - 1; }
  void change_status(uint32_t bit, uint32_t to) {
    uint32_t* const from[] = {&other_, &running_, &waiting_, &other_};
    uint32_t* const into[] = {&running_, &other_, &other_, &waiting_};
    if ((*from[to] & bit) == 0) return;
    *from[to] &= ~bit;
    *into[to] |= bit;
  }
  // Keeps what the operation names if that is one of them; else the first of them, or any.
  static bool choose(Operation& operation, FieldKind kind, uint32_t among, Random& random) {
    if (among == 0) return false;
    const auto& fields = kOperations[operation.code].fields;
    for (size_t i = 0; i < fields.size(); ++i) {
      if (fields[i].kind == kind && (among >> operation.arg(i) & 1) != 0) return true;
    }
    uint32_t from = among;
    for (size_t n = random.below(static_cast<size_t>(std::popcount(among))); n > 0 && random.one_in(2); --n) {
      from &= from - 1;
    }
    operation = with(operation, kind, static_cast<uint32_t>(std::countr_zero(from)));
    return true;
  }

  uint32_t running_ = 0;
  uint32_t waiting_ = 0;
  uint32_t other_ = 0;  // in a system call, or parking
  uint32_t records_ = 0;
  uint32_t heap_ = 0;
  uint32_t held_ = 0;
  uint32_t abandoned_ = 0;  // processors
  uint32_t markers_ = 1;
  Phase phase_ = Phase::kOff;
  bool concurrent_ = false;
};

// An operation that can do something there, if one is soon found.
Operation fitting_operation(const Sketch& sketch, OpSet subset, Random& random) {
  Operation operation;
  for (int tries = 0; tries < 12; ++tries) {
    operation = random_operation(subset, random);
    if (sketch.fit(operation, random) || random.one_in(32)) break;
  }
  return operation;
}

// The program under change.
class Draft {
 public:
  Draft(uint8_t* data, size_t size, size_t max_size, uint64_t seed)
      : data_(data), count_(size / kBytesPerOperation), limit_(max_size / kBytesPerOperation), random_(seed) {}

  size_t bytes() const { return count_ * kBytesPerOperation; }
  Random& random() { return random_; }

  void change() {
    if (count_ == 0 || random_.one_in(20)) return from_nothing();
    if (count_ > kLong && random_.one_in(2)) return remove(place(), 1 + random_.below(count_ / 4));
    switch (random_.below(20)) {
      case 0:
      case 1:
      case 2:
        return insert_fitting(place());
      case 3:
        return remove(place(), 1 + random_.below(3));
      case 4:
        return duplicate();
      case 5:
        return swap();
      case 6:
        return move();
      case 7:
      case 8:
        return retarget();
      case 9:
        return replace(some());
      case 10:
        return world();
      case 11:
        return burst();
      default:
        return interleave();
    }
  }

 private:
  // Operations beyond which a program is rather cut than extended: short ones run more often.
  static constexpr size_t kLong = 40;

  size_t place() { return random_.below(count_ + 1); }
  size_t some() { return random_.below(count_); }
  Operation get(size_t at) const { return ProgramView(data_, bytes())[at]; }
  void set(size_t at, Operation operation) {
    const uint16_t word = encode_operation(operation);
    data_[at * kBytesPerOperation] = static_cast<uint8_t>(word & 0xff);
    data_[at * kBytesPerOperation + 1] = static_cast<uint8_t>(word >> 8);
  }
  uint8_t* address(size_t at) { return data_ + at * kBytesPerOperation; }

  // What the program has done when it comes to `at`.
  Sketch sketch_at(size_t at) const {
    Sketch sketch;
    for (size_t i = 0; i < at; ++i) sketch.apply(get(i));
    return sketch;
  }
  void insert_fitting(size_t at) { insert(at, fitting_operation(sketch_at(at), kAnyOp, random_)); }
  void replace(size_t at) { set(at, fitting_operation(sketch_at(at), kAnyOp, random_)); }

  void insert(size_t at, Operation operation) {
    if (count_ == limit_) return;
    std::memmove(address(at + 1), address(at), (count_ - at) * kBytesPerOperation);
    ++count_;
    set(at, operation);
  }
  void remove(size_t at, size_t n) {
    n = std::min(n, count_ - std::min(at, count_));
    if (n == 0 || n == count_) return;
    std::memmove(address(at), address(at + n), (count_ - at - n) * kBytesPerOperation);
    count_ -= n;
  }
  void duplicate() {
    const size_t from = some();
    const size_t n = std::min({1 + random_.below(4), count_ - from, limit_ - count_});
    for (size_t i = 0, to = place(); i < n; ++i) insert(to + i, get(std::min(from + i, count_ - 1)));
  }
  void swap() {
    const size_t at = some();
    if (at + 1 >= count_) return;
    const Operation first = get(at);
    set(at, get(at + 1));
    set(at + 1, first);
  }
  void move() {
    const size_t from = some();
    const Operation operation = get(from);
    if (count_ == 1) return;
    remove(from, 1);
    insert(place(), operation);
  }

  // Another value for one argument, often one that the program names elsewhere.
  void retarget() {
    const size_t at = some();
    Operation operation = get(at);
    if (operation.reserved()) return set(at, random_operation(kAnyOp, random_));
    const auto& fields = kOperations[operation.code].fields;
    std::array<size_t, kMaxFields> real{};
    size_t count = 0;
    for (size_t i = 0; i < fields.size(); ++i) {
      if (fields[i].bits != 0 && fields[i].kind != FieldKind::kSpare) real[count++] = i;
    }
    if (count == 0) return;
    const size_t which = real[random_.below(count)];
    int shift = 0;
    for (size_t i = 0; i < which; ++i) shift += fields[i].bits;
    const uint32_t mask = ((1u << fields[which].bits) - 1) << shift;
    const uint32_t value = borrowed(fields[which]) << shift;
    operation.bits = static_cast<uint16_t>((operation.bits & ~mask) | (value & mask));
    set(at, operation);
  }
  uint32_t borrowed(const Field& field) {
    const Operation other = get(some());
    if (!other.reserved() && random_.one_in(2)) {
      const auto& fields = kOperations[other.code].fields;
      for (size_t i = 0; i < fields.size(); ++i) {
        if (fields[i].kind == field.kind && fields[i].bits == field.bits) return other.arg(i);
      }
    }
    return likely_value(field.kind, field.bits, random_);
  }

  // With mutators running during marks more often than not: that is where interleavings are.
  Operation any_world() {
    const Operation world = made(Op::kWorld, random_);
    return random_.one_in(2) ? with(world, FieldKind::kMarking, 1) : world;
  }
  void world() {
    const Operation world = any_world();
    if (!get(0).reserved() && get(0).op() == Op::kWorld) return set(0, world);
    insert(0, world);
  }

  // `inside POINT`, an operation that comes by that point, and one that runs inside it. An operation of the program
  // that comes by the point is the host, if there is one; the guest is often about the host's goroutine.
  void interleave() {
    const size_t point = random_.below(kYieldPoints.size());
    const OpSet hosts = kMeetings[point].hosts;
    const OpSet meet = kMeetings[point].guests;
    Operation inside = made(Op::kInside, random_);
    inside.bits = static_cast<uint16_t>(point);
    const size_t guests = random_.one_in(4) ? 2 : 1;
    inside = with(inside, FieldKind::kCount, static_cast<uint32_t>(guests - 1));
    const size_t host = host_of(hosts);
    if (host < count_) {
      const Sketch sketch = sketch_at(host);
      for (size_t n = 0; n < guests; ++n) insert(host + 1, guest_of(get(host), meet, sketch));
      return insert(host, inside);
    }
    const size_t at = place();
    const Sketch sketch = sketch_at(at);
    Operation fresh;
    for (int tries = 0; tries < 8; ++tries) {
      fresh = made(nth_set(hosts, random_.below(static_cast<size_t>(std::popcount(hosts)))), random_);
      if (sketch.fit(fresh, random_)) break;
    }
    for (size_t n = 0; n < guests; ++n) insert(at, guest_of(fresh, meet, sketch));
    insert(at, fresh);
    insert(at, inside);
  }
  Operation guest_of(Operation host, OpSet meet, const Sketch& sketch) {
    const std::optional<uint32_t> same = host.goroutine();
    if (host.op() == Op::kGcEnd && random_.one_in(2)) return made(Op::kHelp, random_);
    if (host.op() == Op::kAdopt && random_.one_in(2)) return host;
    const OpSet subset = random_.one_in(2) ? meet : kAnyOp;
    if (!same.has_value() || random_.one_in(3)) return fitting_operation(sketch, subset, random_);
    for (int tries = 0; tries < 16; ++tries) {
      const Operation wanted = with(random_operation(subset, random_), FieldKind::kGoroutine, *same);
      Operation guest = wanted;
      if (guest.goroutine() == same && sketch.fit(guest, random_) && guest.bits == wanted.bits) return guest;
    }
    return fitting_operation(sketch, subset, random_);
  }
  // One operation for many goroutines in turn, as what fills a cache, a span or a queue needs.
  void burst() {
    const size_t at = place();
    Operation operation = fitting_operation(sketch_at(at), kAnyOp, random_);
    if (operation.reserved() || !operation.goroutine().has_value()) return insert(at, operation);
    const size_t length = 2 + random_.below(12);
    const auto first = static_cast<uint32_t>(random_.below(4));
    for (int round = 0; round < 2; ++round) {  // often a second thing with the same ones: all spawn, then all exit
      for (size_t i = 0; i < length; ++i) {
        insert(at + static_cast<size_t>(round) * length + i,
               with(operation, FieldKind::kGoroutine, first + static_cast<uint32_t>(i)));
      }
      operation = fitting_operation(sketch_at(std::min(at + length, count_)), kAnyOp, random_);
      if (operation.reserved() || !operation.goroutine().has_value() || random_.one_in(3)) return;
    }
  }
  // The first from a random place on, around the end; count_ if there is none.
  size_t host_of(OpSet hosts) {
    if (count_ == 0) return count_;
    const size_t from = some();
    for (size_t i = 0; i < count_; ++i) {
      const Operation operation = get((from + i) % count_);
      if (!operation.reserved() && (hosts >> operation.code & 1) != 0) return (from + i) % count_;
    }
    return count_;
  }

  // Swarm: what a program has none of matters as much as what it has.
  void from_nothing() {
    const OpSet subset = random_.word();
    count_ = 0;
    if (!random_.one_in(4)) insert(0, any_world());
    const size_t length = 4 + random_.below(20);
    for (size_t i = 0; i < length; ++i) {
      if (random_.one_in(8)) {
        interleave();
      } else {
        insert(count_, fitting_operation(sketch_at(count_), subset, random_));
      }
    }
  }

  uint8_t* data_;
  size_t count_;
  size_t limit_;
  Random random_;
};

}  // namespace

size_t mutate_program(uint8_t* data, size_t size, size_t max_size, uint32_t seed,
                      size_t (*bytes)(uint8_t*, size_t, size_t)) {
  Draft draft(data, size, max_size, seed);
  if (bytes != nullptr && (max_size < kBytesPerOperation || draft.random().one_in(5))) {
    return bytes(data, size, max_size);
  }
  for (size_t n = 1 + static_cast<size_t>(std::countr_zero(draft.random().word() | 8)); n > 0; --n) draft.change();
  return draft.bytes();
}

size_t cross_programs(const uint8_t* first, size_t first_size, const uint8_t* second, size_t second_size, uint8_t* out,
                      size_t max_size, uint32_t seed) {
  Random random(seed);
  const size_t head = random.below(first_size / kBytesPerOperation + 1) * kBytesPerOperation;
  const size_t cut = random.below(second_size / kBytesPerOperation + 1) * kBytesPerOperation;
  const size_t limit = max_size / kBytesPerOperation * kBytesPerOperation;
  const size_t from_first = std::min(head, limit);
  const size_t from_second = std::min(second_size / kBytesPerOperation * kBytesPerOperation - cut, limit - from_first);
  std::memcpy(out, first, from_first);
  std::memcpy(out + from_first, second + cut, from_second);
  return from_first + from_second;
}

}  // namespace stackdrain
