// SmallPool: what it makes of a pool that can only issue stacks and take them back.
#include "target/foreign/small_pool.h"

#include <gtest/gtest.h>

#include <memory>

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
