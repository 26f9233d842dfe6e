#include "fuzz/stepper.h"

#include <algorithm>
#include <bit>

namespace stackdrain {

Stepper::~Stepper() {
  machine_.running_ = false;
#if STACKDRAIN_YIELDS
  yield_hook = nullptr;
#endif
}

void Stepper::begin(const PolicyRow& policy, Operation world) {
  length_ = 0;
  add(world);
  machine_.observer_ = nullptr;
  machine_.reset({program_.data(), length_ * kBytesPerOperation}, policy);
  machine_.running_ = true;
#if STACKDRAIN_YIELDS
  yield_hook = &machine_;
#endif
  machine_.watch_ = Machine::Watch::kNothing;
  run();
}

void Stepper::add(Operation operation) {
  STACKDRAIN_CHECK(length_ < kMaxLength, "a stepped program is longer than there is room for");
  const uint16_t word = encode_operation(operation);
  program_[length_ * kBytesPerOperation] = static_cast<uint8_t>(word & 0xff);
  program_[length_ * kBytesPerOperation + 1] = static_cast<uint8_t>(word >> 8);
  ++length_;
}

// What was added and not yet run.
void Stepper::run() {
  machine_.program_ = {program_.data(), length_ * kBytesPerOperation};
  machine_.length_ = machine_.verdict_.operations = length_;
  while (machine_.next_ < length_ && !failed()) machine_.run_next();
}

void Stepper::replay(std::span<const Operation> operations) {
  machine_.watch_ = Machine::Watch::kNothing;
  for (const Operation operation : operations) add(operation);
  run();
}

const char* Stepper::step(Operation operation) {
  machine_.watch_ = Machine::Watch::kEverything;
  machine_.points_reached_ = 0;
  add(operation);
  run();
  return machine_.outcome_.no_op;
}

size_t Stepper::step_inside(Yield point, Operation host, std::span<const Operation> inside) {
  machine_.watch_ = Machine::Watch::kEverything;
  constexpr uint16_t kOne = 0;  // the field says how many, from one
  add({static_cast<uint8_t>(Op::kAt), static_cast<uint16_t>(static_cast<uint16_t>(point) | kOne << 4)});
  add(host);
  add(inside[0]);
  inside_ = inside;
  tried_ = 0;
  machine_.alternatives_ = this;
  machine_.program_ = {program_.data(), length_ * kBytesPerOperation};
  machine_.length_ = machine_.verdict_.operations = length_;
  machine_.run_next();  // at
  machine_.run_next();  // the host, and what runs inside it
  machine_.alternatives_ = nullptr;
  const bool inside_ran = machine_.next_ == length_ && tried_ < inside.size();
  return inside_ran || failed() ? tried_ : inside.size();
}

// The last one inside was refused: the next one takes its place.
bool Stepper::next(size_t index) {
  if (++tried_ == inside_.size()) return false;
  length_ = index;
  add(inside_[tried_]);
  return true;
}

bool Stepper::finish() {
  machine_.watch_ = Machine::Watch::kUsual;
  machine_.index_ = length_;
  machine_.finish();
  return !failed();
}

namespace {

uint64_t finalised(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdu;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53u;
  return x ^ (x >> 33);
}

}  // namespace

// Hashes a state part by part; the walk's parts as the walk comes to them.
class StateHasher final : public WalkVisitor {
 public:
  StateHasher(Stepper& stepper, uint32_t parts)
      : stepper_(stepper), machine_(stepper.machine_), pool_(*machine_.pool_), parts_(parts) {
    ++stepper_.epoch_;
  }

  StateDigest digest() {
    marking_ = machine_.collector_.phase() == Phase::kMark;
    add_phase();
    add_goroutines();
    begin(DigestPart::kSpans);
    pool_.walk(*this);  // numbers all slots that no goroutine has
    add_heap();
    add_held();
    add_shrunk();
    add_deferred();
    return {finalised(high_ ^ count_), finalised(low_ + high_)};
  }

 private:
  static constexpr size_t kMaxSet = kMaxRetired;

  bool wants(DigestPart part) const { return (parts_ >> static_cast<uint32_t>(part) & 1) != 0; }
  // Words of one part never look like another's.
  void begin(DigestPart part) {
    part_ = part;
    word(0x5157u + static_cast<uint64_t>(part));
  }
  void word(uint64_t value) {
    if (!wants(part_)) return;
    ++count_;
    high_ = std::rotl((high_ ^ value) * 0x9e3779b97f4a7c15u, 31);
    low_ = std::rotl((low_ + std::rotl(value, 32)) * 0xd6e8feb86659fd93u, 27) ^ high_;
  }
  uint64_t offset(uintptr_t address) const { return address - pool_.arena_base(); }

