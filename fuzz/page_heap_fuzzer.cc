// page_heap_fuzzer: page heap operations from bytes, against a model of intervals.
//
// Two bytes an operation: three bits say which, the rest are its argument. The first two bytes are the world: pages
// that may be mapped, and the chunk in which the heap maps them. The model knows of each page whether it is mapped and
// which live span, if any, it belongs to; from that follow the tiles, the accounts and what best fit may answer.
//
// After every operation: A6 (the walk's tiles are the model's: live spans, and Free runs as long as they can be), E1
// (accounts are sums over the model), and of an allocation that it is the start of a smallest run that holds it, that
// nothing is refused that fits, A7 (metadata) and A9 (memory that doesn't say it needs zeroing is zero; memory that was
// never issued doesn't say so). A finding names the invariant, the operation's index and both sides, and aborts.
// STACKDRAIN_DEFECT plants a defect.
#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "fuzz/harness.h"
#include "target/arena.h"
#include "target/page_heap.h"

namespace stackdrain {
namespace {

constexpr uint32_t kPages = 640;      // several runs beyond the heap's exact lists, which end at 127 pages
constexpr uint32_t kByAddress = 128;  // runs of so many pages are chosen by size, then by address; shorter ones by age
constexpr size_t kMaxLive = 64;
constexpr size_t kMaxOperations = 1024;  // an input's length is bounded here, whatever the engine's limit
// Of an argument's 13 bits: those whose highest three are ones name what is done seldom.
constexpr uint32_t kRareShift = 10;
constexpr uint32_t kRareGroup = 7;
constexpr size_t kMostTogether = 16;  // spans that are freed in one go

struct LiveSpan {
  Span* span = nullptr;
  uint32_t first = 0;
  uint32_t pages = 0;
  SpanUse use;
};

// A maximal run of mapped pages that no live span has.
struct Run {
  uint32_t first = 0;
  uint32_t pages = 0;
};

class PageHeapRun final : private WalkVisitor {
 public:
  PageHeapRun() : arena_(kPages * kPageBytes), heap_(arena_) {}

  void run(const uint8_t* data, size_t size) {
    const size_t operations = std::min(size / 2, kMaxOperations);
    begin(operations == 0 ? 0 : data[0], operations == 0 ? 0 : data[1]);
    for (index_ = 1; index_ < operations; ++index_) {
      step(data[2 * index_] & 7, static_cast<uint32_t>(data[2 * index_] >> 3 | data[2 * index_ + 1] << 5));
      check_tiles();
      check_accounts();
    }
    heap_.reset(kPages, kPageBytes);  // clearing up is part of the input that made it necessary
  }

 private:
  void begin(uint8_t limit, uint8_t chunk) {
    limit_ = limit == 0 ? kPages : limit * 2u;
    chunk_pages_ = uint32_t{1} + chunk % 64;
    heap_.reset(limit_, chunk_pages_ * kPageBytes);
    owner_.fill(0);
    written_.fill(false);
    live_count_ = 0;
    mapped_ = 0;
    generation_ = 0;
    stack_bytes_ = heap_bytes_ = 0;
  }

  void step(int operation, uint32_t argument) {
    switch (operation) {
      case 0:
        return allocate(1 + argument % 8, {});
      case 1:
        return allocate(1 + argument % 200, {});
      case 2:
        return allocate(4, {SpanState::kStack, static_cast<uint8_t>(argument % 4), 2048u << argument % 4});
      case 3: {
        const uint32_t pages = 4u << argument % 5;
        return allocate(pages, {SpanState::kStack, kLargeOrder, static_cast<uint32_t>(pages * kPageBytes)});
      }
      case 4:
      case 5:
        return free(argument);
      case 6:
        return dirty(argument);
      default:
        return rare(argument);
    }
  }

  void rare(uint32_t argument) {
    if (argument % 4 == 0) return release_idle();
    if (argument >> kRareShift != kRareGroup) return locate(argument);
    return argument % 4 == 1 ? free_lower_half(argument >> 2 & 0xff) : free_many(argument >> 2 & 0xff);
  }

