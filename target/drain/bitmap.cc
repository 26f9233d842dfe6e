// bitmap: a pool whose free and whose deferred slots are bits, not links: nothing is ever written into a dead stack.
//
// One bit a 2 KiB unit of the arena (a slot's first unit stands for it), in tables of 64-bit words, for each order o:
//
//   slots    a slot of a span of the order        free    the slot is free
//   pending  it was retired while a mark ran      offers  one bit a word: "may have a free or pending slot"
//                                                 dirty   one bit a word: "may have a pending slot or an empty span",
//                                                         and one a word of these: a pass costs by what is dirty
//
// The spans are those of a BitmapHeap and lie at multiples of their 32 KiB: four in a word, 16 bits each. Large stacks
// are bits, too, one a page, by their size (large_).
//
//   retire ──one OR──▶ pending ──take──▶ a stack again (Stack to Stack is always legal: any time, at once)
//                         └──drain_step, a few words a hold: free |= pending; an empty span ─┬─▶ page heap, by masks
//                                                                 take ◀── the reserve ◀─────┘   (what is beyond it)
//
// The reserve. A span that the drain finds empty stays its order's, where it lies, as long as no more of them stay than
// spans of that order were put to use (empty before, or new) since the cycle before ended: last cycle's demand, so
// that who grows, shrinks and grows again pays for neither the release nor the next growth. Its word stays dirty, and
// the next pass looks at it again: after a cycle in which nothing grew all of it leaves, in one go. It leaves at once
// when the arena is exhausted and no mark runs. What a mutator's free empties is no drain's, and leaves as in Go; but
// what leaves a processor's cache waits on its shelf first (stack_cache.h), so that who frees many and takes as many
// again seldom comes here.
//
// The pause's part is O(1): end_mark only allows empty spans to leave, and tells whether there is anything to drain:
// two words say which orders have something dirty, and of which sizes large stacks wait. A drain may be interrupted by
// a next cycle anywhere between two words, because a pending slot is safe at any age. What is pending is counted by its
// bits, and in the accounts only when it leaves them, so that a retire is that one OR, and a look at two bits that are
// set mostly.
//
// Memory order. A taker writes into a stack that a marker has read: the edge is the OR into pending (release) to its
// AND (acquire). offers is a hint with a promise: a word with a free or pending slot of an order is offered. Retire
// sets the pending bit and then reads the offer; a taker withdraws the offer and then reads the pending bits: store
// buffering, so these four are sequentially consistent, and at least one of the two sees the other. A cycle of one
// marker with the world stopped has nobody to race with: that marker is the only one who retires or takes until the
// restart, whose edge (world stopped, world started) passes everything on; there the OR is a load and a store. In a
// step of the drain nobody retires: it runs between two cycles, and the stop before each is the edge from the retires
// of one, and to those of the next.
//
// Locks: drain_mutex_, which only drainers take, for what a pass knows; an order's lock for taking and giving its slots
// and for a step's share of them, one order at a time; large_mutex_ for taking large stacks and a step's share of them;
// then the page heap's. Only pending, offers and dirty are written without the order's lock, so these are changed
// atomically. Invariants: A1, A2 (strong), A4, B1, C4.
#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

#include "target/defects.h"
#include "target/drain/bitmap_tables.h"
#include "target/drain/bits.h"
#include "target/drain/policy_list.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

constexpr size_t kUnitsPerPageWord = kWordBits * kUnitsPerPage;
constexpr size_t kWordsPerPageWord = kUnitsPerPageWord / kWordBits;
constexpr size_t kPagesPerWord = kWordBits / kUnitsPerPage;
constexpr auto kSeqCst = std::memory_order_seq_cst;

