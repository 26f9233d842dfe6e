// Bits of several words, with a summary of these: programs' arenas are too small to have more than one.
#include "target/drain/bits.h"

#include <gtest/gtest.h>

#include <set>

namespace stackdrain {
namespace {

constexpr size_t kBits = 3 * kWordBits * kWordBits;  // three words of summary

std::set<size_t> all_of(const SummedBits& bits, size_t begin, size_t end) {
  std::set<size_t> found;
  for (size_t bit = bits.next(begin, end); bit < end; bit = bits.next(bit + 1, end)) found.insert(bit);
  return found;
}

TEST(SummedBits, FindsWhatIsSharedFromAnyBitOnAndBelowAnyEnd) {
  const SummedBits bits(kBits);
  const std::set<size_t> set = {0, 5, 63, 64, 200, 4095, 4096, 4200, 9000, kBits - 1};
  for (const size_t bit : set) bits.share(bit);
  std::set<size_t> ends = {1, 128, 4160, 8192, kBits};
  for (const size_t bit : set) ends.insert({bit, bit + 1, bit + 2});
  for (const size_t begin : ends) {
    for (const size_t end : ends) {
      if (begin > end || end > kBits) continue;
      EXPECT_EQ(all_of(bits, begin, end), std::set<size_t>(set.lower_bound(begin), set.lower_bound(end)))
          << begin << " to " << end;
    }
  }
}

TEST(SummedBits, AWordIsSummedAsLongAsABitIsLeft) {
  const SummedBits bits(kBits);
  bits.share(4100);
  bits.share(4101);
  ASSERT_TRUE(bits.summed(4100 / kWordBits));
  bits.store(4100 / kWordBits, uint64_t{1} << (4101 % kWordBits));
  EXPECT_TRUE(bits.summed(4100 / kWordBits));
  EXPECT_EQ(bits.next(0, kBits), 4101u);
  bits.store(4100 / kWordBits, 0);
  EXPECT_FALSE(bits.summed(4100 / kWordBits));
  EXPECT_EQ(bits.next(0, kBits), kBits);
  bits.share(4102);
  EXPECT_EQ(bits.next(0, kBits), 4102u);
}

}  // namespace
}  // namespace stackdrain