  [[noreturn]] void fail(const char* invariant, const char* what, uint64_t ours, uint64_t right) const {
    std::fprintf(stderr, "page_heap_fuzzer: violates %s at operation %zu: %s: %" PRIu64 ", by the model %" PRIu64 "\n",
                 invariant, index_, what, ours, right);
    std::abort();
  }

  void expect(uint64_t ours, uint64_t right, const char* invariant, const char* what) const {
    if (ours != right) fail(invariant, what, ours, right);
  }

  Run run_at(uint32_t page) const {
    Run run{page, 0};
    while (page + run.pages < mapped_ && owner_[page + run.pages] == 0) ++run.pages;
    return run;
  }

  // The smallest run that holds `pages`; {0, 0} if none does.
  Run best_run(uint32_t pages) const {
    Run best;
    for (uint32_t page = 0; page < mapped_;) {
      const Run run = run_at(page);
      if (run.pages >= pages && (best.pages == 0 || run.pages < best.pages)) best = run;
      page += std::max(1u, run.pages);
    }
    return best;
  }

  // What the model says of an allocation that nothing mapped holds: the heap maps more, or refuses.
  bool map_more(uint32_t pages) {
    if (limit_ - mapped_ < pages) return false;
    mapped_ += std::min(limit_ - mapped_, std::max(pages, chunk_pages_));
    merge_written(mapped_ - 1);
    return true;
  }

  // A Free span needs zeroing as a whole if any of what was merged into it did.
  void merge_written(uint32_t page) {
    uint32_t first = page;
    while (first > 0 && owner_[first - 1] == 0) --first;
    const Run run = run_at(first);
    const auto begin = written_.begin() + run.first;
    if (std::find(begin, begin + run.pages, true) != begin + run.pages) std::fill_n(begin, run.pages, true);
  }

  void allocate(uint32_t pages, SpanUse use) {
    if (live_count_ == kMaxLive) return;
    Span* span = heap_.allocate(pages, use);
    Run best = best_run(pages);
    if (best.pages == 0 && map_more(pages)) best = best_run(pages);
    expect(span != nullptr, best.pages != 0, "A6", "an allocation is answered");
    if (span == nullptr) return;
    expect(run_at(span->first()).pages, best.pages, "A6", "pages of the run it was cut from");
    if (best.pages >= kByAddress) expect(span->first(), best.first, "A6", "first page of the lowest of the best runs");
    expect(span->first() == 0 || owner_[span->first() - 1] != 0, true, "A6", "it is cut from the run's start");
    expect(span->page_count(), pages, "A7", "pages of the new span");
    check_issued(*span, use);
    own(live_count_++, {span, span->first(), pages, use});
    (use.state == SpanState::kStack ? stack_bytes_ : heap_bytes_) += pages * kPageBytes;
  }

  void check_issued(const Span& span, SpanUse use) {
    const bool stack = use.state == SpanState::kStack;
    const uintptr_t base = heap_.base_of(span);
    const uint64_t capacity = stack ? span.page_count() * kPageBytes / use.slot_bytes : 0;
    expect(static_cast<uint64_t>(span.current()), static_cast<uint64_t>(use.state), "A7", "state");
    expect(span.order, use.order, "A7", "order");
    expect(span.slot_bytes, use.slot_bytes, "A7", "slot bytes");
    expect(span.capacity, capacity, "A7", "capacity");
    expect(span.out, 0, "A7", "slots out");
    expect(span.free_list, 0, "A7", "free list");
    expect(span.limit - base, stack ? capacity * use.slot_bytes : span.page_count() * kPageBytes, "A7", "limit");
    const uint32_t generation = span.generation.load(std::memory_order_relaxed);
    if (generation <= generation_) fail("A7", "generation, to be above", generation, generation_);
    generation_ = generation;
    if (stack || span.needs_zero) return;
    const auto* words = reinterpret_cast<const uint64_t*>(base);
    for (size_t i = 0; i < span.page_count() * kPageBytes / sizeof(uint64_t); i += 16) {
      expect(words[i], 0, "A9", "a word of memory that does not say it needs zeroing");
    }
  }

