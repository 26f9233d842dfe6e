// SmallPool: what it makes of a pool that can only issue stacks and take them back.
#include "target/foreign/small_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "target/foreign/c_pool_adapter.h"
#include "target/foreign/fiber_stacks.h"
#include "target/foreign/foreign.h"
#include "target/foreign/malloc_pool.h"
#include "target/foreign/mmap_pool.h"

namespace stackdrain {
namespace {

static_assert(SmallStackPool<MallocPool> && SmallStackPool<MmapPool>);
static_assert(StackPool<SmallPool<MallocPool>>);
static_assert(!foreign_claims<MallocPool>().tells_places && foreign_claims<MallocPool>().sound);

// Says what was asked of it.
class Telling {
 public:
  Stack allocate(size_t bytes) {
    ++issued;
    return malloc_.allocate(bytes);
  }
  void free(Stack stack) {
    ++freed;
    malloc_.free(stack);
  }
  static inline int issued = 0;
  static inline int freed = 0;

 private:
  MallocPool malloc_;
};

class SmallPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    Telling::issued = Telling::freed = 0;
    pool_ = ForeignBox<Telling>::make(arena_);
    pool_->reset(go119_preset());
  }
  Arena arena_{size_t{1} << 20};
  std::unique_ptr<AnyPool> pool_;
};

TEST_F(SmallPoolTest, AShrunkStackWaitsForTheEndOfTheMark) {
  const Stack stack = pool_->allocate(0, 8192);
  ASSERT_EQ(stack.bytes(), 8192u);
  pool_->begin_cycle({});
  pool_->retire(kNoProc, stack, RetireWhy::kShrunk);
  EXPECT_EQ(Telling::freed, 0);
  EXPECT_EQ(pool_->stats().held_bytes, 8192u);
  EXPECT_EQ(pool_->stats().live_stacks, 0u);
  pool_->end_mark();
  EXPECT_EQ(Telling::freed, 1);
  EXPECT_EQ(pool_->stats().held_stacks, 0u);
}

TEST_F(SmallPoolTest, InAStoppedMarkOnlyWhatWasShrunkWaits) {
  const Stack dead = pool_->allocate(0, 4096);
  const Stack grown = pool_->allocate(0, 4096);
  pool_->begin_cycle({});
  pool_->retire(0, dead, RetireWhy::kDead);
  EXPECT_EQ(Telling::freed, 1);
  pool_->end_mark();
  pool_->begin_cycle({1, true});
  pool_->retire(0, grown, RetireWhy::kGrown);
  EXPECT_EQ(Telling::freed, 1);
  pool_->end_mark();
  EXPECT_EQ(Telling::freed, 2);
}

TEST_F(SmallPoolTest, TheArenasSizeBoundsWhatIsLive) {
  const Stack half = pool_->allocate(0, size_t{512} << 10);
  EXPECT_TRUE(half);
  EXPECT_FALSE(pool_->allocate(0, size_t{1} << 20));
  EXPECT_EQ(pool_->allocate_heap(65, false), 0u);
  pool_->free(0, half);
  const uintptr_t heap = pool_->allocate_heap(65, true);
  ASSERT_NE(heap, 0u);
  EXPECT_EQ(*reinterpret_cast<const uint64_t*>(heap + 8000), 0u);
  pool_->free_heap(heap);
}

TEST_F(SmallPoolTest, PagesBeyondTheArenaBoundNothing) {
  PoolParams params = go119_preset();
  params.arena_pages = 1u << 20;
  pool_->reset(params);
  EXPECT_NE(pool_->allocate_heap(arena_.pages(), false), 0u);
  EXPECT_FALSE(pool_->allocate(0, kMinStackBytes));
}

TEST_F(SmallPoolTest, AMemoryResourceRefusesWhatNoStackHolds) {
  PoolResource resource(*pool_, 0);
  for (const size_t bytes : {SIZE_MAX, (SIZE_MAX >> 1) + 2, size_t{1} << 62, pool_->params().max_stack_bytes + 1}) {
    EXPECT_THROW(static_cast<void>(resource.allocate(bytes, 8)), std::bad_alloc);
  }
  void* const block = resource.allocate(5000, 8);
  resource.deallocate(block, 5000, 8);
  EXPECT_EQ(Telling::freed, 1);
}