  // A stack's place: its span, and which of its slots, numbered as they are met.
  uint64_t place_of(uintptr_t lo) {
    const uint64_t unit = offset(lo) / kMinStackBytes;
    const uint64_t base = offset(pool_.locate(lo).base);
    if (unit >= Stepper::kUnits || base / kMinStackBytes >= Stepper::kUnits)
      return ~unit;  // a damaged pool says anything
    if (machine_.policy_->claims.by_address) return unit;
    uint32_t& met = fresh(stepper_.met_, base / kMinStackBytes);
    uint32_t& number = fresh(stepper_.number_, unit);
    if (number == 0) number = ++met;
    return base << 16 | number;
  }

  // An entry of this digest; 0 if it was not asked for yet.
  uint32_t& fresh(Stepper::Numbers& numbers, uint64_t at) {
    Stepper::Number& number = numbers[at];
    if (number.epoch != stepper_.epoch_) number = {stepper_.epoch_, 0};
    return number.value;
  }

  void set(uint64_t value) {
    if (set_size_ < set_.size()) set_[set_size_++] = value;
  }
  void end_set() {
    std::sort(set_.begin(), set_.begin() + static_cast<std::ptrdiff_t>(set_size_));
    word(set_size_);
    for (size_t i = 0; i < set_size_; ++i) word(set_[i]);
    set_size_ = 0;
  }

  void add_phase() {
    const Collector& collector = machine_.collector_;
    begin(DigestPart::kPhase);
    word(static_cast<uint64_t>(collector.phase()));
    word(machine_.checker_.flushed() ? 1 : 0);
    word(pool_.drain_pending() ? 1 : 0);
    if (marking_) {
      word(static_cast<uint64_t>(collector.kind().markers));
      word(collector.kind().concurrent ? 1 : 0);
      // Jobs of goroutines that nothing will name do nothing: it does not count how many of them are left.
      word(std::min(collector.next_job(), kFixedJobs + stepper_.goroutines_));
    }
    begin(DigestPart::kProc);
    word(static_cast<uint64_t>(machine_.proc_));
  }

  void add_goroutines() {
    begin(DigestPart::kOwners);
    for (uint32_t g = 0; g < stepper_.goroutines_; ++g) {
      const ModelGoroutine& expected = machine_.model_.goroutines[g];
      word(static_cast<uint64_t>(machine_.goroutines_[g].status()));
      word(expected.stack ? place_of(expected.stack.lo) : ~uint64_t{0});
      word(expected.stack.bytes());
      word(expected.frames);
      for (size_t frame = 0; frame < expected.frames; ++frame) word(expected.frame_bytes[frame]);
      for (const uint32_t root : expected.roots) word(root);
    }
    if (!marking_) return;
    const uint32_t cycle = machine_.collector_.cycle();
    begin(DigestPart::kScans);
    for (uint32_t g = 0; g < stepper_.goroutines_; ++g) {
      const uint64_t scanned = machine_.goroutines_[g].scanned_cycle() == cycle ? 1 : 0;
      const uint64_t shrunk = machine_.goroutines_[g].shrunk_cycle() == cycle ? 2 : 0;
      const uint64_t expected = machine_.model_.goroutines[g].shrunk_cycle == cycle ? 4 : 0;
      word(scanned | shrunk | expected);
    }
  }

  void span(const SpanView& view) override {
    begin(DigestPart::kSpans);
    word(offset(view.base));
    word(uint64_t{view.pages} << 32 | static_cast<uint64_t>(view.state) << 16 | static_cast<uint64_t>(view.list) << 8 |
         view.order);
    word(uint64_t{view.slot_bytes} << 32 | uint32_t{view.capacity} << 16 | view.out);
    word(view.limit == 0 ? 0 : view.limit - view.base);
    word((view.has_free_list ? 2 : 0) | (view.needs_zero ? 1 : 0));
  }
  void slot(const SlotView& view) override {
    begin(DigestPart::kSlots);
    word(place_of(view.lo));
    word(view.bytes << 16 | static_cast<uint64_t>(view.place) << 8 | static_cast<uint8_t>(view.proc));
  }
  void fault(WalkFault fault, uintptr_t) override {
    begin(DigestPart::kSlots);
    word(~static_cast<uint64_t>(fault));
  }
  bool wants_hidden() const override { return true; }
  void hidden(uint64_t value) override {
    begin(DigestPart::kHidden);
    word(value);
  }