  void free(uint32_t argument) {
    if (live_count_ == 0) return;
    const size_t victim = argument % live_count_;
    heap_.free(live_[victim].span);
    forget(victim);
  }

  void forget(size_t index) {
    const LiveSpan victim = live_[index];
    disown(victim.first, victim.pages);
    (victim.use.state == SpanState::kStack ? stack_bytes_ : heap_bytes_) -= victim.pages * kPageBytes;
    const size_t last = --live_count_;
    if (index != last) own(index, live_[last]);
  }

  // Pages that are Free from now on.
  void disown(uint32_t first, uint32_t pages) {
    std::fill_n(owner_.begin() + first, pages, uint8_t{0});
    std::fill_n(written_.begin() + first, pages, true);
    merge_written(first);
  }

  // A large stack shrinks where it is: the upper half stays, under the same descriptor and generation.
  void free_lower_half(uint32_t argument) {
    if (live_count_ == 0) return;
    LiveSpan& kept = live_[argument % live_count_];
    if (kept.use.order != kLargeOrder || kept.pages < 2) return;
    const uint32_t generation = kept.span->current_generation();
    heap_.free_lower_half(kept.span);
    const uint32_t half = kept.pages / 2;
    const uint32_t lower = std::exchange(kept.first, kept.first + half);
    kept.pages = half;
    kept.use.slot_bytes = static_cast<uint32_t>(half * kPageBytes);
    disown(lower, half);
    stack_bytes_ -= half * kPageBytes;
    expect(kept.span->first(), kept.first, "A7", "first page of the half that stays");
    expect(kept.span->page_count(), half, "A7", "pages of the half that stays");
    expect(kept.span->slot_bytes, kept.use.slot_bytes, "A7", "slot bytes of the half that stays");
    expect(kept.span->current_generation(), generation, "A7", "generation of the half that stays");
  }

  // Spans of stacks leave in one go, in ascending addresses: of the live ones from a page on, so many.
  void free_many(uint32_t argument) {
    size_t left = 1 + argument % kMostTogether;
    FreeRuns runs;
    for (uint32_t page = argument / kMostTogether * 32; page < mapped_ && left > 0; ++page) {
      const LiveSpan* const span = owner_of(page);
      if (span == nullptr || span->first != page || span->use.state != SpanState::kStack) continue;
      heap_.collect(span->span, runs);
      leaving_[--left] = *span;
    }
    const size_t kept = left;
    heap_.free_runs(runs);
    for (left = argument % kMostTogether + 1; left > kept; --left) forget(owner_[leaving_[left - 1].first] - 1u);
  }

  void own(size_t index, const LiveSpan& span) {
    live_[index] = span;
    std::fill_n(owner_.begin() + span.first, span.pages, static_cast<uint8_t>(index + 1));
  }

  // The live span that a page belongs to, or nullptr.
  const LiveSpan* owner_of(uint32_t page) const { return owner_[page] == 0 ? nullptr : &live_[owner_[page] - 1u]; }

  // A client writes, for a span of stacks the pool, and maybe to one of its stacks only: what A9 is about.
  void dirty(uint32_t argument) {
    if (live_count_ == 0) return;
    const LiveSpan& span = live_[argument % live_count_];
    uintptr_t lo = arena_.address_of(span.first);
    size_t bytes = span.pages * kPageBytes;
    if (const uint32_t part = argument / kMaxLive; span.use.state == SpanState::kStack && part % 2 != 0) {
      lo += part / 2 * kMinStackBytes % bytes;
      bytes = kMinStackBytes;
    }
    asan_unpoison(lo, bytes);
    heap_.arena().note_written(lo, bytes);
    auto* words = reinterpret_cast<uint64_t*>(lo);
    for (size_t i = 0; i < bytes / sizeof(uint64_t); i += 16) words[i] = ~uint64_t{argument};
  }

