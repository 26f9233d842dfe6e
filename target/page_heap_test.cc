#include "target/page_heap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "target/testing.h"

namespace stackdrain {
namespace {

constexpr size_t kArena = size_t{4} << 20;    // 512 pages
constexpr size_t kChunk = size_t{256} << 10;  // 32 pages
constexpr SpanUse kHeapUse{};
constexpr SpanUse kStackUse{SpanState::kStack, kLargeOrder, 4 * kPageBytes};

// Everything an allocation can change, but the count of locks taken: a refused one takes the lock too.
auto account_of(const PageHeap& heap) {
  const HeapAccounts a = heap.accounts();
  return std::tuple(a.system_bytes, a.heap_bytes, a.stack_bytes, a.idle_bytes, a.released_bytes, a.peak_stack_bytes,
                    a.stack_spans_taken, a.stack_spans_released);
}

// The spans in address order as text, e.g. "Stack 4, Free 28".
std::string tiles_of(const PageHeap& heap) {
  std::string text;
  for (const SpanView& view : CollectedWalk(heap).spans) {
    if (!text.empty()) text += ", ";
    text += std::string(kSpanStateNames[static_cast<size_t>(view.state)]) + " " + std::to_string(view.pages);
  }
  return text;
}

bool is_zero(uintptr_t address, size_t bytes) {
  const auto* const at = reinterpret_cast<const uint8_t*>(address);
  return std::all_of(at, at + bytes, [](uint8_t byte) { return byte == 0; });
}

uint32_t below(std::mt19937& random, uint32_t bound) {
  return static_cast<uint32_t>(random() % bound);
}

class PageHeapTest : public testing::Test {
 protected:
  PageHeapTest() : arena_(kArena), heap_(arena_) { heap_.reset(0, kChunk); }

  uintptr_t base(const Span* span) const { return heap_.base_of(*span); }

  void expect_healthy() const {
    const CollectedWalk walk(heap_);
    EXPECT_EQ(walk.faults, "");
    const HeapAccounts accounts = heap_.accounts();
    EXPECT_EQ(accounts.system_bytes, heap_.mapped_bytes());
    EXPECT_EQ(accounts.system_bytes, accounts.heap_bytes + accounts.stack_bytes + accounts.idle_bytes);
    EXPECT_LE(accounts.released_bytes, accounts.idle_bytes);
    uint64_t bytes[4] = {};
    uintptr_t end = arena_.base();
    for (size_t i = 0; i < walk.spans.size(); ++i) {
      const SpanView& view = walk.spans[i];
      EXPECT_EQ(view.base, end) << "spans must tile";
      end = view.base + view.pages * kPageBytes;
      bytes[static_cast<size_t>(view.state)] += uint64_t{view.pages} * kPageBytes;
      const bool both_free = i > 0 && view.state == SpanState::kFree && walk.spans[i - 1].state == SpanState::kFree;
      EXPECT_FALSE(both_free) << "neighbours must merge";
      expect_located(view);
    }
    EXPECT_EQ(end, arena_.base() + heap_.mapped_bytes());
    EXPECT_EQ(bytes[static_cast<size_t>(SpanState::kFree)], accounts.idle_bytes);
    EXPECT_EQ(bytes[static_cast<size_t>(SpanState::kStack)], accounts.stack_bytes);
    EXPECT_EQ(bytes[static_cast<size_t>(SpanState::kInUse)], accounts.heap_bytes);
    EXPECT_EQ(bytes[static_cast<size_t>(SpanState::kDead)], 0u);
  }

  // Each page of a used span names it; of a Free one the first and the last do, and no other names a used span.
  void expect_located(const SpanView& view) const {
    for (uint32_t page = 0; page < view.pages; ++page) {
      const uintptr_t at = view.base + page * kPageBytes;
      const bool edge = page == 0 || page == view.pages - 1;
      for (const uintptr_t address : {at, at + kPageBytes - 1}) {
        const Location found = heap_.locate(address);
        if (view.state != SpanState::kFree || edge) {
          EXPECT_EQ(found.state, view.state);
          EXPECT_EQ(found.base, view.base);
          EXPECT_EQ(found.pages, view.pages);
          EXPECT_EQ(found.generation, view.generation);
        } else {
          EXPECT_NE(found.state, SpanState::kStack);
          EXPECT_NE(found.state, SpanState::kInUse);
        }
      }
    }
  }

