#include "target/drain/bitmap_heap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "target/testing.h"

namespace stackdrain {
namespace {

constexpr uint32_t kPages = 640;
constexpr SpanUse kHeapUse{};
constexpr SpanUse kSmallStack{SpanState::kStack, 1, 4096};

SpanUse large_stack(uint32_t pages) {
  return {SpanState::kStack, kLargeOrder, static_cast<uint32_t>(pages * kPageBytes)};
}

// A heap whose spans' slots nobody knows.
struct AsItIs final : StackSpanFacts {
  explicit AsItIs(const BitmapHeap& the_heap) : heap(the_heap) {}
  void fill(SpanView&) override {}
  void walk(WalkVisitor& visitor) const {
    AsItIs nobody(heap);
    heap.walk(visitor, nobody);
  }
  const BitmapHeap& heap;
};

struct Live {
  uint32_t first;
  uint32_t pages;
  SpanUse use;
};

// The heap beside a model that knows of each page which live span has it.
class BitmapHeapTest : public testing::Test {
 protected:
  BitmapHeapTest() : arena_(kPages * kPageBytes), heap_(arena_), owner_(kPages, -1) { heap_.reset(0, 48 * kPageBytes); }

  // The lowest place where a span would fit into `mapped` pages; kNoPage if there is none.
  uint32_t lowest_fit(uint32_t pages, bool aligned, uint32_t mapped) const {
    const uint32_t step = aligned ? std::min(pages, 64u) : 1;
    for (uint32_t first = 0; first + pages <= mapped; first += step) {
      if (std::all_of(owner_.begin() + first, owner_.begin() + first + pages, [](int owner) { return owner < 0; }))
        return first;
    }
    return kNoPage;
  }

  void allocate(uint32_t pages, SpanUse use) {
    const bool stack = use.state == SpanState::kStack;
    const uint32_t before = heap_.mapped();
    const uint32_t first = heap_.allocate(pages, use);
    if (const uint32_t fits = lowest_fit(pages, stack, before); fits != kNoPage) {
      ASSERT_EQ(heap_.mapped(), before) << "nothing is mapped while something fits";
    }
    ASSERT_EQ(first, lowest_fit(pages, stack, heap_.mapped()));
    if (first == kNoPage) {
      ASSERT_EQ(lowest_fit(pages, stack, kPages), kNoPage) << "nothing is refused that the arena could hold";
      return;
    }
    const Location at = heap_.locate(arena_.address_of(first));
    ASSERT_GT(at.generation, generation_);
    generation_ = at.generation;
    live_.push_back({first, pages, use});
    own(live_.back(), static_cast<int>(first));
    (stack ? stack_bytes_ : heap_bytes_) += pages * kPageBytes;
    if (!stack) {
      heap_.clean(first);
      expect_zero_and_write(first, pages);
    }
  }

  void expect_zero_and_write(uint32_t first, uint32_t pages) {
    arena_.note_written(arena_.address_of(first), pages * kPageBytes);
    auto* words = reinterpret_cast<uint64_t*>(arena_.address_of(first));
    for (size_t i = 0; i < pages * kPageBytes / sizeof(uint64_t); i += 64) {
      ASSERT_EQ(words[i], 0u) << "A9";
      words[i] = ~uint64_t{0};
    }
  }

  void own(const Live& span, int owner) { std::fill_n(owner_.begin() + span.first, span.pages, owner); }

  void forget(size_t index) {
    const Live span = live_[index];
    own(span, -1);
    (span.use.state == SpanState::kStack ? stack_bytes_ : heap_bytes_) -= span.pages * kPageBytes;
    live_[index] = live_.back();
    live_.pop_back();
  }

  void free(size_t index) {
    heap_.free(live_[index].first);
    forget(index);
  }

