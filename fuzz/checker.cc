#include "fuzz/checker.h"

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <tuple>
#include <utility>

#include "target/stack_cache.h"

namespace stackdrain {
namespace {

// Reads dead stacks too, which ASan has poisoned.
#if defined(__clang__)
__attribute__((no_sanitize("address")))
#elif defined(__GNUC__)
__attribute__((no_sanitize_address))
#endif
uint64_t
peek(uintptr_t address) {
  return *reinterpret_cast<const volatile uint64_t*>(address);
}

constexpr size_t kLine = 64;

// Looks for what an allocation could have had: a Free span that is large enough from a multiple of `align` pages on, or
// a free slot of its order. A Free span that ends at page `mapped` could have been made one that ends at page `limit`.
class FittingSpan final : public WalkVisitor {
 public:
  struct End {
    size_t mapped;
    size_t limit;
  };
  FittingSpan(uint32_t pages, int order, size_t align, uintptr_t arena, End end)
      : pages_(pages), order_(order), align_(align), arena_(arena), end_(end) {}
  void span(const SpanView& view) override {
    const bool stack = view.state == SpanState::kStack;
    const bool same = view.order == kLargeOrder ? order_ == kLargeOrder && view.pages == pages_ : view.order == order_;
    const size_t first = (view.base - arena_) >> kPageShift;
    const size_t end = first + view.pages == end_.mapped ? end_.limit : first + view.pages;
    const bool holds = (first + align_ - 1) / align_ * align_ + pages_ <= end;
    if (stack ? same && view.out < view.capacity : view.state == SpanState::kFree && holds) {
      base_ = view.base;
    }
  }
  void slot(const SlotView&) override {}
  void fault(WalkFault, uintptr_t) override {}
  bool wants_slots() const override { return false; }
  uintptr_t base() const { return base_; }

 private:
  uint32_t pages_;
  int order_;
  size_t align_;
  uintptr_t arena_;
  End end_;
  uintptr_t base_ = 0;
};

// Counts the small spans of stacks, by order: those that are empty, and those that are newer than a generation.
class SpanCount final : public WalkVisitor {
 public:
  explicit SpanCount(uint32_t newest) : newest_(newest), then_(newest) {}
  void span(const SpanView& view) override {
    if (view.state != SpanState::kStack) return;
    newest_ = std::max(newest_, view.generation);
    if (view.order >= kMaxOrders) return;
    if (view.generation > then_) ++newer_[view.order];
    if (view.out != 0) return;
    last_empty_ = view.base;
    ++empty_[view.order];
  }
  void slot(const SlotView&) override {}
  void fault(WalkFault, uintptr_t) override {}
  bool wants_slots() const override { return false; }
  const std::array<size_t, kMaxOrders>& empty() const { return empty_; }
  const std::array<size_t, kMaxOrders>& newer() const { return newer_; }
  uint32_t newest() const { return newest_; }
  uintptr_t last_empty() const { return last_empty_; }  // 0: none

 private:
  uint32_t newest_;
  uint32_t then_;
  uintptr_t last_empty_ = 0;
  std::array<size_t, kMaxOrders> empty_{};
  std::array<size_t, kMaxOrders> newer_{};
};

// Lists the spans of stacks.
class StackSpans final : public WalkVisitor {
 public:
  StackSpans(std::span<Location> spans, size_t& count) : spans_(spans), count_(count) {}
  void span(const SpanView& view) override {
    if (view.state != SpanState::kStack || count_ == spans_.size()) return;
    spans_[count_++] = {view.state, view.generation, view.base, view.pages};
  }
  void slot(const SlotView&) override {}
  void fault(WalkFault, uintptr_t) override {}
  bool wants_slots() const override { return false; }

 private:
  std::span<Location> spans_;
  size_t& count_;
};

// Looks for anything that a pool remembers and a walk does not show.
class Memory final : public WalkVisitor {
 public:
  void span(const SpanView&) override {}
  void slot(const SlotView&) override {}
  void fault(WalkFault, uintptr_t) override {}
  bool wants_hidden() const override { return true; }
  void hidden(uint64_t word) override { any_ = any_ || word != 0; }
  bool any() const { return any_; }