  Arena arena_;
  PageHeap heap_;
};

TEST_F(PageHeapTest, TakesTheSmallestSpanThatFits) {
  std::vector<Span*> holes;
  for (const uint32_t pages : {5u, 3u, 4u}) {
    holes.push_back(heap_.allocate(pages, kHeapUse));
    ASSERT_NE(heap_.allocate(1, kHeapUse), nullptr);  // a wall
  }
  const uintptr_t five = base(holes[0]);
  const uintptr_t three = base(holes[1]);
  const uintptr_t four = base(holes[2]);
  for (Span* hole : holes) heap_.free(hole);
  EXPECT_EQ(tiles_of(heap_), "Free 5, InUse 1, Free 3, InUse 1, Free 4, InUse 1, Free 17");
  EXPECT_EQ(base(heap_.allocate(3, kHeapUse)), three);
  EXPECT_EQ(base(heap_.allocate(3, kHeapUse)), four);
  EXPECT_EQ(base(heap_.allocate(2, kHeapUse)), five) << "1 page is left of the 4";
  EXPECT_EQ(base(heap_.allocate(1, kHeapUse)), four + 3 * kPageBytes);
  expect_healthy();
}

// What lies beyond the pages that an arena poisons at once is poisoned when it is mapped, and only then.
TEST(PageHeapPoison, OfALargeArenaEachPageIsPoisonedOnce) {
  if (!asan_enabled) return;  // nothing is poisoned
  Arena arena(size_t{256} << 20);
  const uint32_t at_once = arena.poison_at_once();
  ASSERT_LT(at_once, arena.pages() / 2);
  PageHeap heap(arena);
  heap.reset(0, kPageBytes);
  const uintptr_t used = heap.base_of(*heap.allocate(at_once + 16, kHeapUse));
  EXPECT_FALSE(asan_is_poisoned(arena.base() + heap.mapped_bytes())) << "that is not mapped yet";
  const uintptr_t stack = heap.base_of(*heap.allocate(4, kStackUse));
  EXPECT_EQ(asan_first_poisoned(used, (at_once + 16) * kPageBytes), 0u);
  EXPECT_TRUE(asan_is_poisoned(stack));
  EXPECT_TRUE(asan_is_poisoned(stack + 4 * kPageBytes - 1));
  EXPECT_FALSE(asan_is_poisoned(arena.base() + heap.mapped_bytes()));
}

TEST_F(PageHeapTest, AmongEqualShortSpansTakesTheLastFreed) {
  Span* spans[5];
  for (Span*& span : spans) span = heap_.allocate(3, kHeapUse);
  const uintptr_t low = base(spans[1]);
  const uintptr_t high = base(spans[3]);
  heap_.free(spans[1]);
  heap_.free(spans[3]);
  EXPECT_EQ(base(heap_.allocate(3, kHeapUse)), high);
  EXPECT_EQ(base(heap_.allocate(3, kHeapUse)), low);
}

TEST_F(PageHeapTest, AmongLongSpansTakesTheSmallestThenTheLowest) {
  for (const std::vector<size_t>& order : {std::vector<size_t>{0, 1, 2}, {2, 1, 0}, {1, 2, 0}}) {
    heap_.reset(0, kArena);
    std::vector<Span*> spans;
    for (const uint32_t pages : {200u, 140u, 140u}) {
      spans.push_back(heap_.allocate(pages, kHeapUse));
      ASSERT_NE(heap_.allocate(1, kHeapUse), nullptr);
    }
    const uintptr_t expected[] = {base(spans[1]), base(spans[2]), base(spans[0])};
    for (const size_t i : order) heap_.free(spans[i]);
    for (const uintptr_t at : expected) EXPECT_EQ(base(heap_.allocate(130, kHeapUse)), at);
    expect_healthy();
  }
}

TEST_F(PageHeapTest, MergesOnBothSides) {
  Span* spans[3];
  for (Span*& span : spans) span = heap_.allocate(4, kStackUse);
  const uintptr_t first = base(spans[0]);
  heap_.free(spans[0]);
  expect_healthy();
  heap_.free(spans[2]);
  expect_healthy();
  heap_.free(spans[1]);
  expect_healthy();
  const CollectedWalk walk(heap_);
  ASSERT_EQ(walk.spans.size(), 1u);
  EXPECT_EQ(walk.spans[0].base, first);
  EXPECT_EQ(walk.spans[0].pages, kChunk / kPageBytes);
}

// Spans that touch, spans that don't, free neighbours on either side: as if each had been freed alone, but for the
// lock.
TEST_F(PageHeapTest, WhatIsCollectedIsFreedAsItsSpansWouldBe) {
  const auto run = [&](bool collected) {
    heap_.reset(0, kChunk);
    std::vector<Span*> spans(9);
    for (Span*& span : spans) span = heap_.allocate(2, kStackUse);
    heap_.free(spans[0]);
    heap_.free(spans[5]);
    const uint64_t locks = heap_.accounts().locks_taken;
    const std::vector<Span*> victims = {spans[1], spans[2], spans[4], spans[7], spans[8]};
    if (collected) {
      FreeRuns runs;
      for (Span* span : victims) heap_.collect(span, runs);
      heap_.free_runs(runs);
      EXPECT_EQ(heap_.accounts().locks_taken, locks + 1);
    } else {
      for (Span* span : victims) heap_.free(span);
    }
    expect_healthy();
    return std::pair(tiles_of(heap_), account_of(heap_));
  };
  const auto alone = run(false);
  EXPECT_EQ(run(true), alone);
  EXPECT_EQ(alone.first, "Free 6, Stack 2, Free 4, Stack 2, Free 18");
}

TEST_F(PageHeapTest, MergesWithTheLeftAlone) {
  Span* const a = heap_.allocate(4, kStackUse);
  Span* const b = heap_.allocate(5, kHeapUse);
  ASSERT_NE(heap_.allocate(1, kHeapUse), nullptr);
  heap_.free(a);
  heap_.free(b);
  EXPECT_EQ(tiles_of(heap_), "Free 9, InUse 1, Free 22");
  expect_healthy();
}

TEST_F(PageHeapTest, MergesWithTheRightAlone) {
  Span* const a = heap_.allocate(4, kStackUse);
  Span* const b = heap_.allocate(5, kHeapUse);
  Span* const wall = heap_.allocate(1, kHeapUse);
  heap_.free(b);
  heap_.free(a);
  EXPECT_EQ(tiles_of(heap_), "Free 9, InUse 1, Free 22");
  heap_.free(wall);
  EXPECT_EQ(tiles_of(heap_), "Free 32");
  expect_healthy();
}

TEST_F(PageHeapTest, GrowsByAChunkAndMergesItWithWhatWasLeft) {
  ASSERT_NE(heap_.allocate(30, kHeapUse), nullptr);
  EXPECT_EQ(heap_.mapped_bytes(), kChunk);
  Span* const over = heap_.allocate(4, kStackUse);
  EXPECT_EQ(base(over), arena_.address_of(30));
  EXPECT_EQ(heap_.mapped_bytes(), 2 * kChunk);
  EXPECT_EQ(tiles_of(heap_), "InUse 30, Stack 4, Free 30");
  ASSERT_NE(heap_.allocate(100, kHeapUse), nullptr);
  EXPECT_EQ(heap_.mapped_bytes(), 2 * kChunk + 100 * kPageBytes) << "more than a chunk when more is wanted";
  EXPECT_EQ(tiles_of(heap_), "InUse 30, Stack 4, InUse 100, Free 30");
  expect_healthy();
}

TEST_F(PageHeapTest, LocatesEveryByteOfASpanAndNothingBesides) {
  Span* const before = heap_.allocate(2, kHeapUse);
  Span* const span = heap_.allocate(4, kStackUse);
  Span* const after = heap_.allocate(2, kHeapUse);
  for (uintptr_t at = base(span); at < base(span) + 4 * kPageBytes; at += 512) {
    EXPECT_EQ(heap_.span_of(at), span);
    EXPECT_EQ(heap_.span_of(at + 511), span);
    EXPECT_EQ(heap_.locate(at).state, SpanState::kStack);
    EXPECT_EQ(heap_.locate(at).base, base(span));
    EXPECT_EQ(heap_.locate(at).pages, 4u);
  }
  EXPECT_EQ(heap_.span_of(base(span) - 1), before);
  EXPECT_EQ(heap_.span_of(base(span) + 4 * kPageBytes), after);
  EXPECT_EQ(heap_.locate(arena_.base() - 1).state, SpanState::kUnmapped);
  EXPECT_EQ(heap_.locate(arena_.base() + kArena).state, SpanState::kUnmapped);
  EXPECT_EQ(heap_.locate(arena_.base() + kArena - 1).state, SpanState::kUnmapped) << "reserved, never mapped";
}

// The inner pages of a merged span still name descriptors that are dead or, worse, in use again elsewhere.
TEST_F(PageHeapTest, WhatWasMergedAwayIsNeverFound) {
  std::vector<Span*> spans(8);
  for (Span*& span : spans) span = heap_.allocate(2, kStackUse);
  ASSERT_NE(heap_.allocate(16, kHeapUse), nullptr);  // the chunk is full
  for (Span* span : spans) heap_.free(span);
  EXPECT_EQ(tiles_of(heap_), "Free 16, InUse 16");
  expect_healthy();
  // Recycle the dead descriptors for spans in another place.
  for (int i = 0; i < 8; ++i) ASSERT_NE(heap_.allocate(17, kStackUse), nullptr);
  expect_healthy();
  Span* const whole = heap_.allocate(16, kStackUse);
  EXPECT_EQ(base(whole), arena_.base());
  for (uint32_t page = 0; page < 16; ++page) EXPECT_EQ(heap_.span_of(arena_.address_of(page)), whole);
  expect_healthy();
}

TEST_F(PageHeapTest, AGenerationIsNeverTheSameTwice) {
  Span* const first = heap_.allocate(4, kStackUse);
  const uintptr_t at = base(first);
  const uint32_t generation = heap_.locate(at).generation;
  heap_.free(first);
  EXPECT_EQ(heap_.locate(at).state, SpanState::kFree);
  Span* const again = heap_.allocate(4, kStackUse);
  ASSERT_EQ(base(again), at);
  EXPECT_NE(heap_.locate(at).generation, generation);
}

TEST_F(PageHeapTest, EachIssueSetsAllMetadata) {
  Span* const stacks = heap_.allocate(4, {SpanState::kStack, 1, 4096});
  const uintptr_t at = base(stacks);
  stacks->free_list = at;  // what a pool would leave
  stacks->out = 3;
  SpanView view = PageHeap::view_of(*stacks, at);
  EXPECT_EQ(view.order, 1);
  EXPECT_EQ(view.slot_bytes, 4096u);
  EXPECT_EQ(view.capacity, 4 * kPageBytes / 4096);
  EXPECT_EQ(view.limit, at + 4 * kPageBytes);
  heap_.free(stacks);
  Span* const objects = heap_.allocate(3, kHeapUse);
  ASSERT_EQ(base(objects), at);
  view = PageHeap::view_of(*objects, at);
  EXPECT_EQ(view.state, SpanState::kInUse);
  EXPECT_EQ(view.order, kNoOrder);
  EXPECT_EQ(view.slot_bytes, 0u);
  EXPECT_EQ(view.capacity, 0u);
  EXPECT_EQ(view.out, 0u);
  EXPECT_EQ(view.limit, at + 3 * kPageBytes);
  EXPECT_FALSE(view.has_free_list);
  EXPECT_EQ(view.list, SpanList::kNone);
}

TEST_F(PageHeapTest, ExhaustionChangesNothing) {
  heap_.reset(40, kChunk);
  Span* const most = heap_.allocate(38, kHeapUse);
  ASSERT_NE(most, nullptr);
  const auto before = account_of(heap_);
  const std::string tiles = tiles_of(heap_);
  EXPECT_EQ(heap_.allocate(3, kHeapUse), nullptr);
  EXPECT_EQ(heap_.allocate(3, kStackUse), nullptr);
  EXPECT_EQ(heap_.allocate(1000, kHeapUse), nullptr) << "more than the arena";
  EXPECT_EQ(account_of(heap_), before);
  EXPECT_EQ(tiles_of(heap_), tiles);
  EXPECT_NE(heap_.allocate(2, kHeapUse), nullptr) << "what is left can still be had";
  EXPECT_EQ(heap_.mapped_bytes(), 40 * kPageBytes) << "not a whole chunk: not beyond the limit";
  EXPECT_EQ(heap_.allocate(1, kHeapUse), nullptr);
  expect_healthy();
  heap_.free(most);
  EXPECT_NE(heap_.allocate(38, kStackUse), nullptr) << "and what comes back too";
  expect_healthy();
}

TEST_F(PageHeapTest, ARefusedGrowthMapsNothing) {
  heap_.reset(40, kChunk);
  ASSERT_NE(heap_.allocate(20, kHeapUse), nullptr);
  const auto before = account_of(heap_);
  EXPECT_EQ(heap_.allocate(21, kHeapUse), nullptr) << "12 idle and 8 unmapped: not 21";
  EXPECT_EQ(account_of(heap_), before);
  EXPECT_EQ(heap_.mapped_bytes(), kChunk);
}

TEST_F(PageHeapTest, StackSpansAreCountedAndTheirPeakKept) {
  Span* const a = heap_.allocate(4, kStackUse);
  Span* const b = heap_.allocate(8, kStackUse);
  Span* const c = heap_.allocate(2, kHeapUse);
  heap_.free(a);
  heap_.free(c);
  HeapAccounts accounts = heap_.accounts();
  EXPECT_EQ(accounts.stack_bytes, 8 * kPageBytes);
  EXPECT_EQ(accounts.peak_stack_bytes, 12 * kPageBytes);
  EXPECT_EQ(accounts.stack_spans_taken, 2u);
  EXPECT_EQ(accounts.stack_spans_released, 1u);
  heap_.free(b);
  accounts = heap_.accounts();
  EXPECT_EQ(accounts.stack_bytes, 0u) << "the size before merging is subtracted";
  EXPECT_EQ(accounts.heap_bytes, 0u);
  EXPECT_EQ(accounts.idle_bytes, kChunk);
}

TEST_F(PageHeapTest, OnlyMemoryThatWasUsedNeedsZeroing) {
  Span* const used = heap_.allocate(4, kStackUse);
  EXPECT_FALSE(used->needs_zero);
  const uintptr_t at = base(used);
  Span* const wall = heap_.allocate(1, kHeapUse);
  EXPECT_FALSE(wall->needs_zero);
  heap_.free(used);
  Span* const part = heap_.allocate(2, kHeapUse);
  ASSERT_EQ(base(part), at);
  EXPECT_TRUE(part->needs_zero);
  Span* const rest = heap_.allocate(2, kStackUse);
  ASSERT_EQ(base(rest), at + 2 * kPageBytes);
  EXPECT_TRUE(rest->needs_zero) << "a split passes it on";
  heap_.free(wall);  // merges with the rest of the chunk, which is clean
  Span* const mixed = heap_.allocate(20, kHeapUse);
  ASSERT_EQ(base(mixed), at + 4 * kPageBytes);
  EXPECT_TRUE(mixed->needs_zero) << "a part of it was used";
}

TEST_F(PageHeapTest, WhatSaysItNeedsNoZeroingIsZero) {
  std::mt19937 random(11);
  std::vector<Span*> held;
  int clean = 0;
  for (int step = 0; step < 400; ++step) {
    if (held.empty() || random() % 100 < 55) {
      Span* const span = heap_.allocate(1 + below(random, 12), kHeapUse);
      if (span == nullptr) continue;
      const size_t bytes = size_t{span->page_count()} * kPageBytes;
      if (!span->needs_zero) {
        ++clean;
        ASSERT_TRUE(is_zero(base(span), bytes)) << "step " << step;
      }
      arena_.note_written(base(span), bytes);
      std::memset(reinterpret_cast<void*>(base(span)), 0x5a, bytes);
      held.push_back(span);
    } else {
      std::swap(held[random() % held.size()], held.back());
      heap_.free(held.back());
      held.pop_back();
      if (random() % 8 == 0) heap_.release_idle();
    }
  }
  EXPECT_GT(clean, 20);
}

TEST_F(PageHeapTest, ReleasedMemoryIsCountedOnceAndReadsAsZero) {
  Span* const span = heap_.allocate(4, kHeapUse);
  const uintptr_t at = base(span);
  arena_.note_written(at, 4 * kPageBytes);
  std::memset(reinterpret_cast<void*>(at), 0x5a, 4 * kPageBytes);
  heap_.free(span);
  EXPECT_EQ(heap_.release_idle(), kChunk);
  EXPECT_EQ(heap_.release_idle(), 0u);
  EXPECT_EQ(heap_.accounts().released_bytes, kChunk);
  Span* const again = heap_.allocate(4, kHeapUse);
  ASSERT_EQ(base(again), at);
  EXPECT_FALSE(again->needs_zero);
  EXPECT_TRUE(is_zero(at, 4 * kPageBytes));
  EXPECT_EQ(heap_.accounts().released_bytes, kChunk - 4 * kPageBytes);
  expect_healthy();
}

TEST_F(PageHeapTest, ASpanThatMergesWithReleasedOnesIsNotReleased) {
  Span* const a = heap_.allocate(4, kHeapUse);
  Span* const b = heap_.allocate(6, kHeapUse);
  Span* const c = heap_.allocate(22, kHeapUse);
  heap_.free(a);
  EXPECT_EQ(heap_.release_idle(), 4 * kPageBytes) << "what is in use is not idle";
  arena_.note_written(base(b), 6 * kPageBytes);
  std::memset(reinterpret_cast<void*>(base(b)), 0x5a, 6 * kPageBytes);
  heap_.free(b);
  EXPECT_EQ(heap_.accounts().released_bytes, 0u) << "resident as a whole";
  Span* const both = heap_.allocate(10, kHeapUse);
  ASSERT_EQ(base(both), arena_.base());
  EXPECT_TRUE(both->needs_zero);
  heap_.free(both);
  EXPECT_EQ(heap_.release_idle(), 10 * kPageBytes);
  heap_.free(c);
  EXPECT_EQ(heap_.accounts().released_bytes, 0u);
  EXPECT_EQ(heap_.release_idle(), kChunk);
  expect_healthy();
}

// What Go's scavenger asks: what has been idle for long?
TEST_F(PageHeapTest, WhatIsIdleSinceLaterIsNotReleased) {
  static int64_t now = 100;
  heap_.stamp_idle(+[] { return now; });
  Span* const early = heap_.allocate(4, kHeapUse);
  Span* const between = heap_.allocate(2, kHeapUse);
  Span* const late = heap_.allocate(6, kHeapUse);
  Span* const behind = heap_.allocate(20, kHeapUse);
  heap_.free(early);
  now = 200;
  heap_.free(late);
  EXPECT_EQ(heap_.release_idle(100), 0u);
  EXPECT_EQ(heap_.release_idle(200), 4 * kPageBytes);
  EXPECT_EQ(heap_.release_idle(201), 6 * kPageBytes);
  now = 300;
  heap_.free(between);
  EXPECT_EQ(heap_.release_idle(300), 0u) << "what it merged with is idle since then, as a whole";
  EXPECT_EQ(heap_.release_idle(301), 12 * kPageBytes);
  Span* const again = heap_.allocate(3, kHeapUse);
  EXPECT_EQ(again->limit, base(again) + 3 * kPageBytes) << "in use it is the end of the last slot again";
  heap_.free(behind);
  heap_.stamp_idle(nullptr);
}

TEST_F(PageHeapTest, FreeMemoryIsPoisonedAndHeapMemoryIsNot) {
  Span* const span = heap_.allocate(2, kHeapUse);
  const uintptr_t at = base(span);
  EXPECT_FALSE(asan_is_poisoned(at));
  EXPECT_FALSE(asan_is_poisoned(at + 2 * kPageBytes - 1));
  EXPECT_EQ(asan_is_poisoned(at + 2 * kPageBytes), asan_enabled) << "the rest of the chunk";
  EXPECT_EQ(asan_is_poisoned(at + kChunk - 1), asan_enabled);
  heap_.free(span);
  for (uintptr_t address = at; address < at + 2 * kPageBytes; address += 8) {
    ASSERT_EQ(asan_is_poisoned(address), asan_enabled);
  }
}

TEST_F(PageHeapTest, AResetGivesTheSameAddressesAndCleanMemory) {
  Span* const span = heap_.allocate(4, kHeapUse);
  const uintptr_t at = base(span);
  arena_.note_written(at, 4 * kPageBytes);
  std::memset(reinterpret_cast<void*>(at), 0x5a, 4 * kPageBytes);
  heap_.reset(0, kChunk);
  EXPECT_EQ(heap_.mapped_bytes(), 0u);
  EXPECT_EQ(heap_.locate(at).state, SpanState::kUnmapped);
  Span* const again = heap_.allocate(4, kHeapUse);
  EXPECT_EQ(base(again), at);
  EXPECT_FALSE(again->needs_zero);
  EXPECT_TRUE(is_zero(at, 4 * kPageBytes));
}

// Above 64 MiB of used pages a reset takes another way, whatever of them was written.
TEST(PageHeap, AResetAfterMuchUseGivesCleanMemoryToo) {
  constexpr uint32_t kPages = (72u << 20) / kPageBytes;
  Arena arena(size_t{kPages} * kPageBytes);
  PageHeap heap(arena);
  heap.reset(0, kChunk);
  Span* const span = heap.allocate(kPages, kHeapUse);
  ASSERT_NE(span, nullptr);
  const uintptr_t last = arena.address_of(kPages) - 8;
  for (const uintptr_t at : {arena.base(), last}) *reinterpret_cast<uint64_t*>(at) = ~uint64_t{0};
  heap.reset(0, kChunk);
  Span* const again = heap.allocate(kPages, kHeapUse);
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(heap.base_of(*again), arena.base());
  EXPECT_FALSE(again->needs_zero);
  for (const uintptr_t at : {arena.base(), last}) EXPECT_EQ(*reinterpret_cast<const uint64_t*>(at), 0u);
}

// A seeded life against a model: which spans there are, what they hold, and what the accounts must be, to the byte.
class PageHeapLife : public PageHeapTest, public testing::WithParamInterface<unsigned> {
 protected:
  struct Held {
    Span* span;
    uintptr_t base;
    uint32_t pages;
    bool stack;
  };