  void add_heap() {
    begin(DigestPart::kHeap);
    for (size_t slot = 0; slot < kHeapSlots; ++slot) {
      const uintptr_t base = machine_.model_.heap[slot];
      if (base != 0) word(offset(base) << 8 | slot);
    }
  }

  // A pointer counts by its span, and by whether that is the span that it was LOADed from.
  void set_watched(uintptr_t address, uint32_t generation, uint64_t rank = 0) {
    const Location now = pool_.locate(address);
    set(rank << 56 | offset(now.base) << 8 | static_cast<uint64_t>(now.state) << 1 |
        (now.generation == generation ? 1 : 0));
  }

  // Where graces count: how many readers have read since a moment or longer. Readers are ordered by when they began, so
  // that says of what was retired then which of them it waits for.
  uint64_t rank(uint64_t moment) const {
    return machine_.policy_->claims.frees_after_grace ? machine_.model_.readers_since(moment) : 0;
  }

  void add_held() {
    begin(DigestPart::kHeld);
    for (int marker = 0; marking_ && marker < machine_.collector_.kind().markers; ++marker) {
      const Held& held = machine_.collector_.held(marker);
      if (held.pointer != 0)
        set_watched(held.pointer, held.at_load.generation,
                    rank(machine_.model_.marker_since[static_cast<size_t>(marker)]));
    }
    end_set();
    for (Proc proc = 0; proc < pool_.params().procs; ++proc) {
      for (const Held& held : machine_.collector_.buffered(proc)) set_watched(held.pointer, held.at_load.generation);
      set(rank(machine_.model_.buffer_since[static_cast<size_t>(proc)]));
      end_set();
    }
    end_set();
  }

  void add_shrunk() {
    begin(DigestPart::kShrunk);
    const bool watched = marking_ && machine_.policy_->claims.sound;
    const auto& shrunk = machine_.model_.shrunk;
    const bool graces = machine_.policy_->claims.frees_after_grace;
    for (size_t i = 0; watched && i < shrunk.count; ++i) {
      if (graces && !machine_.model_.in_grace(shrunk.items[i].at)) continue;
      set_watched(shrunk.items[i].stack.lo, shrunk.items[i].span.generation, rank(shrunk.items[i].at));
    }
    set_size_ = static_cast<size_t>(unique_end() - set_.begin());
    end_set();
  }
  std::array<uint64_t, kMaxSet>::iterator unique_end() {
    const auto end = set_.begin() + static_cast<std::ptrdiff_t>(set_size_);
    std::sort(set_.begin(), end);
    return std::unique(set_.begin(), end);
  }

  void add_deferred() {
    begin(DigestPart::kDeferred);
    const auto& deferred = machine_.model_.deferred;
    for (size_t i = 0; i < deferred.count; ++i) {
      const ModelRetired& retired = deferred.items[i];
      const uint64_t sizes = uint64_t{retired.used} << 32 | retired.stack.bytes();
      const uint64_t ranks = rank(retired.at) << 16 | rank(retired.by) << 8 | rank(retired.second);
      const uint64_t flags = (retired.by != 0 ? 1 : 0) | (retired.second != 0 ? 2 : 0) | (retired.handed_off ? 4 : 0);
      const uint64_t grace = machine_.policy_->claims.frees_after_grace ? ranks << 8 | flags : 0;
      set(finalised(place_of(retired.stack.lo)) ^ finalised(sizes * 0x9e3779b97f4a7c15u + grace));
    }
    end_set();
    word(machine_.model_.reserve_known ? 1 : 0);
    for (const uint32_t stacks : machine_.model_.reserve) word(stacks);
  }

  Stepper& stepper_;
  Machine& machine_;
  AnyPool& pool_;
  uint32_t parts_;
  DigestPart part_ = DigestPart::kPhase;
  bool marking_ = false;
  uint64_t count_ = 0;
  uint64_t high_ = 0x243f6a8885a308d3u;
  uint64_t low_ = 0x13198a2e03707344u;
  std::array<uint64_t, kMaxSet> set_;
  size_t set_size_ = 0;
};

StateDigest Stepper::digest(uint32_t parts) {
  return StateHasher(*this, parts).digest();
}

}  // namespace stackdrain
