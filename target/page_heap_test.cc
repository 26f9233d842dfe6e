#include "target/page_heap.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "target/testing.h"

namespace stackdrain {
namespace {

constexpr size_t kArena = size_t{4} << 20;
constexpr size_t kChunk = size_t{256} << 10;  // 32 pages
constexpr SpanUse kHeapUse{};
constexpr SpanUse kStackUse{SpanState::kStack, kLargeOrder, 4 * kPageBytes};

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
    uint64_t bytes[4] = {};
    for (size_t i = 0; i < walk.spans.size(); ++i) {
      const SpanView& view = walk.spans[i];
      bytes[static_cast<size_t>(view.state)] += uint64_t{view.pages} * kPageBytes;
      const bool both_free = i > 0 && view.state == SpanState::kFree && walk.spans[i - 1].state == SpanState::kFree;
      EXPECT_FALSE(both_free) << "neighbours must merge";
    }
    EXPECT_EQ(bytes[static_cast<size_t>(SpanState::kFree)], accounts.idle_bytes);
    EXPECT_EQ(bytes[static_cast<size_t>(SpanState::kStack)], accounts.stack_bytes);
    EXPECT_EQ(bytes[static_cast<size_t>(SpanState::kInUse)], accounts.heap_bytes);
  }

  Arena arena_;
  PageHeap heap_;
};

TEST_F(PageHeapTest, TakesTheSmallestSpanThatFits) {
  Span* const small = heap_.allocate(2, kHeapUse);
  Span* const wall1 = heap_.allocate(1, kHeapUse);
  Span* const big = heap_.allocate(5, kHeapUse);
  Span* const wall2 = heap_.allocate(1, kHeapUse);
  ASSERT_NE(wall2, nullptr);
  const uintptr_t small_base = base(small);
  const uintptr_t big_base = base(big);
  heap_.free(big);
  heap_.free(small);
  Span* const three = heap_.allocate(3, kHeapUse);
  EXPECT_EQ(base(three), big_base) << "2 pages don't fit, and the rest of the chunk is larger";
  Span* const two = heap_.allocate(2, kHeapUse);
  EXPECT_TRUE(base(two) == small_base || base(two) == big_base + 3 * kPageBytes);
  EXPECT_NE(wall1, nullptr);
  expect_healthy();
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

TEST_F(PageHeapTest, LocatesEveryByteOfASpanAndNothingBesides) {
  Span* const span = heap_.allocate(4, kStackUse);
  for (uintptr_t at = base(span); at < base(span) + 4 * kPageBytes; at += 512) {
    EXPECT_EQ(heap_.span_of(at), span);
    EXPECT_EQ(heap_.locate(at).state, SpanState::kStack);
    EXPECT_EQ(heap_.locate(at).base, base(span));
  }
  EXPECT_NE(heap_.span_of(base(span) + 4 * kPageBytes), span);
  EXPECT_EQ(heap_.locate(arena_.base() + kArena).state, SpanState::kUnmapped);
  EXPECT_EQ(heap_.locate(arena_.base() + kArena - 1).state, SpanState::kUnmapped) << "reserved, never mapped";
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

TEST_F(PageHeapTest, ExhaustionChangesNothing) {
  heap_.reset(40, kChunk);
  Span* const most = heap_.allocate(38, kHeapUse);
  ASSERT_NE(most, nullptr);
  const HeapAccounts before = heap_.accounts();
  EXPECT_EQ(heap_.allocate(3, kHeapUse), nullptr);
  const HeapAccounts after = heap_.accounts();
  EXPECT_EQ(before.heap_bytes, after.heap_bytes);
  EXPECT_EQ(before.idle_bytes, after.idle_bytes);
  EXPECT_NE(heap_.allocate(2, kHeapUse), nullptr) << "what is left can still be had";
  expect_healthy();
}

TEST_F(PageHeapTest, ReleasedMemoryIsCountedOnceAndReadsAsZero) {
  Span* const span = heap_.allocate(4, kHeapUse);
  const uintptr_t at = base(span);
  std::memset(reinterpret_cast<void*>(at), 0x5a, 4 * kPageBytes);
  heap_.free(span);
  EXPECT_EQ(heap_.release_idle(), kChunk);
  EXPECT_EQ(heap_.release_idle(), 0u);
  EXPECT_EQ(heap_.accounts().released_bytes, kChunk);
  Span* const again = heap_.allocate(4, kHeapUse);
  ASSERT_EQ(base(again), at);
  EXPECT_FALSE(again->needs_zero);
  EXPECT_EQ(*reinterpret_cast<const uint64_t*>(at), 0u);
  EXPECT_EQ(heap_.accounts().released_bytes, kChunk - 4 * kPageBytes);
  expect_healthy();
}

TEST_F(PageHeapTest, AResetGivesTheSameAddressesAndCleanMemory) {
  Span* const span = heap_.allocate(4, kHeapUse);
  const uintptr_t at = base(span);
  std::memset(reinterpret_cast<void*>(at), 0x5a, 4 * kPageBytes);
  heap_.reset(0, kChunk);
  EXPECT_EQ(heap_.mapped_bytes(), 0u);
  Span* const again = heap_.allocate(4, kHeapUse);
  EXPECT_EQ(base(again), at);
  EXPECT_FALSE(again->needs_zero);
  for (size_t i = 0; i < 4 * kPageBytes; i += 8) ASSERT_EQ(*reinterpret_cast<const uint64_t*>(at + i), 0u);
}

TEST_F(PageHeapTest, ARandomLifeStaysHealthy) {
  std::mt19937 random(7);
  std::vector<Span*> live;
  for (int step = 0; step < 3000; ++step) {
    if (live.empty() || random() % 100 < 55) {
      const bool stack = random() % 2 == 0;
      if (Span* span = heap_.allocate(1 + random() % 20, stack ? kStackUse : kHeapUse)) live.push_back(span);
    } else {
      const size_t i = random() % live.size();
      heap_.free(live[i]);
      live[i] = live.back();
      live.pop_back();
    }
    if (step % 50 == 0) expect_healthy();
  }
  for (Span* span : live) heap_.free(span);
  expect_healthy();
  EXPECT_EQ(CollectedWalk(heap_).spans.size(), 1u) << "all merged into one";
}

}  // namespace
}  // namespace stackdrain