  // The size of the free span that best fit must choose, or 0 if the heap must grow.
  uint32_t smallest_fit(uint32_t pages) const {
    uint32_t best = 0;
    for (const SpanView& view : CollectedWalk(heap_).spans) {
      if (view.state != SpanState::kFree || view.pages < pages) continue;
      if (best == 0 || view.pages < best) best = view.pages;
    }
    return best;
  }

  void take(uint32_t pages, bool stack) {
    const uint32_t fit = smallest_fit(pages);
    const auto before = account_of(heap_);
    const std::vector<SpanView> spans = CollectedWalk(heap_).spans;
    Span* const span = heap_.allocate(pages, stack ? kStackUse : kHeapUse);
    if (span == nullptr) {
      EXPECT_EQ(fit, 0u) << "refused though it fits";
      EXPECT_EQ(account_of(heap_), before);
      ++refused_;
      return;
    }
    EXPECT_EQ(span->page_count(), pages);
    for (const SpanView& view : spans) {
      if (fit != 0 && view.base == base(span)) {
        EXPECT_EQ(view.pages, fit) << "not the best fit";
      }
    }
    held_.push_back({span, base(span), pages, stack});
    (stack ? stack_pages_ : heap_pages_) += pages;
    taken_ = taken_ * 31 + base(span);
  }

