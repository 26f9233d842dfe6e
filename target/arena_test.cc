#include "target/arena.h"

#include <gtest/gtest.h>

#include <algorithm>

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
  EXPECT_FALSE(arena.contains(0));
  EXPECT_FALSE(arena.contains(~uintptr_t{0}));
}

TEST(Arena, WholePagesAreNotRoundedUp) {
  EXPECT_EQ(Arena(3 * kPageBytes).pages(), 3u);
  EXPECT_EQ(Arena(1).pages(), 1u);
}

TEST(Arena, IsAlignedSoThatPoolSpansCanBe) {
  for (const size_t bytes : {kPageBytes, size_t{3} << 20, size_t{32} << 20}) {
    EXPECT_EQ(Arena(bytes).base() % (size_t{1} << 20), 0u);
  }
}

TEST(Arena, PagesAndAddressesAreInverse) {
  const Arena arena(size_t{1} << 20);
  EXPECT_EQ(arena.address_of(0), arena.base());
  for (uint32_t page = 0; page < arena.pages(); ++page) {
    EXPECT_EQ(arena.page_of(arena.address_of(page)), page);
    EXPECT_EQ(arena.page_of(arena.address_of(page) + kPageBytes - 1), page);
    EXPECT_TRUE(arena.contains(arena.address_of(page)));
  }
  EXPECT_FALSE(arena.contains(arena.address_of(arena.pages())));
}

TEST(Arena, TablesBeginEmpty) {
  const Arena arena(size_t{1} << 20);
  for (uint32_t page = 0; page < arena.pages(); ++page) {
    EXPECT_EQ(arena.page_map()[page].load(), 0u);
    EXPECT_EQ(arena.dirty()[page], 0u);
  }
  const auto* const bytes = reinterpret_cast<const uint8_t*>(arena.spans());
  const size_t size = (size_t{arena.pages()} + 1) * sizeof(Span);
  EXPECT_TRUE(std::all_of(bytes, bytes + size, [](uint8_t byte) { return byte == 0; })) << "descriptors, index 0 too";
}

TEST(Arena, TablesAreApart) {
  const Arena arena(5 * kPageBytes);
  const uint32_t pages = arena.pages();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.spans()) % alignof(Span), 0u);
  // Fill each table to its last entry: the others must not see it.
  arena.spans()[pages].limit = ~uintptr_t{0};
  arena.spans()[pages].released = true;
  for (uint32_t page = 0; page < pages; ++page) EXPECT_EQ(arena.page_map()[page].load(), 0u);
  for (uint32_t page = 0; page < pages; ++page) arena.page_map()[page].store(~uint32_t{0});
  for (uint32_t page = 0; page < pages; ++page) EXPECT_EQ(arena.dirty()[page], 0u);
  EXPECT_EQ(arena.spans()[pages].limit, ~uintptr_t{0});
  for (uint32_t page = 0; page < pages; ++page) arena.dirty()[page] = 0xff;
  for (uint32_t page = 0; page < pages; ++page) EXPECT_EQ(arena.page_map()[page].load(), ~uint32_t{0});
}

TEST(Arena, AllOfItIsMemoryThatReadsAsZero) {
  const Arena arena(size_t{1} << 20);
  for (const uintptr_t at : {arena.base(), arena.address_of(arena.pages()) - 8}) {
    auto& word = *reinterpret_cast<uint64_t*>(at);
    EXPECT_EQ(word, 0u);
    word = 0x5a5a;
    EXPECT_EQ(word, 0x5a5au);
  }
}

TEST(Arena, TwoAreDisjoint) {
  const Arena a(size_t{1} << 20);
  const Arena b(size_t{1} << 20);
  EXPECT_FALSE(a.contains(b.base()));
  EXPECT_FALSE(b.contains(a.base()));
}

}  // namespace
}  // namespace stackdrain
