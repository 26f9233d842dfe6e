// Arena: a reserved range of addresses, its page map and its span descriptors. One per pool and process.
//
//   reserve once (no memory)           map in chunks (page heap)          reset: back to nothing mapped, in place
//   [ base ........................ base + reserved )
//   [ mapped, tiled by spans ][ never mapped yet    )
//
// Physical memory comes with the first touch. The page map gives each page the index of its span's descriptor (0:
// none). Descriptors are recycled last-in first-out like Go's fixalloc, so a stale index can name a descriptor that is
// something else now: readers check the descriptor's range (see PageHeap::locate).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "target/base.h"
#include "target/yield.h"

namespace stackdrain {

struct Span;

class Arena {
 public:
  // With more than that to clear a heap's reset gives the memory back to the system instead of clearing it by hand.
  static constexpr size_t kClearByHandBytes = size_t{64} << 20;

  // Reserves `bytes` of addresses (rounded up to pages). Aborts with one line if the system refuses.
  explicit Arena(size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  uintptr_t base() const { return base_; }
  uint32_t pages() const { return pages_; }
  // Page index of an address inside the reserved range.
  uint32_t page_of(uintptr_t address) const { return static_cast<uint32_t>((address - base_) >> kPageShift); }
  uintptr_t address_of(uint32_t page) const { return base_ + (static_cast<uintptr_t>(page) << kPageShift); }
  bool contains(uintptr_t address) const { return address - base_ < (static_cast<size_t>(pages_) << kPageShift); }

  // Poisons the first pages, as many as a fuzzer's arena has; how many that is. A heap that did so when it poisons what
  // it maps for the first time would let an input's coverage tell what inputs before it had mapped.
  uint32_t poison_at_once() const;

  std::atomic<uint32_t>* page_map() const { return page_map_; }
  Span* spans() const { return spans_; }
  // One byte a page, two bits for each smallest stack in it: since the last reset its link words (kDirtyLink << n) or
  // all of it (kDirtyUnit << n) may have been written to. Of a page with 0 everything is zero.
  uint8_t* dirty() const { return dirty_; }
  static constexpr uint8_t kDirtyLink = 0x01;
  static constexpr uint8_t kDirtyLinks = 0x0f;
  static constexpr uint8_t kDirtyUnit = 0x10;
  static constexpr uint8_t kDirtyAll = 0xff;

  // Are writes noted where they are made? Only where resets have to be fast is that worth it; elsewhere a span's issue
  // notes all of it.
  static constexpr bool kNotesWrites = STACKDRAIN_YIELDS != 0;
  // What may be written to of a page that is issued: all of it; where writes are noted, of a stack's, the pool's links
  // (`small`: in each of its slots; else where it begins, in its first page), and what note_written() says.
  static uint8_t dirty_from_issue([[maybe_unused]] bool first, [[maybe_unused]] bool stack,
                                  [[maybe_unused]] bool small) {
#if STACKDRAIN_YIELDS
    if (stack && small) return kDirtyLinks;
    return stack && first ? kDirtyLink : uint8_t{0};
#else
    return kDirtyAll;
#endif
  }
  // Who owns a stack, or a heap span, may write to [lo, lo + bytes) from now on.
  void note_written([[maybe_unused]] uintptr_t lo, [[maybe_unused]] size_t bytes) {
#if STACKDRAIN_YIELDS
    for (uintptr_t unit = lo & ~uintptr_t{kMinStackBytes - 1}; unit < lo + bytes; unit += kMinStackBytes) {
      // not reached by programs: a planted defect alone makes a stack that leaves the arena
      if (!contains(unit)) return;
      const uint32_t page = page_of(unit);
      note_dirty(page, static_cast<uint8_t>(kDirtyUnit << (unit - address_of(page)) / kMinStackBytes));
    }
#endif
  }
  // Stacks of two owners may share a page.
  void note_dirty(uint32_t page, uint8_t bits) {
    uint8_t* dirty = dirty_ + page;
    if ((__atomic_load_n(dirty, __ATOMIC_RELAXED) & bits) != bits) __atomic_fetch_or(dirty, bits, __ATOMIC_RELAXED);
  }
  // Gives the memory of pages that are in no use back to the system: they read as zero from then on. False if it
  // refuses (pages that somebody locked): then they are what they were, or zero.
  bool give_back(uint32_t first, uint32_t pages) const;
  // Makes a page zero that is in no use. Only what may have been written to is cleared: half of a fuzzer's time goes
  // into resets otherwise.
  void clear_page(uint32_t page);

 private:
  uintptr_t base_ = 0;
  uint32_t pages_ = 0;
  void* reservation_ = nullptr;
  size_t reservation_bytes_ = 0;
  std::atomic<uint32_t>* page_map_ = nullptr;
  Span* spans_ = nullptr;
  uint8_t* dirty_ = nullptr;
  void* tables_ = nullptr;
  size_t tables_bytes_ = 0;
};

}  // namespace stackdrain
