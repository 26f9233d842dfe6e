// Bits: a table of bits in 64-bit words, and one with a summary that says which words are not zero.
//
// Words are atomic because neighbours in one belong to different owners. Who holds the lock that guards a table's every
// write uses store(), put() and drop(), which are plain loads and stores; who shares it uses word() and says the order.
// Over other atomics and other tables where a memory model is explored (target/atomics.h).
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "target/atomics.h"
#include "target/drain/units.h"

namespace stackdrain {

// The standard's atomics, in memory that the system provides when it is touched.
struct TableAtomics : StdAtomics {
  template <class T>
  using Table = stackdrain::Table<T>;
};

using Word = Atomic<uint64_t>;
inline constexpr size_t kWordBits = 64;
inline constexpr size_t kWordsALine = 8;  // of a cache
// So few are cleared sooner than memset is called, which under ASan is three calls.
inline constexpr size_t kFewWords = 8;
inline constexpr size_t kNoBit = ~size_t{0};
inline constexpr uint64_t kAll = ~uint64_t{0};

// Bits at the multiples of 2^class.
inline constexpr uint64_t kMultiples[] = {kAll,
                                          0x5555555555555555,
                                          0x1111111111111111,
                                          0x0101010101010101,
                                          0x0001000100010001,
                                          0x0000000100000001,
                                          0x0000000000000001};

// Bits from which `count` (1..64) set ones follow.
constexpr uint64_t run_starts(uint64_t bits, uint32_t count) {
  for (uint32_t width = 1; width < count;) {
    const uint32_t shift = std::min(width, count - width);
    bits &= bits >> shift;
    width += shift;
  }
  return bits;
}

// Calls visit(word, mask) for the words of a range of bits.
template <class Visit>
void for_words(uint32_t first, uint32_t count, const Visit& visit) {
  constexpr uint32_t kBits = kWordBits;
  for (uint32_t end = first + count; first < end;) {
    const uint32_t shift = first % kBits;
    const uint32_t here = std::min(kBits - shift, end - first);
    visit(first / kBits, (kAll >> (kBits - here)) << shift);
    first += here;
  }
}

template <class System>
class BasicBits {
 public:
  using Word = typename System::template Atomic<uint64_t>;

  explicit BasicBits(size_t bits) : words_(bits / kWordBits + 2) {}

  Word& word(size_t index) const { return words_[index]; }
  uint64_t load(size_t index) const { return words_[index].load(std::memory_order_relaxed); }
  bool test(size_t bit) const { return (load(bit / kWordBits) >> (bit % kWordBits) & 1) != 0; }
  static uint64_t mask(size_t bit) { return uint64_t{1} << (bit % kWordBits); }

  // Asks for a word that is written to soon.
  void fetch(size_t index) const { __builtin_prefetch(&words_[index], 1); }

  // By the only writer.
  void store(size_t index, uint64_t bits) const { words_[index].store(bits, std::memory_order_relaxed); }
  void put(size_t index, uint64_t bits) const { store(index, load(index) | bits); }
  void drop(size_t index, uint64_t bits) const { store(index, load(index) & ~bits); }

  // The first set bit from `bit` on and below `end`; `end` if there is none.
  size_t next(size_t bit, size_t end) const {
    for (size_t index = bit / kWordBits; bit < end; ++index, bit = index * kWordBits) {
      const uint64_t bits = load(index) >> (bit % kWordBits);
      if (bits != 0) return std::min(end, bit + static_cast<size_t>(std::countr_zero(bits)));
    }
    return end;
  }
  // Clears the first `bits` bits and what shares their last word.
  void reset(size_t bits) const {
    const size_t words = bits / kWordBits + 1;
    if (words > kFewWords) {
      std::memset(static_cast<void*>(&words_[0]), 0, words * sizeof(Word));
    } else {
      for (size_t index = 0; index < words; ++index) store(index, 0);
    }
  }

 private:
  typename System::template Table<Word> words_;
};
using Bits = BasicBits<TableAtomics>;

// One writer at a time; or several who only set bits, by share(). A reader without its lock may ask last_before() about
// bits that nobody changes meanwhile.
template <class System>
class BasicSummedBits {
 public:
  explicit BasicSummedBits(size_t bits) : bits_(bits), summary_(bits / kWordBits + 1) {}

  uint64_t load(size_t index) const { return bits_.load(index); }
  bool test(size_t bit) const { return bits_.test(bit); }
  void put(size_t index, uint64_t bits) const {
    bits_.put(index, bits);
    summary_.put(index / kWordBits, mask(index));
  }
  void drop(size_t index, uint64_t bits) const { store(index, load(index) & ~bits); }
  // Sets a bit, beside others who do.
  void share(size_t bit) const {
    bits_.word(bit / kWordBits).fetch_or(mask(bit), std::memory_order_relaxed);
    const size_t index = bit / kWordBits;
    if (!summed(index)) summary_.word(index / kWordBits).fetch_or(mask(index), std::memory_order_relaxed);
  }
  // What is left of a word.
  void store(size_t index, uint64_t bits) const {
    bits_.store(index, bits);
    if (bits == 0) summary_.drop(index / kWordBits, mask(index));
  }
  void fetch(size_t index) const {
    bits_.fetch(index);
    summary_.fetch(index / kWordBits);
  }
  // The first word from `index` on and below `end` that is not zero; `end` if there is none.
  size_t next_word(size_t index, size_t end) const { return summary_.next(index, end); }
  bool summed(size_t index) const { return summary_.test(index); }
  // The first set bit from `bit` on and below `end`; `end` if there is none. Words that are zero are not looked at.
  size_t next(size_t bit, size_t end) const {
    const size_t index = bit / kWordBits;
    if (bit >= end) return end;
    const uint64_t here = load(index) >> (bit % kWordBits);
    if (here != 0) return std::min(end, bit + static_cast<size_t>(std::countr_zero(here)));
    const size_t last = (end - 1) / kWordBits;
    const size_t word = next_word(index + 1, last + 1);
    return word > last ? end : bits_.next(word * kWordBits, end);
  }

  // The last set bit up to and including `bit`; kNoBit if there is none.
  size_t last_before(size_t bit) const {
    size_t index = bit / kWordBits;
    // not reached by programs: their spans lie in one word of pages
    if (const uint64_t here = load(index) & up_to(bit)) return index * kWordBits + highest(here);
    // not reached by programs: their spans lie in one word of pages
    return last_in_words_before(index);
  }
  void reset(size_t bits) const {
    bits_.reset(bits);
    summary_.reset(bits / kWordBits);
  }

 private:
  // not reached by programs: their spans lie in one word of pages
  size_t last_in_words_before(size_t index) const {
    if (index-- == 0) return kNoBit;
    size_t sum = index / kWordBits;
    uint64_t words = summary_.load(sum) & up_to(index);
    while (words == 0 && sum > 0) words = summary_.load(--sum);
    if (words == 0) return kNoBit;
    index = sum * kWordBits + highest(words);
    const uint64_t bits = load(index);
    return bits == 0 ? kNoBit : index * kWordBits + highest(bits);
  }

  static uint64_t mask(size_t index) { return BasicBits<System>::mask(index); }
  static uint64_t up_to(size_t bit) { return ~uint64_t{0} >> (kWordBits - 1 - bit % kWordBits); }
  static size_t highest(uint64_t bits) { return kWordBits - 1 - static_cast<size_t>(std::countl_zero(bits)); }

  BasicBits<System> bits_;
  BasicBits<System> summary_;  // bit n: word n is not zero
};
using SummedBits = BasicSummedBits<TableAtomics>;

}  // namespace stackdrain
