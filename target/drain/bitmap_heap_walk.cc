// What the heap of bits tells of itself: what an address lies in, accounts and walks. It reads the heap's own tables
// only, no stack's memory, so ASan has nothing to see here; in a fuzzer it runs without.
#include <algorithm>
#include <bit>

#include "target/defects.h"
#include "target/drain/bitmap_heap.h"

namespace stackdrain {
namespace {

constexpr uint32_t kFirstPages = 128;  // of an arena, where each reset has something to clear

}  // namespace

Location BitmapHeap::locate(uintptr_t address) const {
  if (!arena_.contains(address)) return {};
  const uint32_t page = arena_.page_of(address);
  const auto found = spans_.find(page);
  if (found.state == SpanState::kFree) {
    return {page < mapped() ? SpanState::kFree : SpanState::kUnmapped, 0, 0, 0};
  }
  if (found.first == kNoBit) return {};  // not reached by programs: it was freed while we looked
  const SpanMeta meta = spans_.meta_of(found.first);
  return {found.state, meta.generation, arena_.address_of(static_cast<uint32_t>(found.first)), meta.pages};
}

PoolStats BitmapHeap::stats() const {
  MutexLock lock(mutex_);
  return accounts_.stats();
}

void BitmapHeap::walk(WalkVisitor& visitor, StackSpanFacts& pool) const {
  MutexLock lock(mutex_);
  for (uint32_t page = 0; page < mapped();) {
    const uint32_t end = idle_.test(page) ? walk_idle(page, visitor) : walk_span(page, visitor, pool);
    // not reached by programs: only a damaged pool is so
    if (end == page) {
      visitor.fault(WalkFault::kTiling, arena_.address_of(page));
      return;  // nothing behind this page can be trusted
    }
    page = end;
  }
  if (!visitor.wants_slots()) return;
  walk_summaries(visitor);
  if (!threads_are_watched()) walk_unmapped(visitor);
  // not reached by programs: explore alone asks in the middle of a run
  if (visitor.wants_hidden()) mapped() == 0 ? visitor.hidden(walk_leftovers()) : tell_hidden(visitor);
}

// The end of the Free span that begins at a page; the page itself if it is none.
uint32_t BitmapHeap::walk_idle(uint32_t page, WalkVisitor& visitor) const {
  const Run run = idle_run(page);
  uint64_t wrong = 0;
  uint64_t zero = 0;
  uint32_t released = 0;
  for_words(run.first, run.end - run.first, [&](size_t word, uint64_t mask) {
    wrong |= (spans_.stack.load(word) | spans_.used.load(word) | spans_.start.load(word)) & mask;
    // What was issued and is not cleared says so (A9). A schedule may show the one store before the other.
    if (!planted(Defect::kNeedsZeroLost) && !threads_are_watched())
      wrong |= touched_.load(word) & ~zero_.load(word) & mask;
    zero |= zero_.load(word) & mask;
    released += static_cast<uint32_t>(std::popcount(released_.load(word) & mask));
  });
  // not reached by programs: only a damaged pool is so
  if (run.first != page || wrong != 0) return page;
  visitor.span({.base = arena_.address_of(page),
                .pages = run.end - page,
                .state = SpanState::kFree,
                .generation = 0,
                .order = kNoOrder,
                .list = SpanList::kHeapFree,
                .slot_bytes = 0,
                .capacity = 0,
                .out = 0,
                .limit = 0,
                .has_free_list = false,
                .needs_zero = zero != 0,
                .released = released == run.end - page,
                .released_pages = released});
  return run.end;
}

// The same for a Stack or InUse span.
uint32_t BitmapHeap::walk_span(uint32_t page, WalkVisitor& visitor, StackSpanFacts& pool) const {
  const SpanMeta meta = spans_.meta_of(page);
  const bool stack = spans_.stack.test(page);
  // not reached by programs: only a damaged pool is so
  if (!spans_.start.test(page) || meta.pages == 0 || meta.pages > mapped() - page || meta.generation > generation_) {
    return page;
  }
  uint64_t wrong = 0;
  uint64_t zero = 0;
  uint32_t starts = 0;
  uint32_t released = 0;
  for_words(page, meta.pages, [&](size_t word, uint64_t mask) {
    const uint64_t stacks = spans_.stack.load(word);
    const uint64_t used = spans_.used.load(word);
    wrong |= ((stack ? ~stacks | used : ~used) | idle_.load(word)) & mask;
    zero |= zero_.load(word) & mask;
    starts += static_cast<uint32_t>(std::popcount(spans_.start.load(word) & mask));
    released += static_cast<uint32_t>(std::popcount(released_.load(word) & mask));
  });
  // not reached by programs: only a damaged pool is so
  if (wrong != 0 || starts != 1) return page;
  const auto bytes = static_cast<uint32_t>(bytes_of(meta.pages));
  const uint32_t slot = meta.order < kMaxOrders ? static_cast<uint32_t>(order_bytes(meta.order)) : bytes;
  SpanView view{.base = arena_.address_of(page),
                .pages = meta.pages,
                .state = stack ? SpanState::kStack : SpanState::kInUse,
                .generation = meta.generation,
                .order = meta.order,
                .list = SpanList::kNone,
                .slot_bytes = stack ? slot : 0,
                .capacity = static_cast<uint16_t>(stack ? bytes / slot : 0),
                .out = 0,
                .limit = arena_.address_of(page) + bytes,
                .has_free_list = false,
                .needs_zero = zero != 0,
                .released = released != 0,
                .released_pages = released};
  if (stack) pool.fill(view);
  visitor.span(view);
  return page + meta.pages;
}

// Summaries and hints are what searches believe.
void BitmapHeap::walk_summaries(WalkVisitor& visitor) const {
  for (size_t word = 0; word < mapped_words(); ++word) {
    // not reached by programs: only a damaged pool is so
    bool wrong =
        idle_.summed(word) != (idle_.load(word) != 0) || spans_.start.summed(word) != (spans_.start.load(word) != 0);
    for (size_t hint = 0; hint < kHints; ++hint) {
      if (word >= hints_[hint]) continue;
      // not reached by programs: only a damaged pool is so
      wrong = wrong || (run_starts(idle_.load(word), uint32_t{1} << hint) & kMultiples[hint]) != 0;
    }
    // not reached by programs: only a damaged pool is so
    if (wrong) visitor.fault(WalkFault::kListMember, arena_.address_of(static_cast<uint32_t>(word * kWordBits)));
  }
}

// Of a page behind the last mapped one no table says anything. While nothing is mapped, nothing is left of what was
// before the last reset, in the first pages: more would take a walk too long.
void BitmapHeap::walk_unmapped(WalkVisitor& visitor) const {
  const uint32_t end = mapped();
  const size_t first = end / kWordBits;
  const size_t words = end != 0 ? 1 : std::min<size_t>(arena_.pages() / kWordBits, kFirstPages / kWordBits) + 1;
  uint64_t left = 0;
  for (size_t word = first; word < first + words; ++word) {
    const uint64_t bits = idle_.load(word) | spans_.start.load(word) | spans_.stack.load(word) |
                          spans_.used.load(word) | zero_.load(word) | released_.load(word) | touched_.load(word);
    left |= word == first ? bits >> (end % kWordBits) : bits;
  }
  // not reached by programs: only a damaged pool is so
  const bool located = end < arena_.pages() && locate(arena_.address_of(end)).state != SpanState::kUnmapped;
  // not reached by programs: only a damaged pool is so
  if (left != 0 || located) visitor.fault(WalkFault::kTiling, arena_.address_of(end));
}

// Nothing is mapped: what a reset would have cleared and the bits don't show; 0 if it did.
uint64_t BitmapHeap::walk_leftovers() const {
  uint64_t left = generation_;
  for (const size_t hint : hints_) left |= hint;
  for (uint32_t page = 0; page < std::min(arena_.pages(), kFirstPages); ++page) {
    left |= spans_.meta[page].load(std::memory_order_relaxed);
  }
  return left;
}

// What pages carry into their next life.
// not reached by programs: explore alone asks in the middle of a run
void BitmapHeap::tell_hidden(WalkVisitor& visitor) const {
  for (size_t word = 0; word < mapped_words(); ++word) {
    visitor.hidden(zero_.load(word));
    visitor.hidden(released_.load(word));
    visitor.hidden(touched_.load(word));
  }
}

}  // namespace stackdrain
