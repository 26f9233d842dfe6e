// bitmap: a pool whose free and whose deferred slots are bits, not links: nothing is ever written into a dead stack.
//
// One bit a 2 KiB unit of the arena (a slot's first unit stands for it), in arrays of 64-bit words, one array a fact:
//
//   slots_[o]    the slot belongs to a span of order o          starts_   a small-stack span begins here
//   free_        the slot is free                               pending_  it was retired while a mark ran
//
// and, one bit a word of those (128 KiB of arena): offers_[o] "may have a free or pending slot of order o", dirty_
// "something became free or pending during a mark: look for empty spans".
//
//   retire ──one atomic OR──▶ pending_ ──take──▶ a stack again (Stack to Stack is always legal: any time, at once)
//                                 └──drain_step, a few words a hold: free_ |= pending_; empty spans ──▶ page heap
//
// The pause's part is O(1): end_mark only allows empty spans to leave. A drain may be interrupted by a next cycle
// anywhere between two words, because a pending slot is safe at any age.
//
// Memory order. A taker writes into a stack that a marker has read: the edge is pending_'s OR (release) to its AND
// (acquire). offers_ is a hint with a promise: a word with a free or pending slot of an order is offered. Retire sets
// the pending bit and then reads the offer; a taker withdraws the offer and then reads the pending bits: store
// buffering, so these four are sequentially consistent, and at least one of the two sees the other.
//
// Locks: an order's lock for taking and giving its slots, all of them for a step of the drain, then the page heap's.
// Words hold bits of several orders, so they are atomic even where a lock is held. Large stacks: the reserve of
// ReferencePool. Invariants: A1, A2 (strong), A4, B1.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>

#include "target/defects.h"
#include "target/drain/policy_list.h"
#include "target/drain/units.h"
#include "target/stack_pool.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

using Word = std::atomic<uint64_t>;
constexpr size_t kWordBits = 64;
constexpr size_t kWordsAStep = 16;  // of a drain step that says no budget: 2 MiB of arena, 64 spans
constexpr auto kRelaxed = std::memory_order_relaxed;

// A bit a unit, or a bit a word of those.
class Bits {
 public:
  explicit Bits(size_t bits) : words_(bits / kWordBits + 2) {}

  Word& word(size_t index) const { return words_[index]; }
  uint64_t load(size_t index) const { return words_[index].load(kRelaxed); }
  bool test(size_t bit) const { return (load(bit / kWordBits) >> (bit % kWordBits) & 1) != 0; }
  void set(size_t bit) const { words_[bit / kWordBits].fetch_or(mask(bit), kRelaxed); }
  void clear(size_t bit) const { words_[bit / kWordBits].fetch_and(~mask(bit), kRelaxed); }
  static uint64_t mask(size_t bit) { return uint64_t{1} << (bit % kWordBits); }

  // The 16 bits from `first`, which may lie in two words.
  uint32_t window(size_t first) const {
    const size_t shift = first % kWordBits;
    uint64_t bits = load(first / kWordBits) >> shift;
    if (shift > kWordBits - kUnitsPerSpan) bits |= load(first / kWordBits + 1) << (kWordBits - shift);
    return static_cast<uint32_t>(bits & 0xffff);
  }
  void set_window(size_t first, uint64_t bits) const {
    const size_t shift = first % kWordBits;
    words_[first / kWordBits].fetch_or(bits << shift, kRelaxed);
    if (shift > kWordBits - kUnitsPerSpan)
      words_[first / kWordBits + 1].fetch_or(bits >> (kWordBits - shift), kRelaxed);
  }
  void clear_window(size_t first) const {
    const size_t shift = first % kWordBits;
    words_[first / kWordBits].fetch_and(~(uint64_t{0xffff} << shift), kRelaxed);
    if (shift > kWordBits - kUnitsPerSpan) {
      words_[first / kWordBits + 1].fetch_and(~(uint64_t{0xffff} >> (kWordBits - shift)), kRelaxed);
    }
  }
  // The first set bit from `bit` on and below `end`; `end` if there is none.
  size_t next(size_t bit, size_t end) const {
    for (size_t index = bit / kWordBits; bit < end; ++index, bit = index * kWordBits) {
      const uint64_t bits = load(index) >> (bit % kWordBits);
      if (bits != 0) return std::min(end, bit + static_cast<size_t>(std::countr_zero(bits)));
    }
    return end;
  }
  void reset(size_t bits) const {
    for (size_t index = 0; index <= bits / kWordBits; ++index) words_[index].store(0, kRelaxed);
  }