  void give(size_t i) {
    const Held held = held_[i];
    EXPECT_EQ(base(held.span), held.base);
    EXPECT_EQ(held.span->page_count(), held.pages);
    heap_.free(held.span);
    (held.stack ? stack_pages_ : heap_pages_) -= held.pages;
    held_[i] = held_.back();
    held_.pop_back();
  }

  void expect_as_modelled() const {
    const HeapAccounts accounts = heap_.accounts();
    EXPECT_EQ(accounts.heap_bytes, heap_pages_ * kPageBytes);
    EXPECT_EQ(accounts.stack_bytes, stack_pages_ * kPageBytes);
    EXPECT_EQ(accounts.idle_bytes, accounts.system_bytes - (heap_pages_ + stack_pages_) * kPageBytes);
  }

  void live(int steps) {
    std::mt19937 random(GetParam());
    for (int step = 0; step < steps; ++step) {
      const uint32_t dice = below(random, 100);
      if (held_.empty() || dice < 55) {
        const uint32_t pages = 1 + below(random, dice < 3 ? 200 : 20);
        take(pages, random() % 2 == 0);
      } else {
        give(random() % held_.size());
      }
      expect_as_modelled();
      if (dice == 99) heap_.release_idle();
      if (step % 50 == 0) expect_healthy();
      if (HasFailure()) return;
    }
  }

