#include "target/drain/bitmap_heap.h"

#include <algorithm>
#include <bit>

#include "target/defects.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

constexpr uint32_t kWordPages = kWordBits;
// A word of pages that is all spans of small stacks: where these begin, and how many they are.
constexpr uint64_t kPoolSpans = kMultiples[std::countr_zero(kPoolSpanPages)];
constexpr uint64_t kPoolSpansAWord = kWordBits / kPoolSpanPages;

}  // namespace

BitmapHeap::BitmapHeap(Arena& arena)
    : arena_(arena),
      idle_(arena.pages()),
      spans_(arena.pages()),
      zero_(arena.pages()),
      released_(arena.pages()),
      touched_(arena.pages()),
      poisoned_pages_(arena.poison_at_once()) {
  STACKDRAIN_CHECK(arena.pages() < uint32_t{1} << SpanMeta::kPagesBits, "bitmap serves arenas below 128 GiB");
}

void BitmapHeap::reset(uint32_t page_limit, size_t grow_chunk_bytes) {
  MutexLock lock(mutex_);
  const uint32_t pages = mapped();
  size_t touched = 0;
  for (size_t word = 0; word < mapped_words(); ++word) {
    touched += static_cast<size_t>(std::popcount(touched_.load(word)));
  }
  // not reached by programs: no arena that large is reset
  if (bytes_of(touched) <= Arena::kClearByHandBytes || !arena_.give_back(0, pages)) clear({0, pages});
  // Else nothing is issued.
  // not reached by programs: each ends with nothing issued, unless something was found
  if (spans_.start.next_word(0, mapped_words()) < mapped_words()) asan_poison(arena_.base(), mapped_bytes());
  for (const SummedBits* bits : {&idle_, &spans_.start}) bits->reset(pages);
  for (const Bits* bits : {&spans_.stack, &spans_.used, &zero_, &released_, &touched_}) bits->reset(pages);
  std::memset(static_cast<void*>(&spans_.meta[0]), 0, pages * sizeof(Word));
  hints_ = {};
  generation_ = 0;
  mapped_pages_.store(0, std::memory_order_relaxed);
  page_limit_ = page_limit == 0 ? arena_.pages() : std::min(page_limit, arena_.pages());
  grow_pages_ = std::max(uint32_t{1}, static_cast<uint32_t>(grow_chunk_bytes >> kPageShift));
  accounts_ = {};
}

// ---- allocation ----

uint32_t BitmapHeap::allocate(uint32_t pages, SpanUse use) {
  MutexLock lock(mutex_);
  yield_point(Yield::kHeapLock);
  ++accounts_.locks_taken;
  const bool aligned = use.state == SpanState::kStack;
  uint32_t first = find(pages, aligned);
  if (first == kNoPage) {
    if (!grow(pages, aligned)) return kNoPage;
    first = find(pages, aligned);
  }
  issue(first, pages, use);
  return first;
}

bool BitmapHeap::fits(uint32_t pages, bool aligned) {
  MutexLock lock(mutex_);
  ++accounts_.locks_taken;
  return find(pages, aligned) != kNoPage;
}

uint32_t BitmapHeap::find(uint32_t pages, bool aligned) {
  if (pages == 1 || (aligned && pages <= kWordPages)) {  // not reached by programs: no stack is larger
    return find_aligned(pages, static_cast<size_t>(std::countr_zero(pages)));
  }
  // not reached by programs: their largest stack is a word of pages
  return aligned ? find_words(pages) : find_run(pages);
}

uint32_t BitmapHeap::find_aligned(uint32_t pages, size_t hint) {
  const size_t end = mapped_words();
  size_t word = idle_.next_word(hints_[hint], end);
  for (; word < end; word = idle_.next_word(word + 1, end)) {
    const uint64_t starts = run_starts(idle_.load(word), pages) & kMultiples[hint];
    if (starts == 0) continue;
    hints_[hint] = word;
    return static_cast<uint32_t>(word * kWordBits) + static_cast<uint32_t>(std::countr_zero(starts));
  }
  hints_[hint] = end;
  return kNoPage;
}

// Anywhere, across words too.
uint32_t BitmapHeap::find_run(uint32_t pages) const {
  const size_t end = mapped_words();
  uint32_t before = 0;  // idle pages at the end of the word before
  size_t next = hints_[0];
  for (size_t word = idle_.next_word(next, end); word < end; word = idle_.next_word(next, end)) {
    if (word != next) before = 0;
    next = word + 1;
    const uint64_t idle = idle_.load(word);
    const auto here = static_cast<uint32_t>(word * kWordBits);
    const auto leading = static_cast<uint32_t>(std::countr_one(idle));
    if (before + leading >= pages) return here - before;
    // not reached by programs: theirs are of a few pages
    const uint64_t starts = pages < kWordPages ? run_starts(idle, pages) : 0;
    if (starts != 0) return here + static_cast<uint32_t>(std::countr_zero(starts));
    // not reached by programs: who wants more than a word wants it of one that is all idle
    before = leading == kWordPages ? before + kWordPages : static_cast<uint32_t>(std::countl_one(idle));
  }
  return kNoPage;
}