  // Every stack of up to a word of pages that a coin chooses, at once.
  void free_many(std::mt19937& random) {
    std::vector<PageMask> masks;
    for (size_t i = live_.size(); i-- > 0;) {
      const Live span = live_[i];
      if (span.use.state != SpanState::kStack || span.pages > 64 || random() % 2 == 0) continue;
      masks.push_back({span.first / 64, (~uint64_t{0} >> (64 - span.pages)) << (span.first % 64)});
      forget(i);
    }
    heap_.free_words(masks);
  }

  void check() const {
    const PoolStats accounts = heap_.stats();
    ASSERT_EQ(accounts.system_bytes, heap_.mapped_bytes());
    ASSERT_EQ(accounts.stack_bytes, stack_bytes_);
    ASSERT_EQ(accounts.heap_bytes, heap_bytes_);
    ASSERT_EQ(accounts.idle_bytes, heap_.mapped_bytes() - stack_bytes_ - heap_bytes_);
    const CollectedWalk walk((AsItIs(heap_)));
    ASSERT_EQ(walk.faults, "");
    uint32_t page = 0;
    uint32_t released = 0;
    for (const SpanView& view : walk.spans) {
      ASSERT_EQ(view.base, arena_.address_of(page));
      for (const uint32_t end = page + view.pages; page < end; ++page) check_page(view, page);
      released += view.released_pages;
      if (view.state == SpanState::kFree) {
        ASSERT_TRUE(page == heap_.mapped() || owner_[page] >= 0) << "a Free span is as long as it can be";
      }
    }
    ASSERT_EQ(page, heap_.mapped());
    ASSERT_EQ(accounts.released_bytes, released * kPageBytes);
  }

  void check_page(const SpanView& view, uint32_t page) const {
    const bool free = view.state == SpanState::kFree;
    ASSERT_EQ(owner_[page], free ? -1 : static_cast<int>(arena_.page_of(view.base)));
    const Location at = heap_.locate(arena_.address_of(page) + page);
    ASSERT_EQ(at.state, view.state);
    if (free) return;
    ASSERT_EQ(at.base, view.base);
    ASSERT_EQ(at.pages, view.pages);
    ASSERT_EQ(at.generation, view.generation);
  }

