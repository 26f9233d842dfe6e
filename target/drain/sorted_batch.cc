// sorted-batch: what is put off is noted outside the dead stacks, and drained in the pause span by span, by whoever has
// nothing else to do.
//
//   retire ─▶ a chunk of 62 notes, which one thread has for one region of the arena: the stack's first 2 KiB unit
//             plain stores                            regions: up to 64, an equal share of the arena
//             the first 256 chunks lie side by side in the order in which they are taken, by four at a time, so that a
//             few stacks of many regions are notes on few pages; those after them lie in a row a region, one atomic
//             addition each
//   end_mark: a region is a share; the leader and who calls help() take them, lowest first, until none is left:
//             its notes (the leader has linked those of the first chunks) ─▶ marks_, one bit a unit (a distribution
//             sort: random, but in a bitmap that fits a cache)
//             its marks, in address order ─▶ visits: a span and which of its slots; the page map says where one ends,
//             so that its descriptor is fetched ahead and touched once, kAhead visits later
//             ─▶ ReferencePool::Sweep ─▶ what became empty ─▶ page heap, runs of neighbours as one
//             a span that begins in an earlier region is somebody else's: left to the leader, when all shares are done
//
// No dead stack is touched: the slots of a span that stays are free by a bit in its descriptor, until somebody takes
// them. A chunk is taken for a note that it gets, and each stack can be put off once: an arena's units bound the notes
// and the chunks of a region. They are reserved once, each row as long as that, and nothing can run out.
//
// Thread-safety. retire: a thread finds its chunks by the number of the batch, which is no other batch's of any pool
// (open_chunks); what it writes there is read by end_mark, when every marker is done, and whoever waited for them
// (join, or the safepoint's lock) made their stores visible. A block of the first chunks is its taker's alone
// (blocks_), and so are their places in region_of_, until the drain, where they are the share's. help: a share is a bit
// of unclaimed_. The leader stores them with release after the world stopped; who clears one, with acquire, has seen
// everything before that and has the region for itself. Outside of the pause there is no bit, so a call that comes late
// finds nothing to do. left_ counts the shares that are not done: each of them takes itself off, with release, when it
// is done and not when it is taken (F7: who takes the last share is not the last one out), and the leader, who has
// waited for zero with acquire, has seen what all of them did. Locks: an order's for its list and the page heap's, once
// a share, between those who share the drain.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <utility>

#include "target/drain/deferring.h"
#include "target/drain/policy_list.h"
#include "target/drain/units.h"
#include "target/shared.h"
#include "target/yield.h"

namespace stackdrain {
namespace {

constexpr uint32_t kRegions = 64;
constexpr uint32_t kFirstChunks = 256;  // PoolParams::first_chunks at the most
constexpr uint32_t kBlock = 4;          // of these, which a thread takes at once
constexpr uint8_t kNoRegion = 0xff;
constexpr uint32_t kWordBits = 64;
constexpr uint32_t kPagesPerMarks = kWordBits / kUnitsPerPage;

struct Chunk {
  static constexpr uint32_t kNotes = 62;  // 256 bytes in all
  uint32_t count;
  uint32_t units;  // bytes of its stacks, in units
  uint32_t notes[kNotes];
};
static_assert(sizeof(Chunk) == 256);

// The chunks that this thread writes, by region, and those of its block that it has not begun. Of the batch of that
// number, else not its own any more.
struct OpenChunks {
  uint64_t batch = 0;
  uint32_t next = 0;
  uint32_t end = 0;
  std::array<Chunk*, kRegions> of{};
};
thread_local constinit OpenChunks open_chunks;
std::atomic<uint64_t> batches{1};  // the number of the next one in this process; 0 is nobody's

// Some of a span's stacks.
struct Visit {
  Span* span = nullptr;
  uint32_t page = 0;   // the first one with a mark
  uint32_t marks = 0;  // of its units and of those behind it
};

class SortedBatchPool : public DeferringPool {
 public:
  explicit SortedBatchPool(Arena& arena)
      : DeferringPool(arena),
        region_shift_(shift_for(arena, PoolParams{}.least_share_bytes)),
        first_chunks_(kFirstChunks + 1),
        chunks_((size_t{kRegions} << region_shift_) + kRegions),
        marks_((size_t{kRegions} << region_shift_) / kWordBits) {
    region_of_.fill(kNoRegion);
    next_[kFirstChunks] = kFirstChunks;
  }

