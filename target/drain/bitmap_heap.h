// BitmapHeap: a page heap whose spans are bits: what becomes of 64 pages is decided by a few word operations.
//
// One bit a page, one table a fact:
//
//   idle_         mapped and in no span          zero_      must be zeroed before somebody expects zero
//   spans_.start  a Stack or InUse span begins   released_  idle, and its memory was given back to the system
//   spans_.stack  in a Stack span                touched_   issued since it was last zero
//   spans_.used   in an InUse span
//   spans_.meta   of a span's first page: generation, order, pages (8 bytes)
//
// A Free span is a run of idle pages: nothing is merged or split, no descriptor is taken or recycled. Stacks' spans are
// powers of two and lie at multiples of their size (up to a word: 64 pages), so the pages of many that leave together
// are a few masks: free_words() takes 16 of 32 KiB with one.
//
// Allocation is first fit. hints_[c] is a promise: no idle run of 2^c pages, aligned to its size, begins in a lower
// word. Searches raise it to where they ended, who frees lowers it to where that was.
//
// Lock: mutex_, innermost, for everything but locate(). How spans are published to that (A8), and what it finds, is
// spans_ (span_bits.h): who asks about a span that can't go away (A1: a marker's pointer) finds it, whatever happens to
// its neighbours. Who asks about one that goes away gets any answer, in bounded time.
//
// Invariants: A6 (a page is idle or in one span), A7, A8, A9, E1, E4 (bytes are counted in the bits that leave), E5.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "target/arena.h"
#include "target/drain/bits.h"
#include "target/drain/span_bits.h"
#include "target/mutex.h"
#include "target/page_heap.h"

namespace stackdrain {

inline constexpr uint32_t kNoPage = ~uint32_t{0};

// Pages of one word of bits.
struct PageMask {
  size_t word = 0;
  uint64_t pages = 0;
};

// Who knows of Stack spans what their heap does not: how their slots are.
class StackSpanFacts {
 public:
  // `view` is as the heap knows it, of a Stack span.
  virtual void fill(SpanView& view) = 0;

 protected:
  ~StackSpanFacts() = default;
};

class BitmapHeap {
 public:
  explicit BitmapHeap(Arena& arena);

  // Back to nothing mapped. `page_limit`: pages that may be mapped (0: the whole arena). World stopped.
  void reset(uint32_t page_limit, size_t grow_chunk_bytes) SD_EXCLUDES(mutex_);

  // A span's first page, or kNoPage when the arena is exhausted. Of a Stack span `pages` is a power of two. The memory
  // of an InUse span may need clean(). Thread-safe, as all of these.
  uint32_t allocate(uint32_t pages, SpanUse use) SD_EXCLUDES(mutex_);
  // Is there room for a span of so many pages in what is mapped? `aligned`: of a stack.
  bool fits(uint32_t pages, bool aligned) SD_EXCLUDES(mutex_);
  // Zeroes what may not be zero of a span just issued.
  void clean(uint32_t first) SD_EXCLUDES(mutex_);
  // Frees the span that begins at a page.
  void free(uint32_t first) SD_EXCLUDES(mutex_);
  // Frees whole Stack spans, all at once; none reaches from one word into another.
  void free_words(std::span<const PageMask> masks) SD_EXCLUDES(mutex_);
  // Asks for what free_words() will write to, from a word of pages on, so that all of it comes at once, and meanwhile.
  // What is behind these two lines of a table a processor fetches by itself.
  void fetch(size_t word) const SD_NO_ANALYSIS {
    __builtin_prefetch(&mutex_, 1);
    __builtin_prefetch(&accounts_, 1);
    __builtin_prefetch(&accounts_.locks_taken, 1);
    __builtin_prefetch(&hints_, 1);
    for (const size_t line : {word, word + kWordsALine}) {
      idle_.fetch(line);
      spans_.start.fetch(line);
      spans_.stack.fetch(line);
    }
  }
  // Gives all idle memory back to the system; the bytes newly released.
  uint64_t release_idle() SD_EXCLUDES(mutex_);

  // Of an address in a Free page only the state is known. Lock-free.
  Location locate(uintptr_t address) const;
  // What a pool's accounts have of its heap; the rest is 0.
  PoolStats stats() const SD_EXCLUDES(mutex_);
  size_t mapped_bytes() const { return size_t{mapped()} << kPageShift; }
  uint32_t mapped() const { return mapped_pages_.load(std::memory_order_relaxed); }
  // Spans in address order, then faults. World stopped. What a Stack span's slots are doing is its pool's to add.
  void walk(WalkVisitor& visitor, StackSpanFacts& pool) const SD_EXCLUDES(mutex_);

  Arena& arena() const { return arena_; }
  // Only the planted defect free-before-metadata.
  // not reached by programs: that defect alone
  void clear_metadata(uint32_t first) { spans_.describe(first, SpanMeta::unpacked(0)); }

 private:
  static constexpr size_t kHints = 7;  // runs of 1, 2, 4 … 64 pages

  struct Run {
    uint32_t first = 0;
    uint32_t end = 0;
  };

  uint32_t find(uint32_t pages, bool aligned) SD_REQUIRES(mutex_);
  uint32_t find_aligned(uint32_t pages, size_t hint) SD_REQUIRES(mutex_);
  uint32_t find_run(uint32_t pages) const SD_REQUIRES(mutex_);
  uint32_t find_words(uint32_t pages) const SD_REQUIRES(mutex_);
  bool grow(uint32_t pages, bool aligned) SD_REQUIRES(mutex_);
  void issue(uint32_t first, uint32_t pages, SpanUse use) SD_REQUIRES(mutex_);
  void withdraw(PageMask leaving, bool stack);
  void lower_hints(size_t word) SD_REQUIRES(mutex_);
  Run idle_run(uint32_t page) const SD_REQUIRES(mutex_);
  void clear(Run run) SD_REQUIRES(mutex_);
  bool give_back_memory(Run run) SD_REQUIRES(mutex_);
  uint32_t walk_idle(uint32_t page, WalkVisitor& visitor) const SD_REQUIRES(mutex_);
  uint32_t walk_span(uint32_t page, WalkVisitor& visitor, StackSpanFacts& pool) const SD_REQUIRES(mutex_);
  void walk_summaries(WalkVisitor& visitor) const SD_REQUIRES(mutex_);
  void walk_unmapped(WalkVisitor& visitor) const SD_REQUIRES(mutex_);
  uint64_t walk_leftovers() const SD_REQUIRES(mutex_);
  void tell_hidden(WalkVisitor& visitor) const SD_REQUIRES(mutex_);
  size_t mapped_words() const { return (size_t{mapped()} + kWordBits - 1) / kWordBits; }

  Arena& arena_;
  mutable Mutex mutex_;
  SummedBits idle_;
  SpanBits<TableAtomics> spans_;
  Bits zero_;
  Bits released_;
  Bits touched_;
  std::array<size_t, kHints> hints_ SD_GUARDED_BY(mutex_) = {};
  uint32_t generation_ SD_GUARDED_BY(mutex_) = 0;
  uint32_t page_limit_ SD_GUARDED_BY(mutex_) = 0;
  uint32_t grow_pages_ SD_GUARDED_BY(mutex_) = 0;
  uint32_t poisoned_pages_ SD_GUARDED_BY(mutex_);  // those below are poisoned, but for what is issued
  // Written under mutex_. Read without it by who only needs what covers spans that it knows.
  std::atomic<uint32_t> mapped_pages_{0};
  HeapAccounts accounts_ SD_GUARDED_BY(mutex_);
};

}  // namespace stackdrain