 private:
  Table<Word> words_;
};

// The slots of a span of an order, as bits from its first unit.
constexpr uint64_t span_slots(int order) {
  constexpr uint64_t kSlots[kMaxOrders] = {0xffff, 0x5555, 0x1111, 0x0101};
  return kSlots[order];
}

class BitmapPool : public ReferencePool {
 public:
  explicit BitmapPool(Arena& arena)
      : ReferencePool(arena),
        units_(size_t{arena.pages()} * kUnitsPerPage),
        slots_{Bits(units_), Bits(units_), Bits(units_), Bits(units_)},
        starts_(units_),
        free_(units_),
        pending_(units_),
        offers_{Bits(words()), Bits(words()), Bits(words()), Bits(words())},
        dirty_(words()) {}

  void reset(const PoolParams& params) {
    const size_t used = mapped_units();
    for (const Bits* bits : {&slots_[0], &slots_[1], &slots_[2], &slots_[3], &starts_, &free_, &pending_})
      bits->reset(used);
    for (const Bits* bits : {&offers_[0], &offers_[1], &offers_[2], &offers_[3], &dirty_})
      bits->reset(used / kWordBits);
    ReferencePool::reset(params);
    for (auto& hint : hints_) hint.store(0, kRelaxed);
    cursor_ = 0;
    pass_.store(false, kRelaxed);
  }

  void begin_cycle(CycleKind kind) {
    ReferencePool::begin_cycle(kind);
    keep_empty(true);  // large ones; small ones stay because marking() says so
  }

  void retire(Proc proc, Stack stack, RetireWhy why) {
    yield_point(Yield::kRetire);
    if (planted(Defect::kImmediateFree) && why == RetireWhy::kShrunk) keep_empty(false);
    if (!marking() || !is_small(stack.bytes())) {  // not reached by programs: retired in a mark only
      free(proc, stack);
      return;
    }
    count_given_back(proc, stack.bytes());
    asan_poison(stack.lo + kLinkBytes, stack.bytes() - kLinkBytes);
    const size_t unit = unit_of(stack.lo);
    pending_.word(unit / kWordBits).fetch_or(Bits::mask(unit), std::memory_order_seq_cst);
    offer(order_of(stack.bytes()), unit / kWordBits);
    if (!dirty_.test(unit / kWordBits)) dirty_.set(unit / kWordBits);
    if (planted(Defect::kQ5DrainWhileMarking)) step(~size_t{0});
  }

  void end_mark() {
    mark_done();
    keep_empty(false);
    cursor_ = 0;
    pass_.store(true, std::memory_order_release);
  }

  void restarted() {}

  // Looks at `budget` (0: kWordsAStep) words of the arena that a mark left dirty; the slots and spans given back.
  size_t drain_step(size_t budget) {
    // not reached by programs: nobody drains while a mark runs, or for nothing
    if (marking() || !drain_pending()) return 0;
    yield_point(Yield::kHandOff);
    const size_t done = step(budget == 0 ? kWordsAStep : budget);
    yield_point(Yield::kDrainStep);
    return done;
  }

  bool drain_pending() const { return pass_.load(std::memory_order_acquire); }

  PoolStats stats() const {
    PoolStats stats = ReferencePool::stats();
    for_each_dirty([&](size_t word) {
      for (int order = 0; order < params().orders; ++order) {
        const uint64_t held = pending_.load(word) & slots_[static_cast<size_t>(order)].load(word);
        stats.held_bytes += static_cast<size_t>(std::popcount(held)) * order_bytes(order);
      }
    });
    return stats;
  }