  void reset(const PoolParams& params) {
    STACKDRAIN_CHECK(params.first_chunks <= kFirstChunks && params.first_chunks % kBlock == 0,
                     "first_chunks is a multiple of 4 up to 256");
    STACKDRAIN_CHECK(std::has_single_bit(params.least_share_bytes) && params.least_share_bytes >= (size_t{128} << 10) &&
                         params.least_share_bytes <= (size_t{1} << 20),
                     "least_share_bytes is a power of two from 128 KiB to 1 MiB");
    std::fill_n(region_of_.begin(), first_chunks(), kNoRegion);
    blocks_.store(0, std::memory_order_relaxed);
    DeferringPool::reset(params);
    // not reached by programs: what runs to its end leaves no notes
    for (uint64_t regions = used_.exchange(0, std::memory_order_relaxed); regions != 0; regions &= regions - 1) {
      // not reached by programs: what runs to its end leaves no notes
      taken_[static_cast<size_t>(std::countr_zero(regions))].store(0, std::memory_order_relaxed);
    }
    region_shift_ = shift_for(heap_.arena(), params.least_share_bytes);
    late_ = false;
    begin_batch();
  }

  void retire(Proc proc, Stack stack, RetireWhy why) {
    const uint32_t unit = static_cast<uint32_t>((stack.lo - arena_base()) / kMinStackBytes);
    const uint32_t seen = planted(Defect::kQ2LostPush) ? chunk_for(unit).count : 0;
    yield_point(Yield::kRetire);
    if (!queues(why)) {
      free(proc, stack);
      return;
    }
    asan_poison(stack.lo + kLinkBytes, stack.bytes() - kLinkBytes);
    Chunk& chunk = chunk_for(unit);
    const uint32_t at = planted(Defect::kQ2LostPush) ? seen : chunk.count;
    chunk.notes[at] = unit;
    chunk.count = at + 1;
    chunk.units += units_of(planted(Defect::kQ8WrongSizeInNode) ? stack.bytes() / 2 : stack.bytes());
    if (planted(Defect::kQ5DrainWhileMarking) && marking()) drain();
  }

  void end_mark() {
    mark_done();
    if (planted(Defect::kQ12EnqueuedAfterDrain)) late_ = !late_;
    if (late_) return;  // not reached by programs: the planted defect Q12 alone sets it
    drain();
  }

  // Takes part in the drain of the pause, if one is under way; the stacks freed. From any thread, at any time: a marker
  // that is done, while it waits for the pause's end.
  size_t help() {
    size_t freed = 0;
    for (uint64_t regions = unclaimed_.load(std::memory_order_acquire); regions != 0;
         regions = unclaimed_.load(std::memory_order_acquire)) {
      const uint64_t share = regions & (~regions + 1);
      // not reached by programs: two at the same moment, which takes two threads
      if ((unclaimed_.fetch_and(~share, std::memory_order_acq_rel) & share) == 0) continue;
      if (planted(Defect::kLastOutByClaim)) done_with_share();
      yield_point(Yield::kHandOff);
      freed += drain_region(static_cast<uint32_t>(std::countr_zero(share)));
      if (!planted(Defect::kLastOutByClaim)) done_with_share();
      yield_point(Yield::kDrainStep);
    }
    return freed;
  }

  void restarted() {}
  // not reached by programs: nothing is pending outside of the pause
  size_t drain_step(size_t) { return 0; }
  // True only inside of end_mark.
  bool drain_pending() const { return left_.load(std::memory_order_acquire) != 0; }

  PoolStats stats() const {
    PoolStats stats = DeferringPool::stats();
    for_each_chunk([&](const Chunk& chunk, uint32_t) {
      stats.held_stacks += chunk.count;
      stats.held_bytes += bytes_of(chunk.units);
      stats.live_stacks -= chunk.count;
      stats.live_bytes -= bytes_of(chunk.units);
      return true;
    });
    return stats;
  }

  void walk(WalkVisitor& visitor) const {
    DeferringPool::walk(visitor);
    for_each_chunk([&](const Chunk& chunk, uint32_t) {
      for (uint32_t i = 0; i < chunk.count; ++i) {
        const uintptr_t lo = address_of(chunk.notes[i]);
        const Span* span = heap_.span_of(lo);
        // not reached by programs: only a damaged pool is so
        if (span == nullptr || span->current() != SpanState::kStack) {
          visitor.fault(WalkFault::kDeferred, lo);
          return false;
        }
        visitor.slot({lo, span->slot_bytes, SlotPlace::kDeferred, kNoProc});
      }
      return true;
    });
    walk_regions(visitor);
  }