 private:
  bool any_ = false;
};

const char* name_of(SpanState state) {
  return kSpanStateNames[static_cast<size_t>(state)].data();
}
const char* name_of(SlotPlace place) {
  return kSlotPlaceNames[static_cast<size_t>(place)].data();
}
const char* name_of(RootKind kind) {
  return kRootNames[static_cast<size_t>(kind)].data();
}

}  // namespace

void Checker::reset(const Watched& watched) {
  watched_ = watched;
  arena_base_ = watched.pool->arena_base();
  params_ = &watched.pool->params();
  failed_ = false;
  flushed_ = overlap_ = false;
  inside_count_ = before_release_count_ = shrunk_checked_ = 0;
  releases_at_begin_ = 0;
  snapshot_count_ = 0;
  span_count_ = 0;
  walk_size_ = 0;
  knows_demand_ = false;
  newest_span_ = 0;
  taken_at_end_ = 0;
}

bool Checker::report(Invariant invariant, const char* format, ...) {
  if (failed_) return false;  // the first one is the story; what follows it is damage
  failed_ = true;
  violation_.invariant = invariant;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(violation_.message.data(), violation_.message.size(), format, arguments);
  va_end(arguments);
  return false;
}

bool Checker::check_step(bool nested, bool spans_moved) {
  if (failed_ || !check_held_pointers() || !check_buffered_pointers()) return false;
  // The span of one that is new to the model may have moved before.
  if ((spans_moved || watched_.model->shrunk.count != shrunk_checked_) && !check_shrunk_spans()) return false;
  if (before_release_count_ != 0 && !check_cache_release()) return false;
  return nested || check_accounts();
}

bool Checker::check_held_pointers() {
  const Collector& collector = *watched_.collector;
  if (collector.phase() != Phase::kMark) return true;
  for (int marker = 0; marker < collector.kind().markers; ++marker) {
    const Held& held = collector.held(marker);
    if (held.pointer != 0 && !check_watched_pointer(held, "marker m", marker)) return false;
  }
  if (collector.bad_pointers() == 0) return true;
  const BadPointer& bad = collector.first_bad();
  return report(Invariant::kA3,
                "bad pointer: marker m%d RESOLVEd +0x%" PRIxPTR " (%s of g%u) in a %s span at +0x%" PRIxPTR, bad.marker,
                offset(bad.held.pointer), name_of(bad.held.kind), bad.held.goroutine, name_of(bad.found.state),
                bad.found.base == 0 ? 0 : offset(bad.found.base));
}

// A pointer that somebody holds by value: its span must stay what it was.
bool Checker::check_watched_pointer(const Held& held, const char* who, int number) {
  const Location now = watched_.pool->locate(held.pointer);
  if (now.state == SpanState::kStack && now.generation == held.at_load.generation) return true;
  return report(Invariant::kA3,
                "%s%d holds +0x%" PRIxPTR ", %s of g%u, LOADed from the %s span at +0x%" PRIxPTR
                " (%u pages, generation %u); that span is now %s at +0x%" PRIxPTR " (%u pages, generation %u)",
                who, number, offset(held.pointer), name_of(held.kind), held.goroutine, name_of(held.at_load.state),
                offset(held.at_load.base), held.at_load.pages, held.at_load.generation, name_of(now.state),
                now.base == 0 ? 0 : offset(now.base), now.pages, now.generation);
}

// What write barriers buffered waits to be judged as what a marker LOADed does.
bool Checker::check_buffered_pointers() {
  for (Proc proc = 0; proc < params_->procs; ++proc) {
    for (const Held& held : watched_.collector->buffered(proc)) {
      if (!check_watched_pointer(held, "the write buffer of p", proc)) return false;
    }
  }
  return true;
}

// A2, weak: no span that held a stack shrunk in this cycle leaves Stack before the cycle's end; or, where that is the
// policy, before each reader from before the shrink was quiescent.
bool Checker::check_shrunk_spans() {
  if (!watched_.claims.sound || watched_.collector->phase() != Phase::kMark) return true;
  const auto& shrunk = watched_.model->shrunk;
  shrunk_checked_ = shrunk.count;
  for (size_t i = 0; i < shrunk.count; ++i) {
    const ModelRetired& retired = shrunk.items[i];
    if (watched_.claims.frees_after_grace && !watched_.model->in_grace(retired.at)) continue;
    const Location now = watched_.pool->locate(retired.stack.lo);
    if (now.state == SpanState::kStack && now.generation == retired.span.generation) continue;
    return report(Invariant::kA2,
                  "the span at +0x%" PRIxPTR
                  " (generation %u) held g%u's old stack, shrunk in this cycle, and is now %s "
                  "(generation %u) before %s",
                  offset(retired.span.base), retired.span.generation, retired.goroutine, name_of(now.state),
                  now.generation,
                  watched_.claims.frees_after_grace ? "all who read then were quiescent" : "the cycle's end");
  }
  return true;
}

bool Checker::check_accounts() {
  stats_ = watched_.pool->stats();
  const PoolStats& stats = stats_;
  const Model& model = *watched_.model;
  if (stats.system_bytes != stats.heap_bytes + stats.stack_bytes + stats.idle_bytes) {
    return report(Invariant::kE1, "system %" PRIu64 " bytes, but heap %" PRIu64 " + stack %" PRIu64 " + idle %" PRIu64,
                  stats.system_bytes, stats.heap_bytes, stats.stack_bytes, stats.idle_bytes);
  }
  const size_t mapped = watched_.pool->arena_mapped();
  if (stats.system_bytes != mapped || stats.released_bytes > stats.idle_bytes) {
    return report(Invariant::kE5, "system %" PRIu64 " bytes, mapped %zu; released %" PRIu64 " of idle %" PRIu64,
                  stats.system_bytes, mapped, stats.released_bytes, stats.idle_bytes);
  }
  const PoolParams& params = *params_;
  if (watched_.claims.pools_as_go && params.arena_pages != 0 &&
      stats.system_bytes > uint64_t{params.arena_pages} << kPageShift) {
    return report(Invariant::kE5, "%" PRIu64 " bytes are mapped, of an arena of %u pages", stats.system_bytes,
                  params.arena_pages);
  }
  const uint64_t held = stats.held_stacks;
  if (held != model.deferred.count) {
    // What is missing once the mark is over was queued all right, and lost.
    const bool lost = held < model.deferred.count && watched_.collector->phase() != Phase::kMark;
    const bool overlap = held < model.deferred.count && overlap_;
    return report(!watched_.claims.defers_shrunk ? Invariant::kC7
                  : lost                         ? Invariant::kC3
                  : overlap                      ? Invariant::kC6
                                                 : Invariant::kC1,
                  "the pool holds %" PRIu64 " deferred stacks, the policy says %zu", held, model.deferred.count);
  }
  if (stats.live_stacks != model.live_stacks || stats.live_bytes != model.live_bytes ||
      stats.allocations != model.allocations || stats.allocations - stats.frees != model.live_stacks + held) {
    return report(Invariant::kE3,
                  "%" PRIu64 " stacks (%" PRIu64 " bytes) live, allocations %" PRIu64 " - frees %" PRIu64
                  "; the program says %" PRIu64 " (%" PRIu64 " bytes), %" PRIu64 " deferred, %" PRIu64 " allocated",
                  stats.live_stacks, stats.live_bytes, stats.allocations, stats.frees, model.live_stacks,
                  model.live_bytes, held, model.allocations);
  }
  if (watched_.claims.pools_as_go && stats.peak_stack_bytes < stats.stack_bytes) {
    return report(Invariant::kE7, "%" PRIu64 " bytes are in spans of stacks, the most so far is said to be %" PRIu64,
                  stats.stack_bytes, stats.peak_stack_bytes);
  }
  const bool marking = watched_.collector->phase() == Phase::kMark;
  if (marking && watched_.claims.strong_a2 && stats.spans_released != releases_at_begin_) {
    return report(Invariant::kA1, "%" PRIu64 " Stack spans became Free while a mark runs",
                  stats.spans_released - releases_at_begin_);
  }
  if (flushed_ && stats.cached_bytes != 0) {
    return report(Invariant::kB5, "the caches were flushed and the world is stopped, but they hold %" PRIu64 " bytes",
                  stats.cached_bytes);
  }
  return true;
}

bool Checker::check_goroutine(uint32_t g, Frames frames) {
  const ModelGoroutine& expected = watched_.model->goroutines[g];
  const Goroutine& goroutine = watched_.goroutines[g];
  if (failed_) return false;
  if (expected.in_move || (expected.generation == 0 && goroutine.generation() == 0)) return true;
  if (goroutine.status() != expected.status) {
    return report(Invariant::kD5, "g%u is %s, the program says %s", g,
                  kGoStatusNames[static_cast<size_t>(goroutine.status())].data(),
                  kGoStatusNames[static_cast<size_t>(expected.status)].data());
  }
  const Stack stack = goroutine.stack();
  if (stack != expected.stack) {
    return report(Invariant::kD7, "g%u's stack is +0x%" PRIxPTR " (%zu bytes), the program says +0x%" PRIxPTR " (%zu)",
                  g, offset(stack.lo), stack.bytes(), offset(expected.stack.lo), expected.stack.bytes());
  }
  if (goroutine.shrunk_cycle() != expected.shrunk_cycle) {
    return report(Invariant::kD9, "g%u was last halved in cycle %u of this life, and says in cycle %u", g,
                  expected.shrunk_cycle, goroutine.shrunk_cycle());
  }
  if (!stack) return check_roots(expected, goroutine);
  const Location at = watched_.pool->locate(stack.lo);
  const uintptr_t aligned_to = watched_.claims.tells_places ? stack.bytes() : 1;
  if (!std::has_single_bit(stack.bytes()) || stack.bytes() < kMinStackBytes || (stack.lo - at.base) % aligned_to != 0 ||
      at.state != SpanState::kStack || stack.hi > at.base + (uintptr_t{at.pages} << kPageShift)) {
    return report(Invariant::kB2,
                  "g%u's stack +0x%" PRIxPTR " of %zu bytes lies in a %s span at +0x%" PRIxPTR " of %u pages", g,
                  offset(stack.lo), stack.bytes(), name_of(at.state), at.base == 0 ? 0 : offset(at.base), at.pages);
  }
  if (!expected.alive()) return check_roots(expected, goroutine);
  const StackPattern pattern(g, expected.generation);
  for (int word = 0; word < 2; ++word) {
    const uintptr_t address = stack.lo + static_cast<uintptr_t>(word) * sizeof(uint64_t);
    if (peek(address) != pattern.canary(word)) {
      return report(Invariant::kG1, "g%u's canary word %d at +0x%" PRIxPTR " is 0x%" PRIx64, g, word, offset(address),
                    peek(address));
    }
  }
  return check_roots(expected, goroutine) && check_frames(expected, goroutine, frames);
}

bool Checker::check_roots(const ModelGoroutine& expected, const Goroutine& goroutine) {
  for (size_t kind = 0; kind < kRootKinds; ++kind) {
    const uintptr_t root = goroutine.root(static_cast<RootKind>(kind));
    const uintptr_t wanted = expected.roots[kind] == 0 ? 0 : expected.stack.hi - expected.roots[kind];
    if (root == wanted) continue;
    if (root != 0 && root == expected.stack.hi) {
      return report(Invariant::kD4, "%s of g%u holds exactly hi", kRootNames[kind].data(), goroutine.id());
    }
    return report(Invariant::kD1, "%s of g%u points at +0x%" PRIxPTR ", not at +0x%" PRIxPTR " in its stack",
                  kRootNames[kind].data(), goroutine.id(), root == 0 ? 0 : offset(root),
                  wanted == 0 ? 0 : offset(wanted));
  }
  for (size_t word = 0; word < Goroutine::kCachedWords; ++word) {
    const uintptr_t pointer = goroutine.cached_record(word);
    if (pointer == 0) continue;
    return report(Invariant::kD1, "the record of g%u's last wait is in the cache of records and points at +0x%" PRIxPTR,
                  goroutine.id(), offset(pointer));
  }
  return true;
}

bool Checker::check_frames(const ModelGoroutine& expected, const Goroutine& goroutine, Frames frames) {
  if (goroutine.used() != expected.used) {
    return report(Invariant::kD2, "g%u uses %zu bytes, the program says %u", goroutine.id(), goroutine.used(),
                  expected.used);
  }
  uint32_t high = expected.used;
  const size_t last = frames == Frames::kAll ? 0 : expected.frames - 1;
  for (size_t frame = expected.frames; frame-- > last;) {
    high -= expected.frame_bytes[frame];
    if (!check_frame(expected, goroutine.id(), frame, high)) return false;
    if (frames != Frames::kWords && !check_frame_pattern(expected, goroutine.id(), frame, high)) return false;
  }
  const uintptr_t youngest = expected.stack.hi - expected.distance_of(FrameWord::kLink);
  if (goroutine.youngest_link() == youngest) return true;
  return report(Invariant::kD7, "g%u's base pointer is +0x%" PRIxPTR ", not +0x%" PRIxPTR, goroutine.id(),
                offset(goroutine.youngest_link()), offset(youngest));
}

// One frame whose high end is `high` bytes below hi.
bool Checker::check_frame(const ModelGoroutine& expected, uint32_t id, size_t frame, uint32_t high) {
  const uintptr_t hi = expected.stack.hi;
  const uintptr_t link = hi - high - sizeof(uint64_t);
  const uintptr_t caller = frame == 0 ? 0 : hi - (high - expected.frame_bytes[frame - 1]) - sizeof(uint64_t);
  const auto differs = [&](FrameWord word, uint64_t wanted, const char* what) {
    const uintptr_t address = Goroutine::word_at(link, word);
    if (peek(address) == wanted) return false;
    return !report(Invariant::kD2, "g%u, frame %zu: %s at +0x%" PRIxPTR " is 0x%" PRIx64 ", not 0x%" PRIx64, id, frame,
                   what, offset(address), peek(address), wanted);
  };
  if (differs(FrameWord::kLink, caller, "link") || differs(FrameWord::kSize, expected.frame_bytes[frame], "size") ||
      differs(FrameWord::kSlot, caller != 0 ? caller : link, "slot") ||
      differs(FrameWord::kValue, expected.values[frame], "value") || differs(FrameWord::kSelectDone, 0, "selectdone")) {
    return false;
  }
  return true;
}

bool Checker::check_frame_pattern(const ModelGoroutine& expected, uint32_t id, size_t frame, uint32_t high) {
  const uintptr_t hi = expected.stack.hi;
  const StackPattern pattern(id, expected.generation);
  for (uintptr_t line = hi - high - expected.frame_bytes[frame]; line < hi - high; line += kLine) {
    const uint64_t wanted = pattern.at(hi - line);
    if (peek(line) == wanted) continue;
    return report(Invariant::kD2, "g%u, frame %zu: pattern at +0x%" PRIxPTR " is 0x%" PRIx64 ", not 0x%" PRIx64, id,
                  frame, offset(line), peek(line), wanted);
  }
  return true;
}

void Checker::begin_walk() {
  const size_t units = watched_.pool->arena_mapped() / kMinStackBytes;
  for (Units* set : {&claimed_, &starts_, &pool_free_, &expected_deferred_}) set->clear(units);
  span_count_ = 0;
  deferred_seen_ = 0;
  walk_size_ = 0;
  claimed_in_ = {};
  for (int proc = 0; proc < params_->procs; ++proc) {
    cache_bytes_[static_cast<size_t>(proc)] = {};
    shelf_bytes_[static_cast<size_t>(proc)] = {};
  }
  const auto& deferred = watched_.model->deferred;
  for (size_t i = 0; i < deferred.count; ++i) expected_deferred_.add(unit_of(deferred.items[i].stack.lo));
}

bool Checker::check_walk() {
  if (failed_) return false;
  stats_ = watched_.pool->stats();
  return check_walk_after_step();
}

bool Checker::check_walk_after_step() {
  if (failed_) return false;
  if (!(watched_.claims.tells_places ? check_places() : check_disjoint())) return false;
  for (uint32_t g = 0; g < kGoroutines; ++g) {
    if (!check_goroutine(g)) return false;
  }
  const auto& deferred = watched_.model->deferred;
  for (size_t i = 0; i < deferred.count; ++i) {
    if (!check_old_memory(deferred.items[i])) return false;
  }
  return true;
}

// Every span and slot: where it is, and that it is nowhere else.
bool Checker::check_places() {
  begin_walk();
  watched_.pool->walk(*this);
  return !failed_ && claim_live() && finish_walk();
}

// B2 for a pool that shows no places: no two of the stacks that live or are deferred share a byte.
bool Checker::check_disjoint() {
  const Model& model = *watched_.model;
  std::array<Stack, kGoroutines + kMaxRetired> stacks;
  size_t count = 0;
  for (const ModelGoroutine& goroutine : model.goroutines) {
    if (goroutine.stack) stacks[count++] = goroutine.stack;
  }
  for (size_t i = 0; i < model.deferred.count; ++i) stacks[count++] = model.deferred.items[i].stack;
  std::sort(stacks.begin(), stacks.begin() + static_cast<ptrdiff_t>(count),
            [](const Stack& left, const Stack& right) { return left.lo < right.lo; });
  walk_size_ = count;
  for (size_t i = 1; i < count; ++i) {
    if (stacks[i - 1].hi <= stacks[i].lo) continue;
    return report(Invariant::kB2, "two stacks share memory: 0x%" PRIxPTR " (%zu bytes) and 0x%" PRIxPTR " (%zu bytes)",
                  stacks[i - 1].lo, stacks[i - 1].bytes(), stacks[i].lo, stacks[i].bytes());
  }
  return true;
}

void Checker::span(const SpanView& view) {
  ++walk_size_;
  if (span_count_ < spans_.size()) spans_[span_count_++] = view;
}

void Checker::fault(WalkFault fault, uintptr_t address) {
  constexpr Invariant kBroken[] = {Invariant::kA6, Invariant::kA6, Invariant::kA6, Invariant::kA5, Invariant::kA5,
                                   Invariant::kB3, Invariant::kB4, Invariant::kC2, Invariant::kF6};
  report(kBroken[static_cast<size_t>(fault)], "walk: %s, at +0x%" PRIxPTR,
         kWalkFaultNames[static_cast<size_t>(fault)].data(), address == 0 ? 0 : offset(address));
}

void Checker::slot(const SlotView& view) {
  ++walk_size_;
  if (!claim(view.lo, view.bytes, view.place, view.proc)) return;
  if (view.place == SlotPlace::kDeferred) {
    ++deferred_seen_;
    if (!expected_deferred_.has(unit_of(view.lo))) {
      report(Invariant::kC2, "+0x%" PRIxPTR " is deferred, and nobody retired it", offset(view.lo));
    }
  }
  const bool has_owner = view.place == SlotPlace::kCached || view.place == SlotPlace::kShelved;
  if (has_owner && !check_room(view)) return;
  if (asan_enabled && !asan_is_poisoned(view.lo + kLinkBytes)) {
    report(Invariant::kF5, "the %s stack at +0x%" PRIxPTR " is not poisoned", name_of(view.place), offset(view.lo));
  }
}

// B4: a processor's cache, and its shelf, hold no more than they may.
bool Checker::check_room(const SlotView& view) {
  const bool shelved = view.place == SlotPlace::kShelved;
  const int order = order_of(view.bytes);
  const PoolParams& params = *params_;
  const size_t arena_bytes = size_t{params.arena_pages} << kPageShift;
  auto& held = shelved ? shelf_bytes_ : cache_bytes_;
  size_t& bytes = held[static_cast<size_t>(view.proc)][static_cast<size_t>(order)];
  const size_t most = !shelved                        ? kCacheCapBytes
                      : watched_.claims.keeps_shelves ? shelf_cap_bytes(params, arena_bytes, order)
                                                      : 0;
  bytes += view.bytes;
  if (bytes <= most) return true;
  return report(Invariant::kB4, "p%d's %s of %zu-byte stacks holds more than %zu bytes", view.proc,
                shelved ? "shelf" : "cache", view.bytes, most);
}

// Says that a stack is somewhere; it must be nowhere else, and inside one Stack span.
bool Checker::claim(uintptr_t lo, size_t bytes, SlotPlace place, Proc proc) {
  // Nothing changes during a walk, and many stacks lie in one span.
  if (lo - claimed_in_.base >= uintptr_t{claimed_in_.pages} << kPageShift) claimed_in_ = watched_.pool->locate(lo);
  const Location& at = claimed_in_;
  const uintptr_t end = at.base + (uintptr_t{at.pages} << kPageShift);
  if (at.state != SpanState::kStack || bytes > end - lo) {  // a damaged size may be anything
    return report(place == SlotPlace::kDeferred ? Invariant::kC2 : Invariant::kB1,
                  "the %s stack at +0x%" PRIxPTR " (%zu bytes) lies in a %s span at +0x%" PRIxPTR " (%u pages)",
                  name_of(place), offset(lo), bytes, name_of(at.state), at.base == 0 ? 0 : offset(at.base), at.pages);
  }
  const size_t first = unit_of(lo);
  const size_t units = bytes / kMinStackBytes;
  if (!claimed_.add_new(first, units)) {
    const size_t taken = claimed_.first_of(first, units);
    return report(Invariant::kB1, "the stack at +0x%" PRIxPTR " (%zu bytes, p%d) is both %s and %s", offset(lo), bytes,
                  proc, name_of(place_of(taken)), name_of(place));
  }
  starts_.add(first);
  if (place == SlotPlace::kPoolFree) pool_free_.add(first);
  place_[first] = place;
  return true;
}

// Of the stack that a claimed unit is a part of.
SlotPlace Checker::place_of(size_t unit) const {
  while (!starts_.has(unit)) --unit;
  return place_[unit];
}

bool Checker::claim_live() {
  for (const ModelGoroutine& goroutine : watched_.model->goroutines) {
    const Stack stack = goroutine.stack;
    if (stack && !claim(stack.lo, stack.bytes(), SlotPlace::kLive, kNoProc)) return false;
    if (stack && asan_enabled && asan_is_poisoned(stack.lo + kLinkBytes)) {
      return report(Invariant::kF5, "the live stack at +0x%" PRIxPTR " is poisoned", offset(stack.lo));
    }
  }
  return true;
}

bool Checker::finish_walk() {
  for (size_t i = 0; i < span_count_; ++i) {
    if (i > 0 && spans_[i].state == SpanState::kFree && spans_[i - 1].state == SpanState::kFree) {
      return report(Invariant::kA6, "two adjacent Free spans, at +0x%" PRIxPTR " and +0x%" PRIxPTR,
                    offset(spans_[i - 1].base), offset(spans_[i].base));
    }
    if (!check_span_view(spans_[i]) || !finish_span(spans_[i])) return false;
  }
  if (deferred_seen_ != watched_.model->deferred.count) {
    return report(Invariant::kC2, "%zu stacks are in the deferred set, %zu were retired and not freed", deferred_seen_,
                  watched_.model->deferred.count);
  }
  return check_totals() && check_reserve() && check_held_bytes() && check_caches();
}

// A7 and B7 for what a span says of itself.
bool Checker::check_span_view(const SpanView& view) {
  if (view.state == SpanState::kStack) return check_stack_span(view);
  const uintptr_t end = view.base + (uintptr_t{view.pages} << kPageShift);
  const bool is_free = view.state == SpanState::kFree;
  if (is_free && asan_enabled && !(asan_is_poisoned(view.base) && asan_is_poisoned(end - 1))) {
    return report(Invariant::kF5, "the Free span at +0x%" PRIxPTR " is not poisoned", offset(view.base));
  }
  const bool right_limit = view.limit == (view.state == SpanState::kFree ? 0 : end);
  if (view.has_free_list || view.out != 0 || view.capacity != 0 || view.order != kNoOrder || !right_limit) {
    return report(Invariant::kA7,
                  "the %s span at +0x%" PRIxPTR
                  " keeps stack metadata: order %u, capacity %u, out %u, free list %s, "
                  "limit +0x%" PRIxPTR,
                  name_of(view.state), offset(view.base), view.order, view.capacity, view.out,
                  view.has_free_list ? "set" : "empty", offset(view.limit));
  }
  if (is_free != (view.generation == 0)) {
    return report(Invariant::kA8, "the %s span at +0x%" PRIxPTR " has generation %u", name_of(view.state),
                  offset(view.base), view.generation);
  }
  return true;
}

bool Checker::check_stack_span(const SpanView& view) {
  const size_t bytes = size_t{view.pages} << kPageShift;
  if (view.order == kLargeOrder) {
    const bool right = view.slot_bytes == bytes && view.capacity == 1 && view.limit == view.base + bytes &&
                       !view.has_free_list && view.list != SpanList::kOrder;
    if (right) return true;
    return report(Invariant::kB7,
                  "the large span at +0x%" PRIxPTR " of %zu bytes says: slot %u, capacity %u, free list %s",
                  offset(view.base), bytes, view.slot_bytes, view.capacity, view.has_free_list ? "set" : "empty");
  }
  const size_t slot = view.order < kMaxOrders ? order_bytes(view.order) : 0;
  if (slot == 0 || view.pages != kPoolSpanPages || view.slot_bytes != slot || view.capacity != kPoolSpanBytes / slot ||
      view.limit != view.base + kPoolSpanBytes) {
    return report(Invariant::kA7,
                  "the Stack span at +0x%" PRIxPTR " says: order %u, slot %u, capacity %u, limit +0x%" PRIxPTR,
                  offset(view.base), view.order, view.slot_bytes, view.capacity, offset(view.limit));
  }
  if (view.out > view.capacity || view.has_free_list != (view.list == SpanList::kOrder) ||
      view.has_free_list != (view.out < view.capacity)) {
    return report(Invariant::kA4, "the span at +0x%" PRIxPTR ": %u of %u slots out, free list %s, %s a pool list",
                  offset(view.base), view.out, view.capacity, view.has_free_list ? "set" : "empty",
                  view.list == SpanList::kOrder ? "on" : "not on");
  }
  if (view.out == 0 && !watched_.claims.keeps_empty_spans) {
    return report(Invariant::kA4, "the span at +0x%" PRIxPTR " is empty and still Stack; this policy keeps none",
                  offset(view.base));
  }
  return true;
}

// Every slot of a Stack span was seen somewhere, and as many on its free list as it says.
bool Checker::finish_span(const SpanView& view) {
  if (view.state != SpanState::kStack) return true;
  const size_t first = unit_of(view.base);
  const size_t slot_units = view.slot_bytes / kMinStackBytes;
  const size_t units = view.capacity * slot_units;
  if (const size_t missing = claimed_.first_not_of(first, units); missing < first + units) {
    const size_t lo = missing - (missing - first) % slot_units;
    return report(Invariant::kB1,
                  "the slot at +0x%" PRIxPTR
                  " (%u bytes) is nowhere, or only a part of it: not live, cached, free or deferred",
                  lo * kMinStackBytes, view.slot_bytes);
  }
  const size_t pooled = pool_free_.count(first, units);
  if (view.order == kLargeOrder || pooled + view.out == view.capacity) return true;
  return report(Invariant::kE2, "the span at +0x%" PRIxPTR ": %zu slots free + %u out, but capacity %u",
                offset(view.base), pooled, view.out, view.capacity);
}

// C7 for a policy that keeps large stacks until the drain: no more than were given up and not used again.
bool Checker::check_reserve() {
  if (!watched_.claims.keeps_empty_spans || watched_.claims.defers_shrunk) return true;
  const Model& model = *watched_.model;
  std::array<uint32_t, 32> kept{};
  for (size_t i = 0; i < span_count_ && model.reserve_known; ++i) {
    const SpanView& view = spans_[i];
    if (view.state != SpanState::kStack || view.order != kLargeOrder || view.out != 0) continue;
    const auto size = static_cast<size_t>(std::countr_zero(view.pages));
    if (++kept[size] <= model.reserve[size]) continue;
    return report(Invariant::kC7,
                  "%u unused large stacks of %u pages are held, %u if each is used again when it can be", kept[size],
                  view.pages, model.reserve[size]);
  }
  return true;
}

// C7: what is held back, to the byte: by the program where stacks are deferred, else empty spans and unused large
// stacks. A policy whose free slots wait by themselves holds more than that, but nothing that lives or is cached.
bool Checker::check_held_bytes() {
  const PolicyClaims& claims = watched_.claims;
  uint64_t held = 0;
  if (claims.defers_shrunk) {
    const auto& deferred = watched_.model->deferred;
    for (size_t i = 0; i < deferred.count; ++i) held += deferred.items[i].stack.bytes();
  } else {
    for (size_t i = 0; i < span_count_; ++i) {
      const SpanView& view = spans_[i];
      if (view.state == SpanState::kStack && view.out == 0) held += uint64_t{view.pages} << kPageShift;
    }
  }
  const uint64_t most = stats_.stack_bytes - stats_.live_bytes - stats_.cached_bytes;
  if (claims.by_address && !claims.defers_shrunk ? stats_.held_bytes <= most : stats_.held_bytes == held) return true;
  return report(Invariant::kC7, "%" PRIu64 " bytes are said to be held back, %" PRIu64 " are, of at most %" PRIu64,
                stats_.held_bytes, held, most);
}

// B4: refill and release land where they say. Of a refill in an operation that is not over it is not known yet how far
// the memory went.
bool Checker::check_caches() {
  const Demand& demand = watched_.model->demand;
  const uint64_t cached = stats_.cached_bytes;
  if (!demand.knows_caches() || demand.refilled() || cached == demand.cached_bytes()) return true;
  return report(Invariant::kB4, "the caches hold %" PRIu64 " bytes, by their rule it is %" PRIu64, cached,
                demand.cached_bytes());
}

// E7, of all the time so far.
bool Checker::check_peak() {
  const Demand& demand = watched_.model->demand;
  const uint64_t peak = stats_.peak_stack_bytes;
  if (!demand.knows_peak() || peak <= demand.most_bytes()) return true;
  return report(Invariant::kE7,
                "%" PRIu64
                " bytes were in spans of stacks at once; what was live, deferred and cached, and the rest "
                "of a span an order, are %" PRIu64 " at most",
                peak, demand.most_bytes());
}

bool Checker::check_begun(CycleKind kind, uint32_t cycle, uint64_t cached_before) {
  if (failed_) return false;
  const Collector& collector = *watched_.collector;
  const CycleKind& runs = collector.kind();
  const bool first_job_is_next = collector.next_job() == 0 || overlap_;  // a marker may come while caches are flushed
  if (collector.phase() != Phase::kMark || collector.cycle() != cycle || !first_job_is_next ||
      runs.markers != kind.markers || runs.concurrent != kind.concurrent) {
    return report(Invariant::kF3, "cycle %u of %d markers began; phase %s, cycle %u of %d markers, %u root jobs done",
                  cycle, kind.markers, kPhaseNames[static_cast<size_t>(collector.phase())].data(), collector.cycle(),
                  runs.markers, collector.next_job());
  }
  stats_ = watched_.pool->stats();
  const uint64_t cached = stats_.cached_bytes;
  if (cached == (kind.concurrent ? 0 : cached_before)) return true;
  return report(Invariant::kB5,
                "the caches held %" PRIu64 " bytes, and %" PRIu64
                " when the mark has begun: they are "
                "flushed %s",
                cached_before, cached, kind.concurrent ? "by then" : "by a root job");
}

bool Checker::check_fresh(const PoolParams& params) {
  const AnyPool& pool = *watched_.pool;
  const Collector& collector = *watched_.collector;
  bool right = !watched_.claims.pools_as_go || (pool.stats() == PoolStats{} && pool.arena_mapped() == 0 &&
                                                !pool.drain_pending() && pool.params() == params);
  right = right && collector.phase() == Phase::kOff && collector.cycle() == 0 && collector.bad_pointers() == 0 &&
          collector.objects_marked() == 0 && collector.pointers_judged() == 0;
  for (Proc proc = 0; proc < params.procs; ++proc) {
    right = right && collector.buffered(proc).empty() && collector.has_thread(proc);
  }
  for (int marker = 0; marker < kMachineMarkers; ++marker) right = right && collector.held(marker).pointer == 0;
  for (const Goroutine& goroutine : watched_.goroutines) {
    right = right && !goroutine.alive() && !goroutine.stack() && goroutine.generation() == 0 && goroutine.used() == 0 &&
            goroutine.scanned_cycle() == 0 && goroutine.shrunk_cycle() == 0;
    for (size_t kind = 0; kind < kRootKinds; ++kind) right = right && goroutine.root(static_cast<RootKind>(kind)) == 0;
    for (size_t word = 0; word < Goroutine::kCachedWords; ++word) right = right && goroutine.cached_record(word) == 0;
  }
  Memory memory;
  pool.walk(memory);
  right = right && !memory.any();
  return right || report(Invariant::kE6, "a run does not begin with an empty world: the one before it left something");
}

bool Checker::check_refused(uint32_t pages, int order, bool by_system) {
  if (failed_ || overlap_ || !watched_.claims.pools_as_go) return !failed_;
  // What was short of memory then may have had it freed since, in the same root job.
  if (watched_.claims.frees_after_grace && watched_.collector->phase() == Phase::kMark) return true;
  const PoolParams& params = *params_;
  const size_t mapped = watched_.pool->arena_mapped() >> kPageShift;
  const size_t align = watched_.claims.aligns_stacks && order != kNoOrder ? std::min(pages, 64u) : 1;
  const bool can_grow =
      !by_system && params.arena_pages != 0 && (mapped + align - 1) / align * align + pages <= params.arena_pages;
  // Who has bits for pages maps what is missing of the last run; Go's heap a span that holds all of it.
  const bool extends = watched_.claims.aligns_stacks && !by_system && params.arena_pages != 0;
  FittingSpan fitting(pages, order, align, arena_base_, {mapped, extends ? params.arena_pages : mapped});
  if (!can_grow) watched_.pool->walk(fitting);
  if (!can_grow && fitting.base() == 0) return check_reserve_given_up(pages);
  return report(Invariant::kA6, "%u pages were refused: %zu are mapped, %u may be, and +0x%" PRIxPTR " %s", pages,
                mapped, params.arena_pages, can_grow ? mapped << kPageShift : offset(fitting.base()),
                can_grow ? "is the next" : "would have done");
}

bool Checker::check_mapped(size_t before, uint32_t pages) {
  if (failed_ || overlap_ || !watched_.claims.pools_as_go) return !failed_;
  const size_t most = std::max(params_->grow_chunk_bytes, size_t{pages} << kPageShift);
  const size_t mapped = watched_.pool->arena_mapped();
  if (mapped - before <= most) return true;
  return report(Invariant::kE5, "%zu bytes were mapped for %u pages; a chunk, or they, are %zu", mapped - before, pages,
                most);
}

// E1, E4 and E5 against the spans themselves.
bool Checker::check_totals() {
  uint64_t bytes[4] = {};
  size_t stack_spans = 0;
  uint64_t released = 0;
  for (size_t i = 0; i < span_count_; ++i) {
    const uint64_t size = uint64_t{spans_[i].pages} << kPageShift;
    bytes[static_cast<size_t>(spans_[i].state) & 3] += size;
    stack_spans += spans_[i].state == SpanState::kStack ? 1 : 0;
    if (spans_[i].released_pages == 0) continue;
    released += uint64_t{spans_[i].released_pages} << kPageShift;
    if (spans_[i].released && spans_[i].needs_zero) {
      return report(Invariant::kA9,
                    "the span at +0x%" PRIxPTR " was given back to the system and is said not to be zero",
                    offset(spans_[i].base));
    }
    if (spans_[i].state == SpanState::kFree) continue;
    return report(Invariant::kE5, "the %s span at +0x%" PRIxPTR " counts as given back to the system",
                  name_of(spans_[i].state), offset(spans_[i].base));
  }
  const PoolStats& stats = stats_;
  if (stats.released_bytes != released) {
    return report(Invariant::kE5, "accounts: %" PRIu64 " bytes given back to the system; spans: %" PRIu64,
                  stats.released_bytes, released);
  }
  if (stats.spans_taken - stats.spans_released != stack_spans) {
    return report(Invariant::kE1, "%zu Stack spans, but %" PRIu64 " were taken and %" PRIu64 " released", stack_spans,
                  stats.spans_taken, stats.spans_released);
  }
  const uint64_t stack = bytes[static_cast<size_t>(SpanState::kStack)];
  const uint64_t heap = bytes[static_cast<size_t>(SpanState::kInUse)];
  const uint64_t idle = bytes[static_cast<size_t>(SpanState::kFree)];
  if (stats.stack_bytes == stack && stats.heap_bytes == heap && stats.idle_bytes == idle) return true;
  return report(Invariant::kE4,
                "accounts: stack %" PRIu64 ", heap %" PRIu64 ", idle %" PRIu64 "; spans: %" PRIu64 ", %" PRIu64
                ", %" PRIu64,
                stats.stack_bytes, stats.heap_bytes, stats.idle_bytes, stack, heap, idle);
}

// D8: what was left behind is as it was, link words aside.
bool Checker::check_old_memory(const ModelRetired& retired) {
  const StackPattern pattern(retired.goroutine, retired.life);
  for (uintptr_t line = retired.stack.hi - retired.used; line < retired.stack.hi; line += kLine) {
    if (line < retired.stack.lo + kLinkBytes) continue;
    const uint64_t wanted = pattern.at(retired.stack.hi - line);
    if (peek(line) == wanted) continue;
    return report(Invariant::kD8, "the deferred stack of g%u changed at +0x%" PRIxPTR ": 0x%" PRIx64 ", not 0x%" PRIx64,
                  retired.goroutine, offset(line), peek(line), wanted);
  }
  return true;
}

namespace {

// Tells which of the model's deferred stacks are deferred still.
class DeferredSurvivors final : public WalkVisitor {
 public:
  explicit DeferredSurvivors(const Model& model) : model_(model) {}
  void span(const SpanView&) override {}
  void fault(WalkFault, uintptr_t) override {}
  void slot(const SlotView& view) override {
    if (view.place != SlotPlace::kDeferred) return;
    for (size_t i = 0; i < model_.deferred.count; ++i) {
      if (model_.deferred.items[i].stack.lo == view.lo) survives_[i] = true;
    }
  }
  bool survives(size_t i) const { return survives_[i]; }
  // The item `i` of the model is removed, and the `last` one takes its place.
  void forget(size_t i, size_t last) { survives_[i] = survives_[last]; }