  void walk(WalkVisitor& visitor) const {
    SpanFacts facts(*this, visitor);
    ReferencePool::walk(facts);
    // not reached by programs: explore alone asks
    if (visitor.wants_hidden()) tell_hidden(visitor);
  }

 protected:
  uintptr_t pool_take(int order) override {
    const size_t end = mapped_units() / kWordBits + 1;
    const size_t hint = std::min(end, hints_[static_cast<size_t>(order)].load(kRelaxed));
    uintptr_t lo = take_between(hint, end, order);
    if (lo == 0) lo = take_between(0, hint, order);
    return lo != 0 ? lo : carve(order);
  }

  void pool_give(uintptr_t lo, int order) override {
    const size_t unit = unit_of(lo);
    free_.set(unit);
    offer(order, unit / kWordBits);
    if (marking()) {
      dirty_.set(unit / kWordBits);
      return;
    }
    Span* span = heap_.span_of(lo);
    STACKDRAIN_CHECK(span != nullptr && span->current() == SpanState::kStack, "a freed slot is in no stack span");
    if (!is_empty(first_unit(*span), order)) return;
    forget(*span);
    heap_.free(span);
  }

  size_t release_empty_of(int) override { return 0; }  // a step of the drain does it, order by order within a word

  void walk_orders(WalkVisitor& visitor) const override {
    const size_t end = mapped_units();
    for (size_t start = starts_.next(0, end); start < end; start = starts_.next(start + 1, end)) {
      const int order = order_at(start);
      // not reached by programs: only a damaged pool is so
      if (order < 0) {
        visitor.fault(WalkFault::kListMember, address_of(start));
        continue;
      }
      for (uint32_t bits = available(start, order); bits != 0; bits &= bits - 1) {
        const size_t unit = start + static_cast<size_t>(std::countr_zero(bits));
        // not reached by programs: only a damaged pool is so
        if (!offers_[static_cast<size_t>(order)].test(unit / kWordBits)) {
          visitor.fault(WalkFault::kListMember, address_of(unit));
        }
        visitor.slot({address_of(unit), order_bytes(order), SlotPlace::kPoolFree, kNoProc});
      }
    }
    walk_strays(visitor);
  }

 private:
  // Tells a walk what the bits say of a small-stack span, whose descriptor counts nothing.
  class SpanFacts final : public WalkVisitor {
   public:
    SpanFacts(const BitmapPool& pool, WalkVisitor& visitor) : pool_(pool), visitor_(visitor) {}
    void span(const SpanView& view) override {
      SpanView facts = view;
      if (view.state == SpanState::kStack && view.order < kMaxOrders) {
        const uint32_t free = pool_.available(pool_.unit_of(view.base), view.order);
        facts.out = static_cast<uint16_t>(view.capacity - std::popcount(free));
        facts.has_free_list = free != 0;
        facts.list = free != 0 ? SpanList::kOrder : SpanList::kNone;
      }
      visitor_.span(facts);
    }
    void slot(const SlotView& view) override { visitor_.slot(view); }
    // not reached by programs: only a damaged pool is so
    void fault(WalkFault fault, uintptr_t address) override { visitor_.fault(fault, address); }
    bool wants_hidden() const override { return visitor_.wants_hidden(); }
    // not reached by programs: explore alone asks
    void hidden(uint64_t word) override { visitor_.hidden(word); }

   private:
    const BitmapPool& pool_;
    WalkVisitor& visitor_;
  };

  size_t words() const { return units_ / kWordBits + 1; }
  size_t mapped_units() const { return arena_mapped() / kMinStackBytes; }
  size_t unit_of(uintptr_t lo) const { return (lo - arena_base()) / kMinStackBytes; }
  uintptr_t address_of(size_t unit) const { return arena_base() + unit * kMinStackBytes; }
  static size_t first_unit(const Span& span) { return size_t{span.first()} * kUnitsPerPage; }