 private:
  static constexpr size_t kLine = 64;          // bytes of a cache line
  static constexpr uint32_t kChunksAhead = 2;  // chunks between asking for one and reading it
  static constexpr size_t kAhead = 16;         // visits between a descriptor's prefetch and its use

  // At least a word of marks: two shares never write the same one.
  static int shift_for(const Arena& arena, size_t least_share_bytes) {
    const uint32_t units = arena.pages() * kUnitsPerPage;
    const auto least = static_cast<int>(std::countr_zero(least_share_bytes / kMinStackBytes));
    return std::max(static_cast<int>(std::bit_width((units - 1) / kRegions)), least);
  }
  static uint32_t units_of(size_t bytes) { return static_cast<uint32_t>(bytes / kMinStackBytes); }
  static size_t bytes_of(size_t units) { return units * kMinStackBytes; }
  uintptr_t address_of(uint32_t unit) const { return arena_base() + uintptr_t{unit} * kMinStackBytes; }
  // Of a region's own row. Rows begin a chunk further on than at distances of a power of two, where all rows' first
  // chunks would share the few lines of one set of a cache.
  Chunk& chunk_of(uint32_t region, uint32_t index) const {
    return chunks_[(size_t{region} << region_shift_) + region + index];
  }
  // Of the first chunks, those in blocks that somebody has taken.
  uint32_t first_chunks() const {
    return std::min(blocks_.load(std::memory_order_relaxed) * kBlock, params().first_chunks);
  }

  // That the arena has as many regions as it can have, that who takes a block of the first chunks uses it and rows come
  // after these, that each chunk has notes, of its region, and that none is left with room in it but the one that each
  // thread has for a region, each time that it begins to write them.
  void walk_regions(WalkVisitor& visitor) const {
    // not reached by programs: nobody walks in the pause, where regions are given back one by one
    if (threads_are_watched() || drain_pending()) return;
    const size_t units = size_t{heap_.arena().pages()} * kUnitsPerPage;
    const size_t region = size_t{1} << region_shift_;
    const bool is_least = region == params().least_share_bytes / kMinStackBytes;
    // not reached by programs: only a damaged pool is so
    if (region * kRegions < units || (!is_least && region / 2 * kRegions >= units)) {
      visitor.fault(WalkFault::kDeferred, arena_base());
    }
    const bool rows = used_.load(std::memory_order_relaxed) != 0;
    // not reached by programs: only a damaged pool is so
    if (rows && first_chunks() != params().first_chunks) visitor.fault(WalkFault::kDeferred, arena_base());
    for (uint32_t i = 0; i < first_chunks(); i += kBlock) {
      // not reached by programs: only a damaged pool is so
      if (region_of_[i] == kNoRegion) visitor.fault(WalkFault::kDeferred, arena_base());
    }
    std::array<uint32_t, kRegions> open{};
    for_each_chunk([&](const Chunk& chunk, uint32_t at) {
      open[at] += static_cast<uint32_t>(chunk.count < Chunk::kNotes);
      // not reached by programs: only a damaged pool is so
      if (chunk.count == 0 || chunk.notes[0] >> region_shift_ != at ||
          open[at] > writers_for_walk_.load(std::memory_order_relaxed)) {
        visitor.fault(WalkFault::kDeferred, address_of(at << region_shift_));
      }
      return true;
    });
  }

  // All chunks with notes in them, and their regions, until `each` says false. World stopped.
  template <class Each>
  void for_each_chunk(Each each) const {
    for (uint32_t i = 0; i < first_chunks(); ++i) {
      // not reached by programs: only a damaged pool ends early
      if (region_of_[i] != kNoRegion && !each(first_chunks_[i], uint32_t{region_of_[i]})) return;
    }
    for (uint64_t regions = used_.load(std::memory_order_relaxed); regions != 0; regions &= regions - 1) {
      const auto region = static_cast<uint32_t>(std::countr_zero(regions));
      const uint32_t count = taken_[region].load(std::memory_order_relaxed);
      for (uint32_t i = 0; i < count; ++i) {
        if (!each(chunk_of(region, i), region)) return;  // not reached by programs: only a damaged pool is so
      }
    }
  }

  static uint64_t next_batch() { return batches.fetch_add(1, std::memory_order_relaxed); }

  // What is retired from here on goes into new chunks. World stopped.
  void begin_batch() {
    batch_ = next_batch();
    writers_for_walk_.store(0, std::memory_order_relaxed);
  }

