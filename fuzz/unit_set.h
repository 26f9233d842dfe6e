// UnitSet: a set of small numbers as bits, in place, with whole ranges at a time; for the checker's walk.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace stackdrain {

// Of numbers below kSize. Every range is [first, first + count) and lies below kSize. Not thread-safe.
template <size_t kSize>
class UnitSet {
 public:
  // Forgets all numbers below `size`; those above it must not have been added.
  void clear(size_t size) { std::fill_n(words_.begin(), (size + kBits - 1) / kBits, 0); }
  void add(size_t unit) { words_[unit / kBits] |= uint64_t{1} << unit % kBits; }
  bool has(size_t unit) const { return (words_[unit / kBits] >> unit % kBits & 1) != 0; }
  void add(size_t first, size_t count) {
    each_word(first, count, [this](size_t word, uint64_t mask) {
      words_[word] |= mask;
      return true;
    });
  }
  // The same, if none of the range is in the set; else nothing, and false.
  bool add_new(size_t first, size_t count) {
    if (first % kBits + count > kBits || count == 0) {
      if (first_of(first, count) != first + count) return false;
      add(first, count);
      return true;
    }
    const uint64_t mask = ~uint64_t{0} >> (kBits - count) << first % kBits;
    if ((words_[first / kBits] & mask) != 0) return false;
    words_[first / kBits] |= mask;
    return true;
  }
  void remove(size_t first, size_t count) {
    each_word(first, count, [this](size_t word, uint64_t mask) {
      words_[word] &= ~mask;
      return true;
    });
  }
  // The lowest of the range that is in the set (is not); first + count if there is none.
  size_t first_of(size_t first, size_t count) const { return find(first, count, 0); }
  size_t first_not_of(size_t first, size_t count) const { return find(first, count, ~uint64_t{0}); }
  // How many of the range are in the set.
  size_t count(size_t first, size_t count) const {
    size_t sum = 0;
    each_word(first, count, [&](size_t word, uint64_t mask) {
      sum += static_cast<size_t>(std::popcount(words_[word] & mask));
      return true;
    });
    return sum;
  }

 private:
  static constexpr size_t kBits = 64;

  // `visit` answers whether to go on.
  template <class Visit>
  static void each_word(size_t first, size_t count, Visit visit) {
    const size_t end = first + count;
    while (first < end) {
      const size_t bits = std::min(end - first, kBits - first % kBits);
      const uint64_t mask = ~uint64_t{0} >> (kBits - bits) << first % kBits;
      if (!visit(first / kBits, mask)) return;
      first += bits;
    }
  }
  size_t find(size_t first, size_t count, uint64_t flip) const {
    size_t found = first + count;
    each_word(first, count, [&](size_t word, uint64_t mask) {
      const uint64_t bits = (words_[word] ^ flip) & mask;
      if (bits == 0) return true;
      found = word * kBits + static_cast<size_t>(std::countr_zero(bits));
      return false;
    });
    return found;
  }

  std::array<uint64_t, (kSize + kBits - 1) / kBits> words_{};
};

}  // namespace stackdrain