// The lowest bit of each lane of 16 that is not zero.
constexpr uint64_t lanes_with(uint64_t bits) {
  constexpr uint64_t kLow = 0x7fff7fff7fff7fff;
  return (((bits & kLow) + kLow) | bits) >> 15 & 0x0001000100010001;
}
static_assert(lanes_with(0x8000'0000'0001'ffff) == 0x0001'0000'0001'0001);

// The pages (4 a span) of the spans whose lanes' lowest bits are set.
constexpr uint64_t pages_of_lanes(uint64_t lanes) {
  return ((lanes | lanes >> 12 | lanes >> 24 | lanes >> 36) & 0x1111) * 0xf;
}
static_assert(pages_of_lanes(0x0001'0000'0001'0000) == 0xf0f0);

// How many lanes' lowest bits are set: summed in the highest lane.
constexpr size_t count_lanes(uint64_t lanes) {
  return lanes * 0x0001000100010001 >> 48;
}
static_assert(count_lanes(0x0001'0000'0001'0001) == 3);

// The bits of the words of one word of pages, in a word that has a bit for each word.
constexpr uint64_t kPageWord = (uint64_t{1} << kWordsPerPageWord) - 1;

// The lanes of a word's spans: the first unit of each is a slot.
constexpr uint64_t kAllLanes = 0x0001000100010001;
constexpr uint64_t span_lanes(uint64_t slots) {
  return slots & kAllLanes;
}

// The lowest `count` of the set bits.
constexpr uint64_t lowest(uint64_t bits, size_t count) {
  uint64_t rest = bits;
  for (; count > 0 && rest != 0; --count) rest &= rest - 1;
  return bits ^ rest;
}

class BitmapPool : public BitmapTables {
 public:
  explicit BitmapPool(Arena& arena) : BitmapTables(arena) { BitmapPool::reset(PoolParams{}); }

  void reset(const PoolParams& params) {
    const size_t used = mapped_units();
    for (uint32_t orders = orders_seen_.load(kRelaxed); orders != 0; orders &= orders - 1) {
      small_[static_cast<size_t>(std::countr_zero(orders))].reset(used);
    }
    for (uint32_t sizes = large_seen_.load(kRelaxed); sizes != 0; sizes &= sizes - 1) {
      large_[static_cast<size_t>(std::countr_zero(sizes))].reset(mapped_pages());
    }
    reset_caches(params);
    const uint32_t pages = heap_.arena().pages();
    put_up_shelves(size_t{params.arena_pages == 0 ? pages : std::min(pages, params.arena_pages)} << kPageShift);
    heap_.reset(params.arena_pages, params.grow_chunk_bytes);
    orders_seen_.store(0, kRelaxed);
    orders_dirty_.store(0, kRelaxed);
    large_seen_.store(0, kRelaxed);
    large_waiting_.store(0, kRelaxed);
    alone_ = false;
    demand_ = {};
    begin_pass();
    pass_.store(false, kRelaxed);
  }

  void begin_cycle(CycleKind kind) {
    BitmapTables::begin_cycle(kind);
    alone_ = kind.markers == 1 && !kind.concurrent;
  }

  void retire(Proc proc, Stack stack, RetireWhy why) {
    yield_point(Yield::kRetire);
    if (planted(Defect::kImmediateFree) && why == RetireWhy::kShrunk) return free_at_once(proc, stack);
    if (!marking()) return free(proc, stack);  // not reached by programs: retired in a mark only
    asan_poison(stack.lo + kLinkBytes, stack.bytes() - kLinkBytes);
    const int order = order_of(stack.bytes());
    if (order < params().orders) {
      const size_t unit = unit_of(stack.lo);
      const Small& small = small_[static_cast<size_t>(order)];
      put_pending(small.pending.word(unit / kWordBits), Bits::mask(unit));
      offer(small, unit / kWordBits);
      mark_dirty(small, order, unit / kWordBits);
    } else {
      wait(stack);
    }
    if (planted(Defect::kQ5DrainWhileMarking)) drain_while_marking();
  }

  void end_mark() {
    mark_done();
    begin_pass();
    // Where nothing waits there is nothing to drain: who retired was stopped, so what it left is seen.
    pass_.store((orders_dirty_.load(kRelaxed) | large_waiting_.load(kRelaxed)) != 0, std::memory_order_release);
  }

  void restarted() {}

  // Looks at `budget` (0: kWordsAStep) words of what a mark left dirty; the spans given back.
  size_t drain_step(size_t budget) {
    // not reached by programs: nobody drains while a mark runs, or for nothing
    if (marking() || !drain_pending()) return 0;
    yield_point(Yield::kHandOff);
    const size_t done = step(budget == 0 ? kWordsAStep : budget);
    yield_point(Yield::kDrainStep);
    return done;
  }

  uintptr_t allocate_heap(uint32_t pages, bool zeroed) {
    const uint32_t first = allocate_span(pages, {SpanState::kInUse, kNoOrder, 0});
    if (first == kNoPage) return 0;
    if (zeroed) heap_.clean(first);
    return address_of_page(first);
  }

  void free_heap(uintptr_t base) {
    const Location at = locate(base);
    STACKDRAIN_CHECK(at.state == SpanState::kInUse && at.base == base, "free_heap wants the base of an InUse span");
    if (const size_t bytes = size_t{at.pages} << kPageShift;
        planted(Defect::kFreePathBySize) && is_small(bytes) && bytes == order_bytes(order_of(bytes))) {
      return release(0, {base, base + bytes});
    }
    heap_.free(page_of(base));
  }

  uint64_t release_idle() { return heap_.release_idle(); }
  void note_written(uintptr_t lo, size_t bytes) { heap_.arena().note_written(lo, bytes); }

 protected:
  uintptr_t pool_take(int order) override {
    size_t word = 0;
    const uint64_t taken = take(order, 1, word);
    return taken == 0 ? 0 : address_in(word, taken);
  }

  void pool_fill(CacheList& list, int order) override {
    const size_t slot = order_bytes(order);
    while (list.bytes < kCacheFillBytes) {
      size_t word = 0;
      uint64_t taken = take(order, (kCacheFillBytes - list.bytes + slot - 1) / slot, word);
      if (taken == 0) return;  // the arena is exhausted: what was taken so far serves
      for (; taken != 0; taken &= taken - 1) list.push(address_in(word, taken), slot);
    }
  }

  void pool_give(uintptr_t lo, int order) override { give_slot(lo, order, marking()); }

  Stack allocate_large(size_t bytes) override {
    // not reached by programs: who grows asks for no more
    if (bytes > params().max_stack_bytes && !planted(Defect::kGrowthLimitOnDelta)) return {};
    const uint32_t pages = pages_for(bytes);
    uint32_t first = take_waiting(pages);
    if (first == kNoPage) first = allocate_span(pages, {SpanState::kStack, kLargeOrder, static_cast<uint32_t>(bytes)});
    if (first == kNoPage) return {};
    const uintptr_t lo = address_of_page(first);
    return {lo, lo + bytes};
  }

  void give_large(Stack stack) override {
    // not reached by programs: theirs are retired in a mark
    if (marking()) {
      // Given back and counted already; as what waits it is counted when it waits no more.
      count_many_given_back(~size_t{0}, ~size_t{0} - stack.bytes() + 1);
      return wait(stack);
    }
    heap_.free(page_of(stack.lo));
    yield_point(Yield::kSpanFreed);
    if (planted(Defect::kFreeBeforeMetadata)) heap_.clear_metadata(page_of(stack.lo));
  }

  bool spare(int) override { return spare(kPoolSpanPages, true); }

 private:
  // ---- giving ----

  // A pending bit. The plain form is for who is alone (see above).
  void put_pending(Word& word, uint64_t bit) const {
    if (alone_) {
      word.store(word.load(kRelaxed) | bit, kRelaxed);
    } else {
      word.fetch_or(bit, kSeqCst);
    }
  }

  // A word has, or may soon have, something to take. True if that is news.
  static bool offer(const Bits& offers, size_t word) {
    Word& offered = offers.word(word / kWordBits);
    if ((offered.load(kSeqCst) & Bits::mask(word)) != 0) [[likely]]
      return false;
    offered.fetch_or(Bits::mask(word), kSeqCst);
    return true;
  }

  static void offer(const Small& small, size_t word) {
    if (offer(small.offers, word) && word < small.hint.load(kRelaxed)) small.hint.store(word, kRelaxed);
  }

  void mark_dirty(const Small& small, int order, size_t word) {
    if (!small.dirty.test(word)) [[unlikely]]
      make_dirty(small, order, word);
  }
  // Out of line: most find it dirty, and are a look.
  [[gnu::noinline]] void make_dirty(const Small& small, int order, size_t word) {
    small.dirty.share(word);
    note_seen(orders_dirty_, static_cast<size_t>(order));
  }

  void give_slot(uintptr_t lo, int order, bool keep) {
    const Small& small = small_[static_cast<size_t>(order)];
    const size_t word = unit_of(lo) / kWordBits;
    const uint64_t lane = uint64_t{0xffff} << (unit_of(lo) % kWordBits / kUnitsPerSpan * kUnitsPerSpan);
    STACKDRAIN_CHECK((small.slots.load(word) & Bits::mask(unit_of(lo))) != 0,
                     "a freed slot is in no span of its order");
    small.free.put(word, Bits::mask(unit_of(lo)));
    if (keep || (small.slots.load(word) & lane & ~small.available(word)) != 0) {
      offer(small, word);
      if (keep) mark_dirty(small, order, word);
      return;
    }
    forget(order, word, lane);
    heap_.free(page_of(lo) / kPoolSpanPages * kPoolSpanPages);
  }

  // Takes the empty spans of some lanes out of an order's tables.
  void forget(int order, size_t word, uint64_t lanes) {
    const Small& small = small_[static_cast<size_t>(order)];
    small.slots.drop(word, lanes);
    if (!planted(Defect::kFreelistKept)) small.free.drop(word, lanes);
    if (const uint64_t pending = small.pending.load(word) & lanes; pending != 0) {
      small.pending.word(word).fetch_and(~lanes, std::memory_order_acquire);
      count_settled(order, static_cast<size_t>(std::popcount(pending)));
    }
  }

  void count_settled(int order, size_t slots) {
    if (slots != 0) count_many_given_back(slots, slots * order_bytes(order));
  }

  // Only the planted defect immediate-free.
  // not reached by programs: planted defects alone
  void free_at_once(Proc proc, Stack stack) SD_NO_ANALYSIS {
    count_given_back(proc, stack.bytes());
    asan_poison(stack.lo + kLinkBytes, stack.bytes() - kLinkBytes);
    if (!is_small(stack.bytes())) return heap_.free(page_of(stack.lo));
    MutexLock lock(lock_of(order_of(stack.bytes())));
    give_slot(stack.lo, order_of(stack.bytes()), false);
  }

  // ---- taking ----

  // Up to `want` slots of one word, as its bits; 0 when the arena is exhausted.
  uint64_t take(int order, size_t want, size_t& word) {
    const Small& small = small_[static_cast<size_t>(order)];
    const size_t end = words();
    const size_t hint = std::min(end, small.hint.load(kRelaxed));
    uint64_t taken = take_between(hint, end, order, want, word);
    if (taken == 0) taken = take_between(0, hint, order, want, word);
    return taken != 0 || !carve(order, word) ? taken : take_from(word, order, want);
  }

  uint64_t take_between(size_t begin, size_t end, int order, size_t want, size_t& word) {
    const Small& small = small_[static_cast<size_t>(order)];
    for (word = small.offers.next(begin, end); word < end; word = small.offers.next(word + 1, end)) {
      const uint64_t taken = take_from(word, order, want);
      if (taken == 0) continue;
      small.hint.store(word, kRelaxed);
      return taken;
    }
    return 0;
  }

  uint64_t take_from(size_t word, int order, size_t want) {
    const Small& small = small_[static_cast<size_t>(order)];
    const uint64_t free = small.free.load(word);
    const uint64_t available = free | small.pending.load(word);
    uint64_t taken = 0;
    if (free != 0) {
      taken = lowest(free, want);
      small.free.store(word, free & ~taken);
    } else {
      taken = take_pending(small.pending, small.offers, word, want);
      if (taken == 0) return 0;
      count_settled(order, static_cast<size_t>(std::popcount(taken)));
    }
    // Spans that were empty, and are put to use.
    const uint64_t slots = small.slots.load(word);
    demand_[static_cast<size_t>(order)] +=
        static_cast<uint32_t>(count_lanes(span_lanes(slots) & lanes_with(taken) & ~lanes_with(slots & ~available)));
    return taken;
  }

  // Up to `want` of a word's pending bits; if it has none, its offer is withdrawn.
  static uint64_t take_pending(const Bits& pending, const Bits& offers, size_t word, size_t want) {
    if (const uint64_t bits = pending.load(word); bits != 0) {
      const uint64_t taken = lowest(bits, want);
      pending.word(word).fetch_and(~taken, std::memory_order_acquire);
      return taken;
    }
    // Withdrawn, then looked again: a retire that came in between has seen the offer still standing.
    offers.word(word / kWordBits).fetch_and(~Bits::mask(word), kSeqCst);
    // not reached by programs: wants a retire between the two reads, so a second thread
    if (pending.word(word).load(kSeqCst) == 0) return 0;
    // not reached by programs: wants a second thread
    offer(offers, word);
    // not reached by programs: wants a second thread
    return take_pending(pending, offers, word, want);
  }

  // A new span, all its slots free, in `word`; false when the arena is exhausted.
  bool carve(int order, size_t& word) {
    const auto bytes = static_cast<uint32_t>(order_bytes(order));
    const uint32_t first = heap_.allocate(kPoolSpanPages, {SpanState::kStack, static_cast<uint8_t>(order), bytes});
    if (first == kNoPage) return false;
    const uintptr_t lo = address_of_page(first);
    for (size_t slot = 0; slot < kPoolSpanBytes; slot += bytes) asan_unpoison(lo + slot, kLinkBytes);
    const Small& small = small_[static_cast<size_t>(order)];
    note_seen(orders_seen_, static_cast<size_t>(order));
    const size_t unit = unit_of(lo);
    word = unit / kWordBits;
    small.slots.put(word, span_slots(order) << (unit % kWordBits));
    small.free.put(word, span_slots(order) << (unit % kWordBits));
    if (!planted(Defect::kSpanNotListed)) offer(small, word);
    return true;
  }

  // ---- large stacks that wait ----

  void wait(Stack stack) {
    const auto size = static_cast<size_t>(std::countr_zero(pages_for(stack.bytes())));
    const uint32_t page = page_of(stack.lo);
    const Large& large = large_[size];
    put_pending(large.pending.word(page / kWordBits), Bits::mask(page));
    offer(large.offers, page / kWordBits);
    note_seen(large_waiting_, size);
    note_seen(large_seen_, size);
  }

  static void note_seen(Atomic<uint32_t>& seen, size_t which) {
    if ((seen.load(kRelaxed) >> which & 1) == 0) seen.fetch_or(1u << which, kRelaxed);
  }

  // A large stack of exactly that many pages that waits; B7.
  uint32_t take_waiting(uint32_t pages) SD_EXCLUDES(large_mutex_) {
    const auto size = static_cast<size_t>(std::countr_zero(pages));
    if ((large_waiting_.load(kRelaxed) >> size & 1) == 0 || planted(Defect::kLargeNotReusable)) return kNoPage;
    MutexLock lock(large_mutex_);
    count_locks(1);
    const Large& large = large_[size];
    const size_t end = mapped_pages() / kWordBits + 1;
    for (size_t word = large.offers.next(0, end); word < end; word = large.offers.next(word + 1, end)) {
      const uint64_t taken = take_pending(large.pending, large.offers, word, 1);
      if (taken == 0) continue;
      count_many_given_back(1, size_t{pages} << kPageShift);
      return static_cast<uint32_t>(word * kWordBits) + static_cast<uint32_t>(std::countr_zero(taken));
    }
    return kNoPage;
  }

  // ---- the drain ----

  // World stopped. What an order may keep is known from here on.
  void begin_pass() SD_NO_ANALYSIS {
    may_keep_ = planted(Defect::kReserveKept) ? demand_ : std::exchange(demand_, {});
    turn_ = 0;
    cursor_ = 0;
    large_cursor_ = 0;
  }

  // Only the planted defect Q5.
  // not reached by programs: planted defects alone
  void drain_while_marking() SD_NO_ANALYSIS {
    begin_pass();
    may_keep_ = {};
    step(~size_t{0});
  }

  size_t step(size_t words_left) SD_EXCLUDES(drain_mutex_) {
    MutexLock drainers(drain_mutex_);
    size_t done = 0;
    for (; turn_ < params().orders; ++turn_, cursor_ = 0) {
      if (!is_dirty(turn_)) continue;
      uint32_t& told = may_keep_[static_cast<size_t>(turn_)];
      size_t may_keep = told;
      done += sweep_order(turn_, cursor_, words_left, may_keep);
      told = static_cast<uint32_t>(may_keep);
      if (cursor_ < words()) break;
      if (small_[static_cast<size_t>(turn_)].dirty.next(0, words()) == words())
        orders_dirty_.fetch_and(~(1u << turn_), kRelaxed);
    }
    if (planted(Defect::kQ10BudgetNeverResumes)) pass_.store(false, std::memory_order_release);
    return turn_ < params().orders ? done : done + sweep_large(words_left);
  }

  // What waits for its order's next growth, and all small stacks that a drain has not looked at yet, serve whoever is
  // short now. True if there was some. Nobody retires.
  bool give_up_reserve() SD_EXCLUDES(drain_mutex_) {
    MutexLock drainers(drain_mutex_);
    bool some = false;
    for (int order = 0; order < params().orders; ++order) {
      size_t word = 0;
      size_t words_left = ~size_t{0};
      size_t none = 0;
      if (sweep_order(order, word, words_left, none) != 0) some = true;
    }
    return some;
  }

  // Somebody was refused so many pages. Who had the drain's lock meanwhile may have left nothing to give up, because it
  // gave that back itself.
  bool spare(uint32_t pages, bool aligned) {
    if (marking()) return false;  // in a mark nothing leaves Stack (A2)
    // not reached by programs: somebody else gave it back: wants a second thread
    return give_up_reserve() || heap_.fits(pages, aligned);
  }

  // A span that the arena is too small for without the reserve.
  uint32_t allocate_span(uint32_t pages, SpanUse use) {
    const uint32_t first = heap_.allocate(pages, use);
    return first != kNoPage || !spare(pages, use.state == SpanState::kStack) ? first : heap_.allocate(pages, use);
  }

  // Some words of an order that are looked at under one hold of its lock.
  struct Sweep {
    const Small& small;
    uint64_t slots;      // of a word whose spans are all the order's
    int slots_shift;     // a span has 2^slots_shift slots
    size_t may_keep;     // empty spans that may stay
    size_t settled = 0;  // slots that were pending and are free
    size_t left = 0;     // spans that leave

    void take(const Sweep& later) {
      may_keep = later.may_keep;
      settled = later.settled;
      left = later.left;
    }
  };

  // Looks at an order's dirty words from `word` on, as many as are left to look at; the spans that left.
  size_t sweep_order(int order, size_t& word, size_t& words_left, size_t& may_keep)
      SD_REQUIRES(drain_mutex_) SD_NO_ANALYSIS {
    const Small& small = small_[static_cast<size_t>(order)];
    const size_t end = words();
    word = small.dirty.next(word, end);
    if (word == end) return 0;
    if (may_keep == 0) heap_.fetch(word / kWordsPerPageWord);  // else most of them stay
    Sweep sweep{small, span_slots(order) * kAllLanes, std::countr_zero(kPoolSpanBytes / order_bytes(order)), may_keep};
    MutexLock lock(lock_of(order));
    count_locks(1);
    while (words_left > 0 && word < end) {
      word = small.dirty.next(sweep_dirty_word(sweep, word, words_left), end);
    }
    leave();
    count_settled(order, sweep.settled);  // once: an atomic addition a word would be half of its cost
    may_keep = sweep.may_keep;
    return sweep.left;
  }

  void leave() SD_REQUIRES(drain_mutex_) {
    heap_.free_words(leaving_.masks());
    leaving_.clear();
  }

  // Looks at the words that one word of dirty tells of, from `word` on; the next one to look at. The order's lock is
  // held and nobody retires. One function whether spans may stay or not: those that stayed leave a cycle later, and the
  // instructions for it are those that were used then, not some to be waited for.
  size_t sweep_dirty_word(Sweep& told, size_t word, size_t& words_left) SD_REQUIRES(drain_mutex_) {
    // not reached by programs: no arena of theirs has so many words
    if (!leaving_.has_room(kWordBits)) leave();
    Sweep sweep = told;  // in registers, whatever is written meanwhile
    const SummedBits& dirty = sweep.small.dirty;
    const size_t index = word / kWordBits;
    const size_t first = index * kWordBits;
    uint64_t stay = dirty.load(index);
    uint64_t look = stay >> (word % kWordBits) << (word % kWordBits);
    size_t left = words_left;
    if (sweep.may_keep == 0) {
      const uint64_t gone = whole_pages_leave(sweep.small, sweep.slots, first, look, left);
      const auto count = static_cast<size_t>(std::popcount(gone));
      look ^= gone;
      stay ^= gone;
      left -= count;
      sweep.left += count * count_lanes(kAllLanes);
    }
    for (; look != 0 && left > 0; look &= look - 1, --left) {
      count_work();
      if (!sweep_word(sweep, first + static_cast<size_t>(std::countr_zero(look)))) stay ^= look & (~look + 1);
    }
    dirty.store(index, stay);
    words_left = left;
    told.take(sweep);
    return look == 0 ? first + kWordBits : first + static_cast<size_t>(std::countr_zero(look));
  }

  // Of the words to look at behind `first`, those whose word of pages is empty spans of the order and nothing else,
  // none of it pending, as most are a cycle after many spans were kept: they leave, `most` at the most, with half the
  // instructions of one word after the other.
  [[gnu::noinline]] uint64_t whole_pages_leave(const Small& small, uint64_t slots, size_t first, uint64_t look,
                                               size_t most) SD_REQUIRES(drain_mutex_) {
    uint64_t gone = 0;
    uint64_t whole = run_starts(look, kWordsPerPageWord) & kMultiples[std::countr_zero(kWordsPerPageWord)];
    if (most < kWordBits) whole = lowest(whole, most / kWordsPerPageWord);
    for (; whole != 0; whole &= whole - 1) {
      const auto at = static_cast<size_t>(std::countr_zero(whole));
      // not reached by programs: they have no stacks for so many spans
      if (is_empty(small, slots, first + at)) {
        page_leaves(small, first + at);
        gone |= kPageWord << at;
      }
    }
    return gone;
  }

  static bool is_empty(const Small& small, uint64_t slots, size_t first) {
    uint64_t other = 0;
    for (size_t word = first; word < first + kWordsPerPageWord; ++word) {
      other |= (small.slots.load(word) ^ slots) | (small.free.load(word) ^ slots) | small.pending.load(word);
    }
    return other == 0;
  }

  // not reached by programs: they have no stacks for so many spans
  void page_leaves(const Small& small, size_t first) SD_REQUIRES(drain_mutex_) {
    for (size_t word = first; word < first + kWordsPerPageWord; ++word) {
      count_work();
      small.slots.store(word, 0);
      if (!planted(Defect::kFreelistKept)) small.free.store(word, 0);
    }
    leaving_.add_whole(first / kWordsPerPageWord);
  }

  // What is pending in a word is free. Of its empty spans so many as may be kept stay; true if some do.
  [[gnu::always_inline]] bool sweep_word(Sweep& sweep, size_t word) SD_REQUIRES(drain_mutex_) {
    const Small& small = sweep.small;
    if (planted(Defect::kQ7LastNodeSkipped) && small.dirty.next(word + 1, words()) == words()) return true;
    const uint64_t slots = small.slots.load(word);
    const uint64_t pending = small.pending.load(word);
    const uint64_t free = small.free.load(word) | pending;
    uint64_t empty = span_lanes(slots);
    if (free != slots) empty &= ~lanes_with(slots & ~free);
    const size_t spans = count_lanes(empty);
    if (pending != 0) {
      small.pending.store(word, 0);
      small.free.store(word, free);
      // Mostly all of a word; then its spans say how many that is.
      sweep.settled += pending == slots ? spans << sweep.slots_shift : static_cast<size_t>(std::popcount(pending));
    }
    const size_t stay = std::min(spans, sweep.may_keep);
    sweep.may_keep -= stay;
    if (stay != spans) {
      sweep.left += spans - stay;
      some_leave(small, word, slots, free, stay == 0 ? empty : empty ^ lowest(empty, stay));
    }
    return stay != 0;
  }

  // The spans of some lanes leave. Out of line, so that the words of which all stays are few instructions.
  [[gnu::noinline]] void some_leave(const Small& small, size_t word, uint64_t slots, uint64_t free, uint64_t lanes)
      SD_REQUIRES(drain_mutex_) {
    const uint64_t stay = ~(lanes * 0xffff);
    small.slots.store(word, slots & stay);
    if (!planted(Defect::kFreelistKept)) small.free.store(word, free & stay);
    leaving_.add({word / kWordsPerPageWord, pages_of_lanes(lanes) << (word % kWordsPerPageWord * kPagesPerWord)});
  }

  // What a pass ends with. Nobody retires.
  size_t sweep_large(size_t words_left) SD_REQUIRES(drain_mutex_) SD_EXCLUDES(large_mutex_) {
    const size_t done = large_waiting_.load(kRelaxed) == 0 ? 0 : sweep_waiting(words_left);  // mostly no lock
    if (large_waiting_.load(kRelaxed) == 0) pass_.store(false, std::memory_order_release);
    return done;
  }

  // The large stacks of some words leave, which is so many spans.
  size_t sweep_waiting(size_t words_left) SD_REQUIRES(drain_mutex_) SD_EXCLUDES(large_mutex_) {
    size_t done = 0;
    MutexLock lock(large_mutex_);
    count_locks(1);
    uint32_t waiting = large_waiting_.load(kRelaxed);
    while (waiting != 0 && words_left > 0) {
      const auto size = static_cast<size_t>(std::countr_zero(waiting));
      const size_t end = mapped_pages() / kWordBits + 1;
      large_cursor_ = large_[size].offers.next(large_cursor_, end);
      if (large_cursor_ < end) {
        --words_left;
        count_work();
        // not reached by programs: no arena of theirs has so many words
        if (!leaving_.has_room(1)) leave();
        done += sweep_large_word(size, large_cursor_);
      } else {
        waiting &= waiting - 1;
        large_cursor_ = 0;
      }
    }
    leave();
    large_waiting_.store(waiting, kRelaxed);
    return done;
  }

  size_t sweep_large_word(size_t size, size_t word) SD_REQUIRES(drain_mutex_, large_mutex_) {
    const Large& large = large_[size];
    const uint64_t pending = large.pending.load(word);
    large.pending.store(word, 0);
    large.offers.drop(word / kWordBits, Bits::mask(word));
    const auto stacks = static_cast<size_t>(std::popcount(pending));
    count_many_given_back(stacks, stacks << (size + kPageShift));
    if (pending == 0) return 0;                                        // all of them were used again
    if (const size_t pages = size_t{1} << size; pages <= kWordBits) {  // not reached by programs: no stack is larger
      // First pages at multiples of the size: times as many ones as it has pages, none meets another.
      leaving_.add({word, pending * (~uint64_t{0} >> (kWordBits - pages))});
    } else {
      // not reached by programs: their largest stack is a word of pages
      heap_.free(static_cast<uint32_t>(word * kWordBits));
    }
    return stacks;
  }
};
static_assert(StackPool<BitmapPool>);

}  // namespace

std::unique_ptr<AnyPool> make_bitmap(Arena& arena) {
  return std::make_unique<PoolBox<BitmapPool>>(arena);
}

}  // namespace stackdrain