  void release_idle() {
    heap_.release_idle();
    expect(heap_.accounts().released_bytes, mapped_ * kPageBytes - stack_bytes_ - heap_bytes_, "E5",
           "bytes given back to the system");
    for (uint32_t page = 0; page < mapped_; ++page) written_[page] = written_[page] && owner_[page] != 0;
  }

  void locate(uint32_t argument) {
    const uint32_t page = argument % kPages;
    const Location found = heap_.locate(arena_.address_of(page) + argument % kPageBytes);
    const LiveSpan* owner = owner_of(page);
    if (owner == nullptr) {
      expect(found.state == SpanState::kStack || found.state == SpanState::kInUse, false, "A6",
             "an address in no live span is said to be in one");
      return;
    }
    expect(static_cast<uint64_t>(found.state), static_cast<uint64_t>(owner->use.state), "A6", "state of an address");
    expect(found.base, arena_.address_of(owner->first), "A6", "base of the span of an address");
    expect(found.pages, owner->pages, "A6", "pages of the span of an address");
  }

  // ---- the walk ----

  void check_tiles() {
    next_page_ = 0;
    heap_.walk(*this);
    expect(next_page_, mapped_, "A6", "pages that the spans tile");
  }

  void span(const SpanView& view) override {
    expect(arena_.page_of(view.base), next_page_, "A6", "first page of a span");
    if (view.state == SpanState::kFree) {
      expect(view.pages, run_at(next_page_).pages, "A6", "pages of a Free span, merged with its neighbours");
      expect(view.needs_zero, written_[next_page_], "A9", "a Free span needs zeroing");
    } else {
      const LiveSpan* owner = owner_of(next_page_);
      expect(owner != nullptr && owner->first == next_page_, true, "A6",
             "a Stack or InUse span is one that was issued");
      expect(view.pages, owner->pages, "A6", "pages of a live span");
      expect(static_cast<uint64_t>(view.state), static_cast<uint64_t>(owner->use.state), "A6", "state of a live span");
    }
    next_page_ += view.pages;
  }
  void slot(const SlotView&) override {}
  void fault(WalkFault fault, uintptr_t address) override {
    fail("A6", kWalkFaultNames[static_cast<size_t>(fault)].data(), arena_.page_of(address), next_page_);
  }

  void check_accounts() const {
    const HeapAccounts accounts = heap_.accounts();
    expect(accounts.system_bytes, mapped_ * kPageBytes, "E1", "system bytes");
    expect(accounts.stack_bytes, stack_bytes_, "E1", "stack bytes");
    expect(accounts.heap_bytes, heap_bytes_, "E1", "heap bytes");
    expect(accounts.idle_bytes, mapped_ * kPageBytes - stack_bytes_ - heap_bytes_, "E1", "idle bytes");
    if (accounts.released_bytes > accounts.idle_bytes) {
      fail("E5", "released bytes, of the idle", accounts.released_bytes, accounts.idle_bytes);
    }
  }

  Arena arena_;
  PageHeap heap_;
  std::array<uint8_t, kPages> owner_{};  // of a page: index of its live span + 1; 0: none
  std::array<bool, kPages> written_{};   // of a page: it may be other than zero since it was mapped or given back
  std::array<LiveSpan, kMaxLive> live_{};
  std::array<LiveSpan, kMostTogether> leaving_{};
  size_t live_count_ = 0;
  size_t index_ = 0;
  uint32_t limit_ = 0;
  uint32_t chunk_pages_ = 0;
  uint32_t mapped_ = 0;
  uint32_t generation_ = 0;
  uint32_t next_page_ = 0;
  uint64_t stack_bytes_ = 0;
  uint64_t heap_bytes_ = 0;
};

}  // namespace
}  // namespace stackdrain

extern "C" int LLVMFuzzerInitialize(int*, char***);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  stackdrain::plant_chosen_defect();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static stackdrain::PageHeapRun& heap = *new stackdrain::PageHeapRun;  // lives as long as the process
  heap.run(data, size);
  return 0;
}
