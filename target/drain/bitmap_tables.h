// BitmapTables: what bitmap (bitmap.cc, where all of it is explained) knows of its stacks, and tells of itself. What
// changes it is BitmapPool's, in bitmap.cc; what is told is in bitmap_walk.cc.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "target/any_pool.h"
#include "target/arena.h"
#include "target/cached_pool.h"
#include "target/drain/bitmap_heap.h"
#include "target/drain/bits.h"
#include "target/mutex.h"

namespace stackdrain {

class BitmapTables : public CachedPool {
 public:
  // Is something left of what a mark left behind? Lock-free.
  bool drain_pending() const { return pass_.load(std::memory_order_acquire); }
  Location locate(uintptr_t address) const { return heap_.locate(address); }
  uintptr_t arena_base() const { return heap_.arena().base(); }
  size_t arena_mapped() const { return heap_.mapped_bytes(); }
  // World stopped, both.
  PoolStats stats() const;
  void walk(WalkVisitor& visitor) const;

 protected:
  // Words of a drain step that says no budget: 32 MiB of arena, 1,024 spans; some microseconds of a lock.
  static constexpr size_t kWordsAStep = 256;
  static constexpr size_t kSizes = 20;  // of large stacks: [n]: 2^n pages
  static constexpr auto kRelaxed = std::memory_order_relaxed;

  // An order's tables.
  struct Small {
    explicit Small(size_t units)
        : slots(units), free(units), pending(units), offers(units / kWordBits + 1), dirty(units / kWordBits + 1) {}
    void reset(size_t units) const {
      for (const Bits* bits : {&slots, &free, &pending}) bits->reset(units);
      offers.reset(units / kWordBits);
      dirty.reset(units / kWordBits);
      hint.store(0, kRelaxed);
    }
    uint64_t available(size_t word) const { return free.load(word) | pending.load(word); }

    Bits slots;
    Bits free;
    Bits pending;
    Bits offers;
    SummedBits dirty;
    // Where the next search begins. Only a hint: a search that finds nothing there begins again at 0.
    mutable Atomic<size_t> hint{0};
  };

  // Large stacks of a size that wait for the end of a mark: their first pages, and a bit a word that has such.
  struct Large {
    explicit Large(size_t pages) : pending(pages), offers(pages / kWordBits + 1) {}
    void reset(size_t pages) const {
      pending.reset(pages);
      offers.reset(pages / kWordBits);
    }
    Bits pending;
    Bits offers;
  };

  // Pages that leave together.
  class Leaving {
   public:
    // For so many words more; each touches one word of pages.
    bool has_room(size_t words) const { return masks_.size() - count_ >= words; }
    void add(PageMask pages) {
      if (count_ == 0 || masks_[count_ - 1].word != pages.word) masks_[count_++] = {pages.word, 0};
      masks_[count_ - 1].pages |= pages.pages;
    }
    // A word of pages that was not added to before.
    // not reached by programs: they have no stacks for so many spans
    void add_whole(size_t word) { masks_[count_++] = {word, kAll}; }
    std::span<const PageMask> masks() const { return {masks_.data(), count_}; }
    void clear() { count_ = 0; }

   private:
    std::array<PageMask, kWordsAStep> masks_;
    size_t count_ = 0;
  };

  explicit BitmapTables(Arena& arena)
      : heap_(arena),
        units_(size_t{arena.pages()} * kUnitsPerPage),
        small_{Small(units_), Small(units_), Small(units_), Small(units_)},
        large_(make_large(arena.pages(), std::make_index_sequence<kSizes>())) {}

  // The slots of a span of an order, as bits from its first unit.
  static constexpr uint64_t span_slots(int order) {
    constexpr uint64_t kSlots[kMaxOrders] = {0xffff, 0x5555, 0x1111, 0x0101};
    return kSlots[order];
  }

  size_t mapped_pages() const { return heap_.mapped(); }
  size_t mapped_units() const { return mapped_pages() * kUnitsPerPage; }
  size_t words() const { return mapped_units() / kWordBits + 1; }
  size_t unit_of(uintptr_t lo) const { return (lo - arena_base()) / kMinStackBytes; }
  uint32_t page_of(uintptr_t lo) const { return static_cast<uint32_t>((lo - arena_base()) >> kPageShift); }
  uintptr_t address_of_page(size_t page) const { return arena_base() + (page << kPageShift); }
  // Of the slot that the lowest bit of a word stands for.
  uintptr_t address_in(size_t word, uint64_t bits) const {
    return arena_base() + (word * kWordBits + static_cast<size_t>(std::countr_zero(bits))) * kMinStackBytes;
  }

  // May it have a dirty word?
  bool is_dirty(int order) const { return (orders_dirty_.load(kRelaxed) >> order & 1) != 0; }

  bool in_span(uintptr_t address) const override { return locate(address).base != 0; }

  BitmapHeap heap_;
  size_t units_;
  std::array<Small, kMaxOrders> small_;
  std::array<Large, kSizes> large_;  // [n]: of 2^n pages
  Atomic<uint32_t> large_seen_{0};   // bit n: large_[n] was written since the last reset
  Atomic<uint32_t> orders_seen_{0};  // bit n: so was small_[n]
  mutable Mutex large_mutex_;
  // What end_mark writes to, in the line that the last retire before it has read.
  alignas(64) bool alone_ = false;                       // one marker, no mutators; written with the world stopped
  Atomic<bool> pass_{false};                             // a cycle ended and what it left is not all looked at
  Atomic<uint32_t> orders_dirty_{0};                     // bit n: small_[n] may have dirty words
  Atomic<uint32_t> large_waiting_{0};                    // bit n: large_[n] may have some
  int turn_ SD_GUARDED_BY(drain_mutex_) = 0;             // the order whose turn it is in the pass
  size_t cursor_ SD_GUARDED_BY(drain_mutex_) = 0;        // a word of it
  size_t large_cursor_ SD_GUARDED_BY(large_mutex_) = 0;  // a word of the size whose turn it is
  // Spans put to use since the last cycle ended; each under its order's lock.
  std::array<uint32_t, kMaxOrders> demand_{};
  std::array<uint32_t, kMaxOrders> may_keep_ SD_GUARDED_BY(drain_mutex_) = {};  // empty spans that may still be kept
  Mutex drain_mutex_;
  Leaving leaving_ SD_GUARDED_BY(drain_mutex_);

 private:
  class SpanFacts;

  template <size_t... size>
  static std::array<Large, kSizes> make_large(size_t pages, std::index_sequence<size...>) {
    return {((void)size, Large(pages))...};
  }
  bool knows_dirty(int order, size_t word) const;
  static void add_pending(PoolStats& stats, uint64_t bits, size_t bytes_each);
  void count_pending(PoolStats& stats) const;
  void walk_span(SpanView& view) const;
  void walk_order(int order, size_t slots, WalkVisitor& visitor) const;
  void walk_large(size_t size, WalkVisitor& visitor) const;
  void tell_hidden(WalkVisitor& visitor) const SD_NO_ANALYSIS;
};

}  // namespace stackdrain