  Arena arena_;
  BitmapHeap heap_;
  std::vector<int> owner_;
  std::vector<Live> live_;
  uint32_t generation_ = 0;
  uint64_t stack_bytes_ = 0;
  uint64_t heap_bytes_ = 0;
};

TEST_F(BitmapHeapTest, RandomOperationsAgreeWithAModelOfPages) {
  std::mt19937 random(7);
  for (int round = 0; round < 3; ++round) {
    for (int step = 0; step < (kSlowBuild ? 600 : 3000) && !HasFatalFailure(); ++step) {
      switch (random() % 8) {
        case 0:
        case 1:
          allocate(4, kSmallStack);
          break;
        case 2:
        case 3: {
          const uint32_t pages = 1u << random() % 8;
          allocate(pages, large_stack(pages));
          break;
        }
        case 4:
          allocate(1 + static_cast<uint32_t>(random() % (step % 3 == 0 ? 150 : 6)), kHeapUse);
          break;
        case 5:
          if (random() % 4 == 0) free_many(random);
          break;
        case 6:
          if (random() % 16 != 0) break;
          heap_.release_idle();
          ASSERT_EQ(heap_.stats().released_bytes, heap_.stats().idle_bytes);
          break;
        default:
          if (!live_.empty()) free(random() % live_.size());
      }
      check();
    }
    while (!live_.empty()) free(live_.size() - 1);
    check();
    heap_.reset(0, 48 * kPageBytes);
    EXPECT_EQ(heap_.mapped(), 0u);
    generation_ = 0;
  }
}

TEST_F(BitmapHeapTest, ALimitedArenaIsMappedToItsLastPageAndThenRefuses) {
  heap_.reset(70, kPageBytes);
  EXPECT_EQ(heap_.allocate(3, kHeapUse), 0u);
  EXPECT_EQ(heap_.allocate(64, large_stack(64)), kNoPage) << "from page 64 on only 6 are left";
  EXPECT_EQ(heap_.allocate(4, kSmallStack), 4u) << "page 3 is left out";
  EXPECT_EQ(heap_.allocate(62, kHeapUse), 8u);
  EXPECT_EQ(heap_.allocate(1, kHeapUse), 3u);
  EXPECT_EQ(heap_.allocate(1, kHeapUse), kNoPage);
  EXPECT_EQ(heap_.mapped(), 70u);
}

TEST_F(BitmapHeapTest, ASpanFreedInOnePieceIsCountedOnce) {
  const uint32_t first = heap_.allocate(4, kSmallStack);
  heap_.allocate(4, kSmallStack);
  const std::vector<PageMask> both{{first / 64, 0xff}};
  heap_.free_words(both);
  const PoolStats accounts = heap_.stats();
  EXPECT_EQ(accounts.spans_taken, 2u);
  EXPECT_EQ(accounts.spans_released, 2u);
  EXPECT_EQ(accounts.stack_bytes, 0u);
  EXPECT_EQ(accounts.peak_stack_bytes, 8 * kPageBytes);
}

TEST_F(BitmapHeapTest, AResetClearsWhatWasWrittenTo) {
  const uintptr_t heap_span = arena_.address_of(heap_.allocate(3, kHeapUse));
  const uintptr_t small = arena_.address_of(heap_.allocate(4, kSmallStack));
  const uintptr_t large = arena_.address_of(heap_.allocate(8, large_stack(8)));
  const auto write = [](uintptr_t lo, size_t bytes) {
    asan_unpoison(lo, bytes);
    std::memset(reinterpret_cast<void*>(lo), 0xff, bytes);
  };
  arena_.note_written(heap_span, 3 * kPageBytes);
  write(heap_span, 3 * kPageBytes);
  for (size_t slot = 0; slot < kPoolSpanBytes; slot += kMinStackBytes) write(small + slot, kLinkBytes);
  write(large, kLinkBytes);
  arena_.note_written(large + 5 * kPageBytes - 8, 16);
  write(large + 5 * kPageBytes - kMinStackBytes, 2 * kMinStackBytes);
  const size_t mapped = heap_.mapped_bytes();
  heap_.reset(0, kPageBytes);
  asan_unpoison(arena_.base(), mapped);
  const auto* words = reinterpret_cast<const uint64_t*>(arena_.base());
  for (size_t i = 0; i < mapped / sizeof(uint64_t); ++i) ASSERT_EQ(words[i], 0u) << "word " << i;
}

TEST_F(BitmapHeapTest, OnlyWhatWasIssuedCanBeFreed) {
  const uint32_t first = heap_.allocate(4, kSmallStack);
  EXPECT_DEATH(heap_.free(first + 1), "only a span that was issued");
  const std::vector<PageMask> more{{first / 64, 0x1f}};
  EXPECT_DEATH(heap_.free_words(more), "only Stack pages");
}

// The run that goes on is looked for from a page that is the second of its word.
TEST_F(BitmapHeapTest, MapsWhatIsMissingOfARunOfTwoPages) {
  heap_.reset(0, kPageBytes);
  EXPECT_EQ(heap_.allocate(64, kHeapUse), 0u);
  EXPECT_EQ(heap_.allocate(2, kHeapUse), 64u);
  heap_.free(64);
  EXPECT_EQ(heap_.allocate(4, kSmallStack), 64u);
  EXPECT_EQ(heap_.mapped(), 68u);
}

// What lies beyond the pages that an arena poisons at once is poisoned when it is mapped, and only then.
TEST(BitmapHeapPoison, OfALargeArenaEachPageIsPoisonedOnce) {
  if (!asan_enabled) return;  // nothing is poisoned
  Arena arena(size_t{256} << 20);
  const uint32_t at_once = arena.poison_at_once();
  ASSERT_LT(at_once, arena.pages() / 2);
  BitmapHeap heap(arena);
  heap.reset(0, kPageBytes);
  const uint32_t used = heap.allocate(at_once + 16, kHeapUse);
  EXPECT_FALSE(asan_is_poisoned(arena.address_of(heap.mapped()))) << "that is not mapped yet";
  const uint32_t stack = heap.allocate(16, large_stack(16));
  EXPECT_EQ(asan_first_poisoned(arena.address_of(used), (at_once + 16) * kPageBytes), 0u);
  EXPECT_TRUE(asan_is_poisoned(arena.address_of(stack)));
  EXPECT_TRUE(asan_is_poisoned(arena.address_of(stack + 16) - 1));
  EXPECT_FALSE(asan_is_poisoned(arena.address_of(heap.mapped())));
}

TEST(BitmapHeapLocate, FindsTheStartOfTheLargestStack) {
  constexpr uint32_t kGigabyte = 1u << 17;  // pages
  Arena arena(size_t{3} << 30);
  BitmapHeap heap(arena);
  heap.reset(0, kPageBytes);
  EXPECT_EQ(heap.allocate(1, kHeapUse), 0u);
  EXPECT_EQ(heap.allocate(kGigabyte, large_stack(kGigabyte)), 64u);
  for (const uint32_t page : {64u, 65u, 128u, 64u + kGigabyte / 2, 63u + kGigabyte}) {
    const Location at = heap.locate(arena.address_of(page));
    EXPECT_EQ(at.state, SpanState::kStack);
    EXPECT_EQ(at.base, arena.address_of(64));
    EXPECT_EQ(at.pages, kGigabyte);
  }
  EXPECT_EQ(heap.locate(arena.address_of(63)).state, SpanState::kFree);
  EXPECT_EQ(heap.locate(arena.address_of(64 + kGigabyte)).state, SpanState::kUnmapped);
  EXPECT_EQ(heap.locate(arena.base() - 1).state, SpanState::kUnmapped);
}

// A8 and what locate() promises: whose span can't go away is answered right while its neighbours come and go.
TEST(BitmapHeapLocate, AnswersRightWhileNeighboursComeAndGo) {
  constexpr uint32_t kPagesHere = 512;
  Arena arena(kPagesHere * kPageBytes);
  BitmapHeap heap(arena);
  heap.reset(0, kPageBytes);
  std::vector<uint32_t> held;
  for (int i = 0; i < 3; ++i) {
    heap.allocate(5, kHeapUse);
    held.push_back(heap.allocate(8, large_stack(8)));
    heap.allocate(3, kHeapUse);
    held.push_back(heap.allocate(128, large_stack(128)));
  }
  std::atomic<bool> over{false};
  std::vector<std::thread> churners;
  for (uint32_t seed = 1; seed <= 2; ++seed) {
    churners.emplace_back([&heap, &over, seed] {
      std::mt19937 random(seed);
      std::vector<uint32_t> mine;
      while (!over.load(std::memory_order_relaxed)) {
        if (mine.size() < 12 && random() % 2 == 0) {
          const uint32_t first = heap.allocate(1 + static_cast<uint32_t>(random() % 3), kHeapUse);
          if (first != kNoPage) mine.push_back(first);
        } else if (!mine.empty()) {
          heap.free(mine.back());
          mine.pop_back();
        }
      }
      for (const uint32_t first : mine) heap.free(first);
    });
  }
  for (int round = 0; round < (kSlowBuild ? 300 : 3000); ++round) {
    for (size_t i = 0; i < held.size(); ++i) {
      const uint32_t pages = i % 2 == 0 ? 8 : 128;
      for (uint32_t page = 0; page < pages; page += pages / 8 - (pages == 8 ? 0 : 1)) {
        const Location at = heap.locate(arena.address_of(held[i] + page));
        ASSERT_EQ(at.state, SpanState::kStack);
        ASSERT_EQ(at.base, arena.address_of(held[i]));
        ASSERT_EQ(at.pages, pages);
        ASSERT_NE(at.generation, 0u);
      }
    }
  }
  over.store(true);
  for (std::thread& churner : churners) churner.join();
  EXPECT_EQ(CollectedWalk(AsItIs(heap)).faults, "");
}

}  // namespace
}  // namespace stackdrain
