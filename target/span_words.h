// SpanWords: what is read of a span without a lock: its range, its generation, its state; and how they are published.
//
//   issue    range (written when it was Free) ─▶ generation ─▶ state, release          read: state, acquire ─▶ the rest
//   narrow   (free_lower_half) first, release ─▶ pages, release                        read: pages, acquire ─▶ first
//
// A reader who sees Stack or InUse sees the generation of that issue or a later one (A8): the edge is the state's
// release to its acquire. A reader who sees the upper half's length sees where that begins; else it sees the whole's
// length from wherever the span begins, which only reaches beyond what it asks about.
//
// That is all there is for pointers that something keeps: from issue to RESOLVE nobody frees the span. Who asks about
// an address whose span is freed meanwhile may see the state from before and the generation 0 from after.
//
// Explored with weaker orders, and with the state before the generation, in target/relacy/span_relacy.cc.
#pragma once

#include <cstdint>

#include "target/any_pool.h"
#include "target/atomics.h"

namespace stackdrain {

struct SpanOrders {
  static constexpr auto kOwn = std::memory_order_relaxed;          // under the page heap's lock
  static constexpr auto kPublish = std::memory_order_release;      // all that was written of the span -> kSeeState
  static constexpr auto kSeeState = std::memory_order_acquire;     // ... before generation and range are read
  static constexpr auto kNarrowFirst = std::memory_order_relaxed;  // ordered by the next
  static constexpr auto kNarrowPages = std::memory_order_release;  // where the half begins -> kSeePages
  static constexpr auto kSeePages = std::memory_order_acquire;     // ... before first is read
  static constexpr auto kSeeRest = std::memory_order_relaxed;      // ordered by kSeeState, kSeePages
  static constexpr bool kStateFirst = false;                       // the planted defect state-published-early
};

template <class System, class Orders = SpanOrders>
struct SpanWords {
  typename System::template Atomic<uint32_t> first_page{0};
  typename System::template Atomic<uint32_t> pages{0};
  typename System::template Atomic<uint32_t> generation{0};
  typename System::template Atomic<SpanState> state{SpanState::kDead};

  // Under the page heap's lock, of a span that nobody asks about.
  void set_range(uint32_t first, uint32_t count) {
    first_page.store(first, Orders::kOwn);
    pages.store(count, Orders::kOwn);
  }
  void set_generation(uint32_t number) { generation.store(number, Orders::kOwn); }
  // Behind the state that says it is given up: what is in use has its generation at every moment (A8).
  void clear_generation() { generation.store(0, Orders::kPublish); }
  // All else is written.
  void publish(SpanState now) { state.store(now, Orders::kPublish); }
  // To the upper half, while readers ask about addresses in it.
  void narrow(uint32_t first, uint32_t count) {
    first_page.store(first, Orders::kNarrowFirst);
    pages.store(count, Orders::kNarrowPages);
  }

  uint32_t first() const { return first_page.load(Orders::kSeeRest); }
  uint32_t page_count() const { return pages.load(Orders::kSeeRest); }
  SpanState current() const { return state.load(Orders::kSeeState); }
  uint32_t current_generation() const { return generation.load(Orders::kSeeRest); }
  bool covers(uint32_t page) const {
    const uint32_t count = pages.load(Orders::kSeePages);  // before first()
    return page - first() < count;
  }
};

}  // namespace stackdrain