TEST_F(SmallPoolTest, AProgramThatWasCutShortLeavesNothing) {
  pool_->allocate(0, 2048);
  const Stack waits = pool_->allocate(0, 2048);
  pool_->begin_cycle({});
  pool_->retire(kNoProc, waits, RetireWhy::kShrunk);
  pool_->allocate_heap(2, false);
  pool_->reset(go119_preset());
  EXPECT_EQ(pool_->stats(), PoolStats{});
#if STACKDRAIN_YIELDS
  EXPECT_EQ(Telling::freed, Telling::issued);  // LeakSanitizer says the same
#endif
}

#if STACKDRAIN_YIELDS
TEST_F(SmallPoolTest, SaysWhereAStackIs) {
  const Stack stack = pool_->allocate(0, 2048);
  const Location at = pool_->locate(stack.lo + 100);
  EXPECT_EQ(at.state, SpanState::kStack);
  EXPECT_EQ(at.base, stack.lo);
  EXPECT_EQ(pool_->locate(stack.hi).state, SpanState::kUnmapped);
  pool_->free(0, stack);
  EXPECT_EQ(pool_->locate(stack.lo).state, SpanState::kUnmapped);
}
#endif

// A pool that puts off by itself, and says what was asked of it.
class Deferring {
 public:
  Stack allocate(size_t bytes) {
    if (reissue) return reissue;
    return malloc_.allocate(bytes);
  }
  void free(Stack stack) {
    if (stack != reissue) malloc_.free(stack);
  }
  void begin_mark(bool) { ++begun; }
  void retire(Stack stack) {
    ++retired;
    left_.push_back(stack);
  }
  void end_mark() { ++ended; }
  size_t drain(size_t budget) {
    size_t freed = 0;
    while (!left_.empty() && (budget == 0 || freed < budget)) {
      malloc_.free(left_.back());
      left_.pop_back();
      ++freed;
    }
    drained += freed;
    return freed;
  }
  ~Deferring() { drain(0); }
  Deferring() = default;
  Deferring(const Deferring&) = delete;
  Deferring& operator=(const Deferring&) = delete;

  static inline int begun = 0;
  static inline int retired = 0;
  static inline int ended = 0;
  static inline size_t drained = 0;
  static inline Stack reissue;  // what allocate answers, if anything

 private:
  MallocPool malloc_;
  std::vector<Stack> left_;
};
static_assert(DeferringStackPool<Deferring> && !DeferringStackPool<MallocPool>);

class DeferringPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    Deferring::begun = Deferring::retired = Deferring::ended = 0;
    Deferring::drained = 0;
    Deferring::reissue = {};
    pool_ = ForeignBox<Deferring>::make(arena_);
    pool_->reset(go119_preset());
  }
  Arena arena_{size_t{1} << 20};
  std::unique_ptr<AnyPool> pool_;
};

TEST_F(DeferringPoolTest, IsToldOfMarksAndDrained) {
  const Stack stack = pool_->allocate(0, 8192);
  const Stack other = pool_->allocate(0, 8192);
  pool_->begin_cycle({});
  pool_->retire(kNoProc, stack, RetireWhy::kShrunk);
  pool_->retire(kNoProc, other, RetireWhy::kShrunk);
  EXPECT_EQ(pool_->stats().held_bytes, 2 * 8192u);
  EXPECT_FALSE(pool_->drain_pending());
  pool_->end_mark();
  pool_->restarted();
  EXPECT_EQ((std::array{Deferring::begun, Deferring::retired, Deferring::ended}), (std::array{1, 2, 1}));
  EXPECT_TRUE(pool_->drain_pending());
#if STACKDRAIN_YIELDS
  EXPECT_EQ(pool_->stats().held_bytes, 0u);  // seen from outside, the mark's end gave them back
#else
  EXPECT_EQ(pool_->drain_step(1), 1u);
  EXPECT_EQ(pool_->stats().held_bytes, 8192u);
#endif
  while (pool_->drain_pending()) pool_->drain_step(1);
  EXPECT_EQ(pool_->stats().held_bytes, 0u);
  EXPECT_EQ(pool_->stats().frees, 2u);
  EXPECT_EQ(pool_->stats().stack_bytes, 0u);
}