  std::vector<Held> held_;
  uint64_t heap_pages_ = 0;
  uint64_t stack_pages_ = 0;
  uintptr_t taken_ = 0;  // a hash of all addresses in the order they were taken
  int refused_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Seeds, PageHeapLife, testing::Values(1u, 7u, 91u), testing::PrintToStringParamName());

TEST_P(PageHeapLife, StaysHealthyAndByteExact) {
  live(3000);
  EXPECT_GT(refused_, 0) << "the arena is small enough to be exhausted";
  while (!held_.empty()) give(held_.size() - 1);
  expect_as_modelled();
  expect_healthy();
  EXPECT_EQ(CollectedWalk(heap_).spans.size(), 1u) << "all merged into one";
  EXPECT_EQ(heap_.accounts().idle_bytes, heap_.accounts().system_bytes);
  const HeapAccounts accounts = heap_.accounts();
  EXPECT_EQ(accounts.stack_spans_taken, accounts.stack_spans_released);
}

TEST_P(PageHeapLife, IsTheSameAgainAfterAReset) {
  live(1000);
  const std::string tiles = tiles_of(heap_);
  const auto accounts = account_of(heap_);
  const uintptr_t taken = taken_;
  held_.clear();
  heap_pages_ = stack_pages_ = taken_ = 0;
  heap_.reset(0, kChunk);
  live(1000);
  EXPECT_EQ(tiles_of(heap_), tiles);
  EXPECT_EQ(account_of(heap_), accounts);
  EXPECT_EQ(taken_, taken);
}

}  // namespace
}  // namespace stackdrain