  // What decides which slot comes next and which spans are looked at, and a walk does not show.
  // not reached by programs: explore alone asks
  void tell_hidden(WalkVisitor& visitor) const {
    for (size_t word = 0; word <= mapped_units() / kWordBits; ++word) visitor.hidden(pending_.load(word));
    for (size_t word = 0; word <= mapped_units() / kWordBits / kWordBits; ++word) {
      visitor.hidden(dirty_.load(word));
      for (const Bits& offers : offers_) visitor.hidden(offers.load(word));
    }
    for (const auto& hint : hints_) visitor.hidden(hint.load(kRelaxed));
    visitor.hidden(drain_pending() ? cursor_ + 1 : 0);
  }

  // A free or pending bit belongs to a slot of a span.
  void walk_strays(WalkVisitor& visitor) const {
    for (size_t word = 0; word <= mapped_units() / kWordBits; ++word) {
      uint64_t stray = free_.load(word) | pending_.load(word);
      for (const Bits& slots : slots_) stray &= ~slots.load(word);
      // not reached by programs: only a damaged pool is so
      if (stray == 0) continue;
      // not reached by programs: only a damaged pool is so
      visitor.fault(WalkFault::kFreeList, address_of(word * kWordBits + static_cast<size_t>(std::countr_zero(stray))));
      // not reached by programs: only a damaged pool is so
      return;
    }
  }

  // Free and pending slots of the span of an order that begins at a unit.
  uint32_t available(size_t start, int order) const {
    return static_cast<uint32_t>((free_.window(start) | pending_.window(start)) & span_slots(order));
  }
  bool is_empty(size_t start, int order) const { return available(start, order) == span_slots(order); }
  int order_at(size_t start) const {
    for (int order = 0; order < params().orders; ++order) {  // not reached by programs: only a damaged pool is so
      if (slots_[static_cast<size_t>(order)].test(start)) return order;
    }
    // not reached by programs: only a damaged pool is so
    return -1;
  }

  // The word has, or may soon have, a slot of that order.
  void offer(int order, size_t word) const {
    Word& offers = offers_[static_cast<size_t>(order)].word(word / kWordBits);
    if ((offers.load(std::memory_order_seq_cst) & Bits::mask(word)) != 0) return;
    offers.fetch_or(Bits::mask(word), std::memory_order_seq_cst);
    std::atomic<size_t>& hint = hints_[static_cast<size_t>(order)];
    if (word < hint.load(kRelaxed)) hint.store(word, kRelaxed);
  }

  // A slot from the first word of [begin, end) that has one; 0 if none has.
  uintptr_t take_between(size_t begin, size_t end, int order) {
    const Bits& offers = offers_[static_cast<size_t>(order)];
    for (size_t word = offers.next(begin, end); word < end; word = offers.next(word + 1, end)) {
      const uintptr_t lo = take_from(word, order);
      if (lo == 0) continue;
      hints_[static_cast<size_t>(order)].store(word, kRelaxed);
      return lo;
    }
    return 0;
  }

  uintptr_t take_from(size_t word, int order) {
    const uint64_t mine = slots_[static_cast<size_t>(order)].load(word);
    for (const Bits* bits : {&free_, &pending_}) {
      const uint64_t candidates = bits->load(word) & mine;
      if (candidates == 0) continue;
      const uint64_t taken = candidates & (~candidates + 1);
      bits->word(word).fetch_and(~taken, std::memory_order_acquire);
      return address_of(word * kWordBits + static_cast<size_t>(std::countr_zero(taken)));
    }
    // Withdrawn, then looked again: a retire that came in between has seen the offer still standing.
    offers_[static_cast<size_t>(order)].word(word / kWordBits).fetch_and(~Bits::mask(word), std::memory_order_seq_cst);
    // not reached by programs: wants a retire between the two reads, so a second thread
    if ((pending_.word(word).load(std::memory_order_seq_cst) & mine) == 0) return 0;
    // not reached by programs: wants a second thread
    offer(order, word);
    // not reached by programs: wants a second thread
    return take_from(word, order);
  }