// What was retired in the mark that runs is behind what is left of the one before.
TEST_F(DeferringPoolTest, IsNotDrainedWhileAMarkRuns) {
  const Stack stack = pool_->allocate(0, 8192);
  const Stack held = pool_->allocate(0, 8192);
  pool_->begin_cycle({});
  pool_->retire(kNoProc, stack, RetireWhy::kShrunk);
  pool_->end_mark();
  pool_->restarted();
  ASSERT_TRUE(pool_->drain_pending());
  pool_->begin_cycle({});
  pool_->retire(kNoProc, held, RetireWhy::kShrunk);
  EXPECT_EQ(pool_->drain_step(0), 0u);
  EXPECT_EQ(Deferring::drained, 0u);
  EXPECT_TRUE(pool_->drain_pending());
  pool_->end_mark();
  pool_->restarted();
  while (pool_->drain_pending()) pool_->drain_step(0);
  EXPECT_EQ(Deferring::drained, 2u);
  EXPECT_EQ(pool_->stats().held_bytes, 0u);
}

#if STACKDRAIN_YIELDS
TEST_F(DeferringPoolTest, WhatIsIssuedOverAWaitingStackIsSeen) {
  const Stack stack = pool_->allocate(0, 8192);
  pool_->begin_cycle({});
  pool_->retire(kNoProc, stack, RetireWhy::kShrunk);
  const uint32_t before = pool_->locate(stack.lo).generation;
  Deferring::reissue = {stack.lo + 4096, stack.hi};
  EXPECT_TRUE(pool_->allocate(0, 4096));
  EXPECT_EQ(pool_->locate(stack.lo).state, SpanState::kUnmapped);
  EXPECT_NE(pool_->locate(stack.lo + 4096).generation, before);
  pool_->end_mark();
  EXPECT_EQ(pool_->locate(stack.lo + 4096).state, SpanState::kStack);  // the one issued is still on the book
}
#endif

// A table of C functions, as a pool in C has one; incomplete ones are told.
void* create_nothing() {
  static int pool;
  return &pool;
}
void destroy_nothing(void*) {}
void* allocate_by_malloc(void*, size_t bytes) {
  return std::malloc(bytes);
}
void free_by_malloc(void*, void* stack, size_t) {
  std::free(stack);
}
size_t drain_nothing(void*, size_t) {
  return 0;
}
const stackdrain_c_pool whole_table = {.table_bytes = sizeof(stackdrain_c_pool),
                                       .thread_safe = 1,
                                       .create = create_nothing,
                                       .destroy = destroy_nothing,
                                       .allocate = allocate_by_malloc,
                                       .release = free_by_malloc,
                                       .begin_mark = nullptr,
                                       .retire = nullptr,
                                       .end_mark = nullptr,
                                       .drain = nullptr};
const stackdrain_c_pool half_table = [] {
  stackdrain_c_pool table = whole_table;
  table.drain = drain_nothing;
  return table;
}();
const stackdrain_c_pool other_table = [] {
  stackdrain_c_pool table = whole_table;
  table.table_bytes -= sizeof(void*);
  return table;
}();

TEST(CPool, ATableWithoutDeferralIsASmallPool) {
  static_assert(SmallStackPool<CPool<whole_table>>);
  EXPECT_FALSE(CPool<whole_table>::defers());
  Arena arena(size_t{1} << 20);
  const std::unique_ptr<AnyPool> pool = ForeignBox<CPool<whole_table>>::make(arena);
  pool->reset(go119_preset());
  const Stack stack = pool->allocate(0, 8192);
  pool->begin_cycle({});
  pool->retire(kNoProc, stack, RetireWhy::kShrunk);
  EXPECT_EQ(pool->stats().held_stacks, 1u);
  pool->end_mark();
  EXPECT_EQ(pool->stats().held_stacks, 0u);
  EXPECT_FALSE(pool->drain_pending());
}

TEST(CPool, AnIncompleteTableIsTold) {
  EXPECT_DEATH(CPool<half_table>(), "all of begin_mark, retire, end_mark and drain, or none");
  EXPECT_DEATH(CPool<other_table>(), "table_bytes");
}

TEST(MmapPool, AStackHasAGuardBelowIt) {
  MmapPool pool;
  const Stack stack = pool.allocate(4096);
  ASSERT_TRUE(stack);
  *reinterpret_cast<volatile char*>(stack.lo) = 1;
  EXPECT_DEATH(*reinterpret_cast<volatile char*>(stack.lo - 1) = 1, "");
  pool.free(stack);
}

}  // namespace
}  // namespace stackdrain
