// What bitmap tells of itself: accounts and walks. It reads its own tables only, no stack's memory, so ASan has nothing
// to see here; in a fuzzer it runs without.
#include <array>
#include <bit>

#include "target/defects.h"
#include "target/drain/bitmap_tables.h"
#include "target/yield.h"

namespace stackdrain {

// Tells a walk what the bits say of a span of stacks, of which its heap knows no slots.
class BitmapTables::SpanFacts final : public StackSpanFacts {
 public:
  explicit SpanFacts(const BitmapTables& pool) : pool_(pool) {}
  void fill(SpanView& view) override {
    pool_.walk_span(view);
    if (view.order < kMaxOrders)
      walked_slots_[view.order] += static_cast<size_t>(std::popcount(span_slots(view.order)));
  }
  // Of all spans of an order.
  size_t slots_of(int order) const { return walked_slots_[static_cast<size_t>(order)]; }

 private:
  const BitmapTables& pool_;
  std::array<size_t, kMaxOrders> walked_slots_{};
};

PoolStats BitmapTables::stats() const {
  PoolStats stats = heap_.stats();
  count_into(stats);
  count_pending(stats);
  return stats;
}

void BitmapTables::walk(WalkVisitor& visitor) const {
  SpanFacts facts(*this);
  heap_.walk(visitor, facts);
  if (!visitor.wants_slots()) return;
  for (int order = 0; order < params().orders; ++order) walk_order(order, facts.slots_of(order), visitor);
  for (size_t size = 0; size < kSizes; ++size) {
    if ((large_seen_.load(kRelaxed) >> size & 1) != 0) walk_large(size, visitor);
  }
  walk_caches(visitor);
  if (visitor.wants_hidden()) tell_hidden(visitor);
}

// All that leads a pass to a dirty word.
bool BitmapTables::knows_dirty(int order, size_t word) const {
  const SummedBits& dirty = small_[static_cast<size_t>(order)].dirty;
  // not reached by programs: only a damaged pool is so
  return is_dirty(order) && dirty.summed(word / kWordBits) && dirty.test(word);
}

// What is pending was given back by its caller, and is held.
void BitmapTables::add_pending(PoolStats& stats, uint64_t bits, size_t bytes_each) {
  const auto stacks = static_cast<uint64_t>(std::popcount(bits));
  stats.frees += stacks;
  stats.live_stacks -= stacks;
  stats.held_bytes += stacks * bytes_each;
}

void BitmapTables::count_pending(PoolStats& stats) const {
  const size_t end = words();
  for (uint32_t orders = orders_dirty_.load(kRelaxed); orders != 0; orders &= orders - 1) {
    const int order = std::countr_zero(orders);
    const Small& small = small_[static_cast<size_t>(order)];
    for (size_t word = small.dirty.next(0, end); word < end; word = small.dirty.next(word + 1, end)) {
      add_pending(stats, small.pending.load(word), order_bytes(order));
    }
  }
  for (uint32_t sizes = large_waiting_.load(kRelaxed); sizes != 0; sizes &= sizes - 1) {
    const auto size = static_cast<size_t>(std::countr_zero(sizes));
    const size_t page_words = mapped_pages() / kWordBits + 1;
    const Bits& offers = large_[size].offers;
    for (size_t word = offers.next(0, page_words); word < page_words; word = offers.next(word + 1, page_words)) {
      add_pending(stats, large_[size].pending.load(word), kPageBytes << size);
    }
  }
  stats.live_bytes -= stats.held_bytes;
}

void BitmapTables::walk_span(SpanView& view) const {
  if (view.order < kMaxOrders) {
    const size_t unit = unit_of(view.base);
    const uint64_t available = small_[view.order].available(unit / kWordBits);
    const int free = std::popcount(available >> (unit % kWordBits) & 0xffff);
    view.out = static_cast<uint16_t>(view.capacity - free);
    view.has_free_list = free != 0;
    view.list = free != 0 ? SpanList::kOrder : SpanList::kNone;
  } else {
    const bool waits = large_[static_cast<size_t>(std::countr_zero(view.pages))].pending.test(page_of(view.base));
    view.out = waits ? 0 : 1;
    view.list = waits ? SpanList::kLargeReserve : SpanList::kNone;
  }
}

// `slots`: as many as its spans have.
void BitmapTables::walk_order(int order, size_t slots, WalkVisitor& visitor) const {
  const Small& small = small_[static_cast<size_t>(order)];
  size_t seen = 0;
  for (size_t word = 0; word <= mapped_units() / kWordBits; ++word) {
    const uint64_t slots_here = small.slots.load(word);
    const uint64_t pending = small.pending.load(word);
    uint64_t available = small.free.load(word) | pending;
    if ((slots_here | available) == 0) continue;  // as are most of a small arena, order by order
    seen += static_cast<size_t>(std::popcount(slots_here));
    // not reached by programs: only a damaged pool is so, or one whose stores a schedule shows late
    if (pending != 0 && !knows_dirty(order, word) && !threads_are_watched()) {
      visitor.fault(WalkFault::kDeferred, address_in(word, pending));
    }
    // not reached by programs: only a damaged pool is so
    if ((available & ~slots_here) != 0) {
      visitor.fault(WalkFault::kFreeList, address_in(word, available & ~slots_here));
      return;
    }
    // not reached by programs: only a damaged pool is so
    if (available != 0 && !small.offers.test(word)) visitor.fault(WalkFault::kListMember, address_in(word, available));
    for (; available != 0; available &= available - 1) {
      visitor.slot({address_in(word, available), order_bytes(order), SlotPlace::kPoolFree, kNoProc});
    }
  }
  // not reached by programs: only a damaged pool is so, or one whose stores a schedule shows late
  if (seen != slots && !threads_are_watched() && !planted(Defect::kStaleSpanLimit))
    visitor.fault(WalkFault::kFreeList, arena_base());
}

void BitmapTables::walk_large(size_t size, WalkVisitor& visitor) const {
  const size_t end = mapped_pages();
  for (size_t page = large_[size].pending.next(0, end); page < end; page = large_[size].pending.next(page + 1, end)) {
    const Location at = locate(address_of_page(page));
    // not reached by programs: only a damaged pool is so
    if (at.state != SpanState::kStack || at.base != address_of_page(page) || at.pages != 1u << size ||
        !large_[size].offers.test(page / kWordBits)) {
      visitor.fault(WalkFault::kListMember, address_of_page(page));
      return;
    }
    visitor.slot({address_of_page(page), kPageBytes << size, SlotPlace::kPoolFree, kNoProc});
  }
}

// What decides which slot comes next and which spans are looked at, and a walk does not show.
void BitmapTables::tell_hidden(WalkVisitor& visitor) const {
  for (const Small& small : small_) {
    for (size_t word = 0; word < words(); ++word) visitor.hidden(small.pending.load(word));
    for (size_t word = 0; word <= words() / kWordBits; ++word) visitor.hidden(small.offers.load(word));
    for (size_t word = 0; word <= words() / kWordBits; ++word) visitor.hidden(small.dirty.load(word));
    visitor.hidden(small.hint.load(kRelaxed));
  }
  visitor.hidden(orders_dirty_.load(kRelaxed));
  visitor.hidden(large_waiting_.load(kRelaxed));
  for (const uint32_t spans : demand_) visitor.hidden(spans);
  // not reached by programs: explore alone asks in the middle of a run
  if (!drain_pending()) return;
  // not reached by programs: explore alone asks in the middle of a run
  for (const uint32_t spans : may_keep_) visitor.hidden(spans);
  // not reached by programs: explore alone asks in the middle of a run
  visitor.hidden(static_cast<uint64_t>(turn_) << 48 | cursor_ << 24 | large_cursor_);
}

}  // namespace stackdrain