  // The chunk for this thread's next note about that unit; it has room for one.
  Chunk& chunk_for(uint32_t unit) {
    const uint32_t region = unit >> region_shift_;
    if (open_chunks.batch == batch_) [[likely]] {
      Chunk* const chunk = open_chunks.of[region];
      if (chunk != nullptr && chunk->count < Chunk::kNotes) [[likely]]
        return *chunk;
    }
    return take_chunk(region);
  }

  // Asks for all lines of a chunk, so that they come together. kWrites: 1 if they will be written to, else 0.
  template <int kWrites>
  static void fetch_chunk(const Chunk& chunk) {
    for (size_t line = 0; line < sizeof(Chunk); line += kLine) {
      __builtin_prefetch(reinterpret_cast<const char*>(&chunk) + line, kWrites);
    }
  }

  // Out of line, so that the ordinary retire needs no stack frame.
  [[gnu::noinline]] Chunk& take_chunk(uint32_t region) {
    if (open_chunks.batch != batch_) join_batch();
    Chunk& chunk = has_first_chunk() ? next_first_chunk(region) : next_of_row(region);
    // All of its lines are written soon: asked for together, they come together.
    fetch_chunk<1>(chunk);
    chunk.count = chunk.units = 0;
    open_chunks.of[region] = &chunk;
    return chunk;
  }

  // A locked addition waits until all stores before it are in the cache, and those to new chunks are on their way for
  // long: so it is one for a block, and a block's are written by one thread alone.
  bool has_first_chunk() {
    if (open_chunks.next != open_chunks.end) return true;
    if (first_chunks() == params().first_chunks) return false;
    const uint32_t block = blocks_.fetch_add(1, std::memory_order_relaxed);
    // not reached by programs: two take the last block at the same moment, which takes two threads
    if (block * kBlock >= params().first_chunks) return false;
    open_chunks.next = block * kBlock;
    open_chunks.end = open_chunks.next + kBlock;
    return true;
  }

  Chunk& next_first_chunk(uint32_t region) {
    const uint32_t index = open_chunks.next++;
    region_of_[index] = static_cast<uint8_t>(region);
    return first_chunks_[index];
  }

  Chunk& next_of_row(uint32_t region) {
    const uint32_t index = taken_[region].fetch_add(1, std::memory_order_relaxed);
    // not reached by programs: never another, as a chunk is more stacks of a region than they have
    if (index == 0) used_.fetch_or(uint64_t{1} << region, std::memory_order_relaxed);
    return chunk_of(region, index);
  }

  // This thread has chunks of another batch, or none.
  void join_batch() {
    open_chunks = {.batch = batch_};
    writers_for_walk_.fetch_add(1, std::memory_order_relaxed);
  }

  // The leader's part: opens the shares, takes its own, and waits for the others'.
  void drain() {
    const uint64_t shares = used_.load(std::memory_order_relaxed) | link_first_chunks();
    if (shares == 0) return;
    left_.store(static_cast<uint32_t>(std::popcount(shares)), std::memory_order_relaxed);
    unclaimed_.store(shares, std::memory_order_release);
    help();
    // not reached by programs: a share in the hands of another thread
    for (uint32_t left = left_.load(std::memory_order_acquire); left != 0;
         left = left_.load(std::memory_order_acquire)) {
      left_.wait(left, std::memory_order_acquire);
    }
    Sweep sweep(*this);
    for (uint64_t regions = shares; regions != 0; regions &= regions - 1) {
      Visit& edge = edges_[static_cast<size_t>(std::countr_zero(regions))];
      if (edge.span != nullptr) give(sweep, edge);
      edge = {};
    }
    if (planted(Defect::kQ4HeadNotReset)) return;
    used_.store(0, std::memory_order_relaxed);
    blocks_.store(0, std::memory_order_relaxed);
    begin_batch();
  }

  // Makes each region a list of those first chunks that are its own, in the order in which they were taken; the regions
  // that have some. The first two of each are asked for, which nobody has done when its share is taken.
  uint64_t link_first_chunks() {
    head_.fill(kFirstChunks);
    uint64_t regions = 0;
    for (uint32_t i = first_chunks(); i-- > 0;) {
      const uint8_t region = region_of_[i];
      if (region == kNoRegion) continue;
      next_[i] = std::exchange(head_[region], static_cast<uint16_t>(i));
      regions |= uint64_t{1} << region;
    }
    for (uint64_t rest = regions; rest != 0; rest &= rest - 1) {
      const uint16_t first = head_[static_cast<size_t>(std::countr_zero(rest))];
      fetch_first_chunk(first);
      fetch_first_chunk(next_[first]);
    }
    return regions;
  }