 private:
  const Model& model_;
  std::array<bool, kMaxRetired> survives_{};
};

}  // namespace

// Of two retires of one address the later one can be deferred still; the other was freed between them.
bool Checker::settle_graces(Model& model, bool job_over) {
  if (failed_) return false;
  DeferredSurvivors survivors(model);
  watched_.pool->walk(survivors);
  for (size_t i = model.deferred.count; i-- > 0;) {
    const ModelRetired& retired = model.deferred.items[i];
    bool gone = !survivors.survives(i);
    for (size_t other = 0; other < model.deferred.count; ++other) {
      const ModelRetired& later = model.deferred.items[other];
      gone = gone || (later.stack.lo == retired.stack.lo && later.serial > retired.serial);
    }
    if (!gone || retired.coming) continue;
    if (!retired.handed_off && model.in_grace(retired.at)) {
      return report(Invariant::kA2,
                    "g%u's old stack at +0x%" PRIxPTR
                    " was freed while %zu readers from before it was given up read on",
                    retired.goroutine, offset(retired.stack.lo), model.readers_since(retired.at));
    }
    survivors.forget(i, model.deferred.count - 1);
    model.free_deferred(i);
  }
  for (size_t i = 0; i < model.deferred.count; ++i) {
    ModelRetired& retired = model.deferred.items[i];
    if (retired.by == 0 && !overlap_) retired.by = model.moment;
    if (job_over && !check_two_graces(retired)) return false;
  }
  return true;
}

// Held: the grace of those who were retired before it, and its own.
bool Checker::check_two_graces(ModelRetired& retired) {
  const Model& model = *watched_.model;
  if (retired.handed_off || retired.by == 0) return true;
  if (retired.second == 0 && !model.in_grace(retired.by)) retired.second = model.moment;
  if (retired.second == 0 || model.in_grace(retired.second)) return true;
  return report(Invariant::kC7, "g%u's old stack at +0x%" PRIxPTR " is held though two graces have passed since",
                retired.goroutine, offset(retired.stack.lo));
}

bool Checker::settle_drained(Model& model, size_t freed) {
  if (failed_) return false;
  DeferredSurvivors survivors(model);
  if (model.deferred.count != 0) watched_.pool->walk(survivors);
  size_t gone = 0;
  for (size_t i = model.deferred.count; i-- > 0;) {
    if (survivors.survives(i)) continue;
    model.free_deferred(i);
    ++gone;
  }
  if (gone == freed) return true;
  return report(Invariant::kC3, "the drain says it freed %zu stacks, but %zu left the deferred set", freed, gone);
}

bool Checker::check_nothing_held() {
  if (failed_) return false;
  stats_ = watched_.pool->stats();
  const PoolStats& stats = stats_;
  if (stats.held_stacks == 0 && stats.held_bytes == 0 && watched_.model->deferred.count == 0) return true;
  return report(Invariant::kC3,
                "nothing is pending, but %" PRIu64 " stacks and %" PRIu64 " bytes are held back (%zu by the program)",
                stats.held_stacks, stats.held_bytes, watched_.model->deferred.count);
}

// A6: what waits for its order's next growth serves whoever is short, but in a mark, when nothing leaves Stack.
bool Checker::check_reserve_given_up(uint32_t pages) {
  if (!watched_.claims.keeps_reserve || watched_.collector->phase() == Phase::kMark) return true;
  SpanCount count(0);
  watched_.pool->walk(count);
  if (count.last_empty() == 0) return true;
  return report(Invariant::kA6, "%u pages were refused, and the empty span at +0x%" PRIxPTR " was kept for its order",
                pages, offset(count.last_empty()));
}

void Checker::note_pause_ended() {
  if (!watched_.claims.keeps_reserve) return;
  const uint64_t taken = watched_.pool->stats().spans_taken;
  knows_demand_ = std::exchange(taken_at_end_, taken) != taken;
  if (!knows_demand_) return;  // none was: none need stay, and most cycles need no walk
  SpanCount count(newest_span_);
  watched_.pool->walk(count);
  carved_ = count.newer();
  newest_span_ = count.newest();
}

void Checker::note_drain_begins() {
  if (!knows_demand_) return;
  SpanCount count(0);
  watched_.pool->walk(count);
  empty_before_ = count.empty();
}

bool Checker::check_demand_kept(uint64_t released, bool given_up) {
  if (failed_ || !std::exchange(knows_demand_, false) || overlap_ || given_up || released == 0) return !failed_;
  SpanCount count(0);
  watched_.pool->walk(count);
  for (size_t order = 0; order < kMaxOrders; ++order) {
    const size_t least = std::min(empty_before_[order], carved_[order]);
    if (count.empty()[order] >= least) continue;
    return report(Invariant::kC4,
                  "of %zu empty spans of order %zu the drain left %zu, and %zu were carved in the cycle before",
                  empty_before_[order], order, count.empty()[order], carved_[order]);
  }
  return true;
}

// C4: which spans of stacks may be empty after a drain.
bool Checker::check_empty_spans() {
  std::array<uint32_t, kMaxOrders> kept{};
  for (size_t i = 0; i < span_count_; ++i) {
    const SpanView& view = spans_[i];
    if (view.state != SpanState::kStack || view.out != 0) continue;
    if (!watched_.claims.keeps_reserve || view.order >= kMaxOrders) {
      return report(Invariant::kC4, "the span at +0x%" PRIxPTR " is empty after the drain", offset(view.base));
    }
    const uint32_t most = watched_.model->demand.may_stay(view.order);
    if (++kept[view.order] <= most) continue;
    return report(Invariant::kC4,
                  "%u spans of order %u are empty after the drain, the last at +0x%" PRIxPTR
                  "; no more than %u were put to use in the cycle before",
                  kept[view.order], view.order, offset(view.base), most);
  }
  return true;
}

bool Checker::check_quiescent(bool nothing_left) {
  if (!check_nothing_held() || !check_walk_after_step() || !check_peak() || !check_empty_spans()) return false;
  const PoolStats& stats = stats_;
  if (!nothing_left) return true;
  const bool one_span = span_count_ == 0 || (span_count_ == 1 && spans_[0].state == SpanState::kFree);
  if (stats.live_stacks == 0 && stats.cached_bytes == 0 && stats.stack_bytes == 0 && stats.heap_bytes == 0 &&
      one_span) {
    return true;
  }
  return report(Invariant::kE6,
                "all is dead and flushed, but %" PRIu64 " stacks live, cached %" PRIu64 ", stack %" PRIu64
                ", heap %" PRIu64 " bytes, %zu spans",
                stats.live_stacks, stats.cached_bytes, stats.stack_bytes, stats.heap_bytes, span_count_);
}

bool Checker::check_not_over(size_t freed) {
  if (failed_) return false;
  const size_t unsettled = watched_.model->deferred.count;
  if (freed >= unsettled) return true;
  const size_t queued = static_cast<size_t>(watched_.pool->stats().held_stacks) + freed;
  if (queued >= unsettled || watched_.pool->drain_pending()) return true;
  return report(Invariant::kF7, "the drain counts as over while %zu stacks are in the hands of a drainer",
                unsettled - queued);
}

bool Checker::check_published() {
  if (failed_) return false;
  const uintptr_t end = arena_base_ + watched_.pool->arena_mapped();
  for (uintptr_t page = arena_base_; page < end;) {
    const Location at = watched_.pool->locate(page);
    const bool issued = at.state == SpanState::kStack || at.state == SpanState::kInUse;
    if (issued && at.generation == 0) {
      return report(Invariant::kA8, "the page at +0x%" PRIxPTR " reads as %s, but its span has no generation yet",
                    offset(page), name_of(at.state));
    }
    page += std::max(kPageBytes, size_t{at.pages} << kPageShift);  // walks say whether its other pages are its
  }
  return true;
}

void Checker::entered(Proc proc) {
  const Phase phase = watched_.collector->phase();
  for (size_t i = 0; i < inside_count_ && proc != kNoProc; ++i) {
    if (inside_[i].proc == proc) report(Invariant::kF2, "p%d enters the allocator, and is in it already", proc);
  }
  if (inside_count_ < inside_.size()) inside_[inside_count_++] = {proc, phase};
}

void Checker::left() {
  if (inside_count_ == 0) return;
  const Entry& entry = inside_[--inside_count_];
  const Phase phase = watched_.collector->phase();
  if (phase == entry.phase) return;
  report(Invariant::kF3, "an operation of the allocator began in phase %s and ended in phase %s",
         kPhaseNames[static_cast<size_t>(entry.phase)].data(), kPhaseNames[static_cast<size_t>(phase)].data());
}

class Checker::CacheOrder final : public WalkVisitor {
 public:
  explicit CacheOrder(std::span<Cached> told) : told_(told) {}
  void span(const SpanView&) override {}
  void slot(const SlotView& view) override {
    if (view.place == SlotPlace::kCached && count_ < told_.size()) told_[count_++] = {view.lo, view.bytes, view.proc};
  }
  void fault(WalkFault, uintptr_t) override {}
  size_t count() const { return count_; }