  // A new span, all its slots free; one of them.
  uintptr_t carve(int order) {
    const auto bytes = static_cast<uint32_t>(order_bytes(order));
    Span* span = heap_.allocate(kPoolSpanPages, {SpanState::kStack, static_cast<uint8_t>(order), bytes});
    if (span == nullptr) return 0;
    const size_t start = first_unit(*span);
    const uintptr_t lo = address_of(start);
    for (size_t slot = 0; slot < kPoolSpanBytes; slot += bytes) asan_unpoison(lo + slot, kLinkBytes);
    starts_.set(start);
    slots_[static_cast<size_t>(order)].set_window(start, span_slots(order));
    free_.set_window(start, span_slots(order) & ~uint64_t{1});  // all but the one that is taken
    if (planted(Defect::kSpanNotListed)) return lo;
    offer(order, start / kWordBits);
    offer(order, (start + kUnitsPerSpan - 1) / kWordBits);
    return lo;
  }

  // Takes a span that is empty out of every array.
  void forget(const Span& span) {
    const size_t start = first_unit(span);
    starts_.clear(start);
    slots_[span.order].clear_window(start);
    if (!planted(Defect::kFreelistKept)) free_.clear_window(start);
    pending_.clear_window(start);
  }

  template <class Look>
  void for_each_dirty(const Look& look) const {
    const size_t end = mapped_units() / kWordBits + 1;
    for (size_t word = dirty_.next(0, end); word < end; word = dirty_.next(word + 1, end)) look(word);
  }

  size_t step(size_t words_left) SD_NO_ANALYSIS {
    lock_all();
    const size_t end = mapped_units() / kWordBits + 1;
    Span* first = nullptr;
    Span* last = nullptr;
    size_t done = 0;
    for (; words_left > 0 && (cursor_ = dirty_.next(cursor_, end)) < end; --words_left) {
      count_work();
      dirty_.clear(cursor_);
      if (planted(Defect::kQ7LastNodeSkipped) && dirty_.next(cursor_, end) == end) continue;
      done += settle(cursor_);
      collect_empty(cursor_, first, last, done);
    }
    if (cursor_ >= end || planted(Defect::kQ10BudgetNeverResumes)) pass_.store(false, std::memory_order_release);
    if (first != nullptr) heap_.free_ascending(first);
    const bool over = cursor_ >= end;
    unlock_all();
    return done + (over ? release_empty_spans() : 0);  // the large reserve
  }

  // What is pending in a word is free; how many.
  size_t settle(size_t word) const {
    const uint64_t pending = pending_.word(word).exchange(0, std::memory_order_acquire);
    free_.word(word).fetch_or(pending, kRelaxed);
    return static_cast<size_t>(std::popcount(pending));
  }

  // The empty ones of the spans that touch a word, in ascending addresses. One that begins in the word before, whose
  // turn it was already, may have become empty by this word.
  void collect_empty(size_t word, Span*& first, Span*& last, size_t& done) {
    const size_t from = word == 0 ? 0 : word * kWordBits - (kUnitsPerSpan - 1);
    const size_t end = (word + 1) * kWordBits;
    for (size_t start = starts_.next(from, end); start < end; start = starts_.next(start + 1, end)) {
      if (start + kUnitsPerSpan > end) settle(word + 1);
      const int order = order_at(start);
      if (!is_empty(start, order)) continue;
      Span* span = heap_.span_of(address_of(start));
      forget(*span);
      span->next = nullptr;
      (first == nullptr ? first : last->next) = span;
      last = span;
      ++done;
    }
  }

  size_t units_;
  std::array<Bits, kMaxOrders> slots_;
  Bits starts_;
  Bits free_;
  Bits pending_;
  std::array<Bits, kMaxOrders> offers_;
  Bits dirty_;
  // Where the next search begins. Only a hint: a search that finds nothing there begins again at 0.
  mutable std::array<std::atomic<size_t>, kMaxOrders> hints_{};
  size_t cursor_ = 0;              // of the pass, under all locks
  std::atomic<bool> pass_{false};  // a cycle ended and what it left is not all looked at
};
static_assert(StackPool<BitmapPool>);

}  // namespace

std::unique_ptr<AnyPool> make_bitmap(Arena& arena) {
  return std::make_unique<PoolBox<BitmapPool>>(arena);
}

}  // namespace stackdrain