  // To ask for memory that was never written to costs more than to wait for what is there: so, if there is one.
  void fetch_first_chunk(uint32_t index) const {
    if (index != kFirstChunks) fetch_chunk<0>(first_chunks_[index]);
  }

  void done_with_share() {
    if (left_.fetch_sub(1, std::memory_order_release) == 1) left_.notify_one();
  }

  // What a share's notes come to.
  struct Noted {
    uint32_t first = 0;   // a note
    uint64_t slices = 0;  // where there are marks: a bit for a slice of the region
    size_t stacks = 0;
    size_t units = 0;
  };

  // Where there are marks is told by a bit for a 64th of the region, or for a word of marks if that is more.
  int slice_shift() const { return std::max(region_shift_ - 6, 6); }

  void mark(Noted& noted, const Chunk& chunk, bool last) {
    const uint32_t count = chunk.count - (planted(Defect::kQ7LastNodeSkipped) && last ? 1 : 0);
    const int shift = slice_shift();
    uint64_t slices = noted.slices;
    for (uint32_t n = 0; n < count; ++n) {
      count_work();
      const uint32_t unit = chunk.notes[n];
      marks_[unit / kWordBits] |= uint64_t{1} << (unit % kWordBits);
      slices |= uint64_t{1} << ((unit >> shift) % kWordBits);
    }
    noted.slices = slices;
    noted.first = chunk.notes[0];
    noted.stacks += chunk.count;
    noted.units += chunk.units;
  }

  // Marks all notes about a region; a chunk is asked for two before it is read.
  Noted mark_all(uint32_t region) {
    Noted noted;
    const uint32_t row = taken_[region].load(std::memory_order_relaxed);
    for (uint32_t i = 0; i < std::min(row, kChunksAhead); ++i) fetch_chunk<0>(chunk_of(region, i));
    for (uint32_t i = head_[region]; i != kFirstChunks; i = next_[i]) {
      fetch_first_chunk(next_[next_[i]]);
      mark(noted, first_chunks_[i], row == 0 && next_[i] == kFirstChunks);
      if (!planted(Defect::kQ4HeadNotReset)) region_of_[i] = kNoRegion;
    }
    for (uint32_t i = 0; i < row; ++i) {
      // not reached by programs: a chunk is more stacks of a region than they have
      if (i + kChunksAhead < row) fetch_chunk<0>(chunk_of(region, i + kChunksAhead));
      mark(noted, chunk_of(region, i), i + 1 == row);
    }
    return noted;
  }

  // One share: everything noted about a region, but for what begins before it. The stacks freed.
  size_t drain_region(uint32_t region) {
    const Noted noted = mark_all(region);
    if (!planted(Defect::kQ4HeadNotReset)) taken_[region].store(0, std::memory_order_relaxed);
    count_many_given_back(noted.stacks, bytes_of(noted.units));
    const size_t slice_words = (size_t{1} << slice_shift()) / kWordBits;
    const size_t first_slice = (size_t{region} << (region_shift_ - slice_shift())) & ~size_t{kWordBits - 1};
    Visits visits(*this, region);
    for (uint64_t slices = noted.slices; slices != 0; slices &= slices - 1) {
      const size_t slice = first_slice + static_cast<size_t>(std::countr_zero(slices));
      visits.of_words(slice * slice_words, (slice + 1) * slice_words);
    }
    visits.finish();
    if (planted(Defect::kQ3DrainedTwice)) release(kNoProc, stack_at(noted.first));
    return noted.stacks;
  }

  // not reached by programs: planted defects alone
  Stack stack_at(uint32_t unit) const {
    const uintptr_t lo = address_of(unit);
    const Span* span = heap_.span_of(lo);
    return {lo, lo + (span == nullptr ? kMinStackBytes : span->slot_bytes)};
  }

  // The spans of a region's marks, in address order: each is looked up in the page map alone, its descriptor fetched,
  // and given back kAhead visits later.
  class Visits {
   public:
    Visits(SortedBatchPool& pool, uint32_t region)
        : pool_(pool),
          page_map_(pool.heap_.arena().page_map()),
          spans_(pool.heap_.arena().spans()),
          first_page_((region << pool.region_shift_) / kUnitsPerPage),
          edge_(pool.edges_[region]),
          sweep_(pool) {}