// Whole words.
// not reached by programs: their largest stack is a word of pages
uint32_t BitmapHeap::find_words(uint32_t pages) const {
  const size_t end = mapped_words();
  size_t begin = hints_[kHints - 1];  // of the run of whole words that goes on
  for (size_t word = begin; word < end; ++word) {
    if (idle_.load(word) != kAll) {
      begin = idle_.next_word(word + 1, end);
      word = begin - 1;
    } else if ((word + 1 - begin) * kWordBits >= pages) {
      return static_cast<uint32_t>(begin * kWordBits);
    }
  }
  return kNoPage;
}

// Maps more, and so much that a run that ends with it is long enough.
bool BitmapHeap::grow(uint32_t pages, bool aligned) {
  const uint32_t end = mapped();
  const uint32_t align = aligned ? std::min(pages, kWordPages) : 1;
  const uint32_t idle = end == 0 || !idle_.test(end - 1) ? end : idle_run(end - 1).first;
  const uint64_t wanted = (uint64_t{idle} + align - 1) / align * align + pages;
  if (wanted > page_limit_ || !system_maps()) return false;
  const uint32_t lacking = static_cast<uint32_t>(wanted) - end;
  const uint32_t more = std::min(page_limit_ - end, std::max(lacking, grow_pages_));
  for_words(end, more, [&](size_t word, uint64_t mask) { idle_.put(word, mask); });
  mapped_pages_.store(end + more, std::memory_order_relaxed);
  if (end + more > poisoned_pages_) {
    asan_poison(arena_.address_of(poisoned_pages_), bytes_of(end + more - poisoned_pages_));
    poisoned_pages_ = end + more;
  }
  accounts_.system_bytes += bytes_of(more);
  accounts_.idle_bytes += bytes_of(more);
  lower_hints(idle / kWordBits);
  return true;
}

// Writes all metadata, then publishes the state (A7, A8).
void BitmapHeap::issue(uint32_t first, uint32_t pages, SpanUse use) {
  const bool stack = use.state == SpanState::kStack;
  uint32_t returned = 0;  // pages that the system gets no more
  for_words(first, pages, [&](size_t word, uint64_t mask) {
    idle_.drop(word, mask);
    touched_.put(word, mask);
    if (stack && !planted(Defect::kNeedsZeroLost)) zero_.put(word, mask);
    if (planted(Defect::kOsAttributeAsymmetric)) return;
    returned += static_cast<uint32_t>(std::popcount(released_.load(word) & mask));
    released_.drop(word, mask);
  });
  accounts_.released_bytes -= bytes_of(returned);
  accounts_.idle_bytes -= bytes_of(pages);
  (stack ? accounts_.stack_bytes : accounts_.heap_bytes) += bytes_of(pages);
  accounts_.stack_spans_taken += stack ? 1 : 0;
  accounts_.peak_stack_bytes = std::max(accounts_.peak_stack_bytes, accounts_.stack_bytes);
  if (!stack) asan_unpoison(arena_.address_of(first), bytes_of(pages));
  if constexpr (Arena::kNotesWrites) {
    for (uint32_t page = first; page < first + pages; ++page) {
      arena_.note_dirty(page, Arena::dirty_from_issue(page == first, stack, use.order != kLargeOrder));
    }
  }
  if (planted(Defect::kStatePublishedEarly)) spans_.publish(first, pages, use.state);
  yield_point(Yield::kIssue);
  uint8_t order = use.order;
  if (planted(Defect::kStaleSpanLimit) && spans_.meta_of(first).generation != 0) order = spans_.meta_of(first).order;
  spans_.describe(first, {++generation_, order, pages});
  spans_.publish(first, pages, use.state);
}

void BitmapHeap::clean(uint32_t first) {
  const uint32_t pages = spans_.meta_of(first).pages;
  // The pages are the caller's, so nobody changes their bits; others' bits in the same words want the lock.
  for (uint32_t page = first; page < first + pages; ++page) {
    if (zero_.test(page)) std::memset(reinterpret_cast<void*>(arena_.address_of(page)), 0, kPageBytes);
  }
  MutexLock lock(mutex_);
  for_words(first, pages, [&](size_t word, uint64_t mask) { zero_.drop(word, mask); });
}

// ---- free ----

void BitmapHeap::lower_hints(size_t word) {
  for (size_t& hint : hints_) hint = std::min(hint, word);
}

// Pages of live spans of one state become idle. What they were is counted by the caller.
void BitmapHeap::withdraw(PageMask leaving, bool stack) {
  spans_.withdraw(leaving.word, leaving.pages, stack);
  idle_.put(leaving.word, leaving.pages);
  if (!stack) zero_.put(leaving.word, leaving.pages);  // a stack's were so when it was issued
}

