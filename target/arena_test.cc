#include "target/arena.h"

#include <gtest/gtest.h>

#include "target/base.h"
#include "target/span.h"

namespace stackdrain {
namespace {

TEST(Arena, RoundsUpToPagesAndKnowsItsEdges) {
  const Arena arena(3 * kPageBytes + 1);
  ASSERT_EQ(arena.pages(), 4u);
  EXPECT_EQ(arena.base() % kPageBytes, 0u);
  EXPECT_TRUE(arena.contains(arena.base()));
  EXPECT_TRUE(arena.contains(arena.base() + 4 * kPageBytes - 1));
  EXPECT_FALSE(arena.contains(arena.base() + 4 * kPageBytes));
  EXPECT_FALSE(arena.contains(arena.base() - 1));
}

TEST(Arena, PagesAndAddressesAreInverse) {
  const Arena arena(size_t{1} << 20);
  for (uint32_t page = 0; page < arena.pages(); ++page) {
    EXPECT_EQ(arena.page_of(arena.address_of(page)), page);
    EXPECT_EQ(arena.page_of(arena.address_of(page) + kPageBytes - 1), page);
  }
}

TEST(Arena, TablesBeginEmpty) {
  const Arena arena(size_t{1} << 20);
  for (uint32_t page = 0; page < arena.pages(); ++page) {
    EXPECT_EQ(arena.page_map()[page].load(), 0u);
    EXPECT_EQ(arena.dirty()[page], 0u);
  }
}

}  // namespace
}  // namespace stackdrain