    // Takes the marks of the words from `word` to before `end`.
    void of_words(size_t word, size_t end) {
      for (; word < end; ++word) {
        uint64_t marks = pool_.marks_[word];
        if (marks == 0) continue;
        pool_.marks_[word] = 0;
        const std::atomic<uint32_t>* const map = page_map_ + word * kPagesPerMarks;
        while (marks != 0) {
          // A page with marks, and those right behind it in the word that have some and are the same span's.
          const auto first = static_cast<uint32_t>(std::countr_zero(marks)) / kUnitsPerPage;
          const uint32_t index = map[first].load(std::memory_order_relaxed);
          uint32_t last = first + 1;
          while (last < kPagesPerMarks && (marks >> (last * kUnitsPerPage) & kPageMarks) != 0 &&
                 map[last].load(std::memory_order_relaxed) == index) {
            ++last;
          }
          const uint64_t mask = (uint64_t{1} << ((last - first) * kUnitsPerPage)) - 1;
          const uint64_t taken = marks >> (first * kUnitsPerPage) & mask;
          marks &= ~(mask << (first * kUnitsPerPage));
          add(spans_ + index, static_cast<uint32_t>(word) * kPagesPerMarks + first, static_cast<uint32_t>(taken));
        }
      }
    }

    void finish() {
      for (size_t n = 0; n <= kAhead; ++n) begin({});
    }

   private:
    static constexpr uint64_t kPageMarks = (uint64_t{1} << kUnitsPerPage) - 1;

    void add(Span* span, uint32_t page, uint32_t marks) {
      if (span == current_.span) {  // it goes on in the next word
        current_.marks |= marks << ((page - current_.page) * kUnitsPerPage);
      } else {
        __builtin_prefetch(span, 1);
        begin({span, page, marks});
      }
    }

    // The current visit is complete; its turn comes when kAhead more are.
    void begin(Visit next) {
      Visit& due = ahead_[made_++ % kAhead];
      if (due.span != nullptr) end(due);
      due = current_;
      current_ = next;
    }

    void end(const Visit& visit) {
      if (visit.span->first() < first_page_) [[unlikely]] {
        edge_ = visit;
      } else {
        pool_.give(sweep_, visit);
      }
    }

    SortedBatchPool& pool_;
    const std::atomic<uint32_t>* page_map_;
    Span* spans_;
    uint32_t first_page_;
    Visit& edge_;
    Visit current_;
    std::array<Visit, kAhead> ahead_;
    size_t made_ = 0;
    Sweep sweep_;
  };

  static void give(Sweep& sweep, const Visit& visit) {
    STACKDRAIN_CHECK(visit.span->current() == SpanState::kStack, "a deferred stack has no span");
    sweep.give(visit.span, visit.marks << ((visit.page - visit.span->first()) * kUnitsPerPage));
  }

  int region_shift_;                                // a region is 2^n units; changes in reset alone
  Table<Chunk> first_chunks_;                       // of all regions, in the order in which they are taken
  Table<Chunk> chunks_;                             // then of each region, in a row
  Table<uint64_t> marks_;                           // zero but within drain()
  Atomic<uint32_t> blocks_{0};                      // of the first chunks, handed out; may count on behind the last
  std::array<uint8_t, kFirstChunks> region_of_;     // of the first chunks; written by who takes one
  std::array<uint16_t, kFirstChunks + 1> next_{};   // within drain(): of the same region; the last ones' own next
  std::array<uint16_t, kRegions> head_{};           // within drain(): the region's first one, or kFirstChunks
  std::array<Atomic<uint32_t>, kRegions> taken_{};  // chunks of each region's row handed out
  Atomic<uint64_t> used_{0};                        // bit n: region n has a chunk in its row
  Atomic<uint64_t> unclaimed_{0};                   // bit n: region n is a share that nobody has taken
  Atomic<uint32_t> left_{0};                        // shares that are not done
  std::array<Visit, kRegions> edges_;               // of each region: the span that begins before it
  uint64_t batch_ = next_batch();                   // whose chunks are written; changes with the world stopped
  bool late_ = false;                               // only the planted defect Q12
  std::atomic<uint32_t> writers_for_walk_{0};       // how often a thread has begun to write chunks of this batch
};
static_assert(StackPool<SortedBatchPool>);

}  // namespace

std::unique_ptr<AnyPool> make_sorted_batch(Arena& arena) {
  return std::make_unique<PoolBox<SortedBatchPool>>(arena);
}

}  // namespace stackdrain