 private:
  std::span<Cached> told_;
  size_t count_ = 0;
};

void Checker::note_cache_release() {
  if (!watched_.claims.releases_cold_half) return;
  CacheOrder order(before_release_);
  watched_.pool->walk(order);
  before_release_count_ = order.count();
}

bool Checker::check_cache_release() {
  std::array<Cached, std::tuple_size_v<decltype(before_release_)>> now;
  CacheOrder order(now);
  watched_.pool->walk(order);
  const auto is_cached = [&](uintptr_t lo) {
    return std::any_of(now.begin(), now.begin() + static_cast<ptrdiff_t>(order.count()),
                       [lo](const Cached& cached) { return cached.lo == lo; });
  };
  const size_t count = std::exchange(before_release_count_, 0);
  for (size_t i = 1; i < count; ++i) {
    const Cached& hotter = before_release_[i - 1];
    const Cached& colder = before_release_[i];
    if (hotter.proc != colder.proc || hotter.bytes != colder.bytes) continue;
    if (is_cached(hotter.lo) || !is_cached(colder.lo)) continue;
    return report(Invariant::kB6,
                  "p%d's cache gave +0x%" PRIxPTR " back and kept +0x%" PRIxPTR ", which lay in it longer", hotter.proc,
                  offset(hotter.lo), offset(colder.lo));
  }
  return true;
}

bool Checker::check_step_size(size_t budget, size_t freed, size_t left) {
  if (failed_) return false;
  const PoolParams& params = *params_;
  const size_t told = budget != 0                              ? budget
                      : params.drain_hold == DrainHold::kEach  ? 1
                      : params.drain_hold == DrainHold::kBatch ? size_t{params.drain_batch}
                                                               : left;
  if (freed == std::min(told, left)) return true;
  return report(Invariant::kC8, "a drain step that is to free %zu freed %zu of %zu stacks", told, freed, left);
}

uint64_t Checker::hold_bound(size_t budget, uint64_t stacks, uint64_t pages) const {
  const PoolParams& params = *params_;
  switch (watched_.claims.hold_bound) {
    case HoldBound::kUnsaid:
      break;
    case HoldBound::kAsTold:
      if (params.drain_hold == DrainHold::kEach) return 1;
      if (budget != 0) return budget;
      return params.drain_hold == DrainHold::kBatch ? params.drain_batch : stacks;
    case HoldBound::kBatch:
      return params.drain_batch;
    case HoldBound::kBudget:
      return budget != 0 ? budget : watched_.claims.hold_of_step;
    case HoldBound::kPages:
      return pages;
  }
  return kUnbounded;
}

bool Checker::check_pause(uint64_t work, uint64_t stacks, uint64_t pages) {
  const PolicyClaims& claims = watched_.claims;
  const uint64_t bound = claims.pause_work_per_stack * stacks + claims.pause_work_per_page * pages;
  if (!claims.sound || work <= bound) return !failed_;
  return report(Invariant::kF4,
                "the pause did %" PRIu64 " units of work, the policy says at most %" PRIu64 " for %" PRIu64
                " deferred stacks and %" PRIu64 " pages of stacks",
                work, bound, stacks, pages);
}

bool Checker::check_adopted(Proc proc) {
  const size_t left = watched_.collector->buffered(proc).size();
  if (failed_) return false;
  if (!watched_.collector->has_thread(proc)) {
    return report(Invariant::kB5, "p%d was taken over, and nobody may use it", proc);
  }
  if (left == 0) return true;
  return report(Invariant::kA3, "p%d was taken over, and %zu pointers that its thread wrote are not judged", proc,
                left);
}

bool Checker::check_next_of_drain(uintptr_t next, size_t left) {
  if (failed_) return false;
  // What a marker has just given up it may free before the model is told.
  if (watched_.claims.frees_after_grace && watched_.collector->phase() == Phase::kMark) return true;
  const auto& deferred = watched_.model->deferred;
  for (size_t i = 0; i < deferred.count; ++i) {
    if (deferred.items[i].stack.lo == next) return true;
  }
  return report(Invariant::kC5, "the drain has %zu stacks left and goes on with +0x%" PRIxPTR ", which nobody retired",
                left, next == 0 ? 0 : offset(next));
}

void Checker::note_mark_began(uint64_t spans_released) {
  releases_at_begin_ = spans_released;
  snapshot_count_ = 0;
  if (!watched_.claims.strong_a2) return;
  StackSpans spans(snapshot_, snapshot_count_);
  watched_.pool->walk(spans);
}

bool Checker::check_mark_ended() {
  if (failed_) return false;
  for (size_t i = 0; i < snapshot_count_; ++i) {
    const Location& then = snapshot_[i];
    const Location now = watched_.pool->locate(then.base);
    if (now.state == SpanState::kStack && now.generation == then.generation && now.pages == then.pages) continue;
    return report(Invariant::kA2,
                  "the span at +0x%" PRIxPTR " (generation %u) was Stack at gc-begin, at gc-end %s (%u)",
                  offset(then.base), then.generation, name_of(now.state), now.generation);
  }
  return true;
}

}  // namespace stackdrain