void BitmapHeap::free(uint32_t first) {
  MutexLock lock(mutex_);
  yield_point(Yield::kHeapLock);
  ++accounts_.locks_taken;
  STACKDRAIN_CHECK(first < mapped() && spans_.start.test(first), "only a span that was issued can be freed");
  const uint32_t pages = spans_.meta_of(first).pages;
  const bool stack = spans_.stack.test(first);
  asan_poison(arena_.address_of(first), bytes_of(pages));
  for_words(first, pages, [&](size_t word, uint64_t mask) { withdraw({word, mask}, stack); });
  lower_hints(first / kWordBits);
  uint64_t bytes = bytes_of(pages);
  accounts_.idle_bytes += bytes;
  if (planted(Defect::kMergedSizeAccounted)) bytes = bytes_of(idle_run(first).end - idle_run(first).first);
  accounts_.stack_spans_released += stack ? 1 : 0;
  (stack ? accounts_.stack_bytes : accounts_.heap_bytes) -= bytes;
}

void BitmapHeap::free_words(std::span<const PageMask> masks) {
  if (masks.empty()) return;
  MutexLock lock(mutex_);
  yield_point(Yield::kHeapLock);
  ++accounts_.locks_taken;
  uint64_t pages = 0;
  uint64_t spans = 0;
  size_t lowest = masks.front().word;
  for (const PageMask& leaving : masks) {
    STACKDRAIN_CHECK((leaving.pages & ~spans_.stack.load(leaving.word)) == 0, "only Stack pages can be freed together");
    const uint64_t starts = leaving.pages & spans_.start.load(leaving.word);
    if (leaving.pages == kAll && starts == kPoolSpans) {  // as most often, and counting bits is dear on a plain x86-64
      pages += kWordBits;
      spans += kPoolSpansAWord;
    } else {
      pages += static_cast<uint64_t>(std::popcount(leaving.pages));
      spans += static_cast<uint64_t>(std::popcount(starts));
    }
    lowest = std::min(lowest, leaving.word);
    withdraw(leaving, true);
    if constexpr (asan_enabled) {
      for (uint64_t bits = leaving.pages; bits != 0; bits &= bits - 1) {
        const auto page =
            static_cast<uint32_t>(leaving.word * kWordBits) + static_cast<uint32_t>(std::countr_zero(bits));
        asan_poison(arena_.address_of(page), kPageBytes);
      }
    }
  }
  lower_hints(lowest);
  accounts_.stack_bytes -= bytes_of(pages);
  accounts_.idle_bytes += bytes_of(pages);
  accounts_.stack_spans_released += spans;
}

// The idle run that a page is in. No page behind the last mapped one is idle.
BitmapHeap::Run BitmapHeap::idle_run(uint32_t page) const {
  Run run{page, page + 1};
  while (idle_.test(run.end)) {
    const uint32_t shift = run.end % kWordPages;
    run.end += static_cast<uint32_t>(std::countr_one(idle_.load(run.end / kWordPages) >> shift));
  }
  while (run.first > 0 && idle_.test(run.first - 1)) {
    const uint32_t shift = kWordPages - 1 - (run.first - 1) % kWordPages;
    run.first -= static_cast<uint32_t>(std::countl_one(idle_.load((run.first - 1) / kWordPages) << shift));
  }
  return run;
}

// Makes what was touched of a run zero; it is in no use.
void BitmapHeap::clear(Run run) {
  for (size_t page = touched_.next(run.first, run.end); page < run.end; page = touched_.next(page + 1, run.end)) {
    if constexpr (Arena::kNotesWrites) {
      arena_.clear_page(static_cast<uint32_t>(page));
    } else {
      clear_unused<kPageBytes>(arena_.address_of(static_cast<uint32_t>(page)));
    }
  }
}

// Under a fuzzer the system is spared, as in PageHeap.
bool BitmapHeap::give_back_memory(Run run) {
#if STACKDRAIN_YIELDS
  clear(run);
  return true;
#else
  return arena_.give_back(run.first, run.end - run.first);
#endif
}

uint64_t BitmapHeap::release_idle() {
  MutexLock lock(mutex_);
  ++accounts_.locks_taken;
  uint64_t pages = 0;
  for (uint32_t page = 0; page < mapped(); ++page) {
    if (!idle_.test(page)) continue;
    const Run run = idle_run(page);
    page = run.end;  // not idle, if there is such a page
    uint64_t news = 0;
    for_words(run.first, run.end - run.first, [&](size_t word, uint64_t mask) {
      news += static_cast<uint64_t>(std::popcount(mask & ~released_.load(word)));
    });
    if (news == 0) continue;
    // not reached by programs: the system refuses
    if (!give_back_memory(run)) continue;
    for_words(run.first, run.end - run.first, [&](size_t word, uint64_t mask) {
      released_.put(word, mask);
      zero_.drop(word, mask);
      touched_.drop(word, mask);
    });
    pages += news;
  }
  accounts_.released_bytes += bytes_of(pages);
  return bytes_of(pages);
}

}  // namespace stackdrain
