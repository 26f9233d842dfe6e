// SpanBits: what a heap of bits tells of its spans without a lock: where each begins, what it is, what else is known of
// it; and how that is published.
//
//   issue   describe: meta ─▶ publish: start ─▶ state bits, release      read (find): state bits, acquire
//   free    withdraw: state bits, release ─▶ start                             ─▶ the last start up to the page ─▶ meta
//
// Who writes holds the heap's lock. A word of state bits is that of many spans, and each store to it is a load and a
// store of them all.
//
// Memory order, by edges:
//   * What was written of a span, and what was cleared of those that were there before -> who sees its state bit (A8):
//     publish's release to find's acquire. A start in the middle of a span that was freed is gone by then.
//   * The same to who sees the bit in what a neighbour stored later. That one held the lock after it and stores with
//     release, too, whether it publishes or withdraws: that release to find's acquire. A relaxed store would end what
//     the publication had begun.
//   * start and meta are ordered by these. Nobody writes the bits between a live span's start and its end, nor a
//     summary bit of a word with a start in it: what became visible of a live span stays as it is.
//
// Who was handed a span by an edge of its own (its owner, a marker's pointer) finds it by that. Who asks about one that
// goes away may see the state of one life, the start of the next and no meta yet: any answer, in bounded time.
//
// Explored with weaker orders, without the lock and with the state first, in target/relacy/bitmap_heap_relacy.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "target/any_pool.h"
#include "target/drain/bits.h"

namespace stackdrain {

struct SpanBitsOrders {
  static constexpr auto kPublish = std::memory_order_release;   // what the span is -> kSeeState
  static constexpr auto kWithdraw = std::memory_order_release;  // what its neighbours in the word are -> kSeeState
  static constexpr auto kSeeState = std::memory_order_acquire;  // ... before start and meta are read
  static constexpr auto kOwn = std::memory_order_relaxed;       // under the heap's lock
  static constexpr auto kSeeRest = std::memory_order_relaxed;   // ordered by kSeeState
  static constexpr bool kStateFirst = false;                    // the planted defect state-published-early
};

// One word of it, so that all of it is of one issue.
struct SpanMeta {
  static constexpr int kPagesBits = 24;
  static constexpr int kOrderBits = 8;

  uint32_t generation = 0;
  uint8_t order = kNoOrder;
  uint32_t pages = 0;

  constexpr uint64_t packed() const {
    return uint64_t{generation} << (kPagesBits + kOrderBits) | uint64_t{order} << kPagesBits | pages;
  }
  static constexpr SpanMeta unpacked(uint64_t meta) {
    return {static_cast<uint32_t>(meta >> (kPagesBits + kOrderBits)), static_cast<uint8_t>(meta >> kPagesBits & 0xff),
            static_cast<uint32_t>(meta & ((uint64_t{1} << kPagesBits) - 1))};
  }
};

template <class System, class Orders = SpanBitsOrders>
struct SpanBits {
  // What there is at a page.
  struct Found {
    SpanState state = SpanState::kFree;  // or kStack, kInUse
    size_t first = kNoBit;               // where it begins; kNoBit of kFree, or if it was freed while we looked
  };

  explicit SpanBits(size_t pages) : start(pages), stack(pages), used(pages), meta(pages) {}

  BasicSummedBits<System> start;  // a Stack or InUse span begins here
  BasicBits<System> stack;        // in a Stack span
  BasicBits<System> used;         // in an InUse span
  typename System::template Table<typename System::template Atomic<uint64_t>> meta;  // of a span's first page

  // Under the heap's lock, of idle pages: all that there is to a span, then that it is one.
  void describe(uint32_t first, SpanMeta what) const { meta[first].store(what.packed(), Orders::kOwn); }
  void publish(uint32_t first, uint32_t pages, SpanState state) const {
    start.put(first / kWordBits, BasicBits<System>::mask(first));
    const BasicBits<System>& bits = state == SpanState::kStack ? stack : used;
    for_words(first, pages,
              [&](size_t word, uint64_t mask) { bits.word(word).store(bits.load(word) | mask, Orders::kPublish); });
  }
  // Under the heap's lock: whole spans of one state are none any more.
  void withdraw(size_t word, uint64_t pages, bool stacks) const {
    const BasicBits<System>& bits = stacks ? stack : used;
    bits.word(word).store(bits.load(word) & ~pages, Orders::kWithdraw);
    start.drop(word, pages);
  }

  // Lock-free. What it finds has its meta_of(). Not a call: this is what locate() costs.
  [[gnu::always_inline]] Found find(uint32_t page) const {
    const bool in_stack = sees(stack, page);
    if (!in_stack && !sees(used, page)) return {};
    return {in_stack ? SpanState::kStack : SpanState::kInUse, start.last_before(page)};
  }
  SpanMeta meta_of(size_t first) const { return SpanMeta::unpacked(meta[first].load(Orders::kSeeRest)); }

 private:
  static bool sees(const BasicBits<System>& bits, size_t page) {
    return (bits.word(page / kWordBits).load(Orders::kSeeState) & BasicBits<System>::mask(page)) != 0;
  }
};

}  // namespace stackdrain
