// What a reproducer needs beside target: who runs something at a yield point, and what is seen of a pool, as text that
// is the same in every process. Knows target alone, because a reproducer carries all of this with it.
#pragma once

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "target/any_pool.h"
#include "target/collector.h"
#include "target/goroutine.h"
#include "target/mutex.h"
#include "target/yield.h"

namespace stackdrain {

// Runs what it is given inside the next call that comes to a yield point, once.
class InsideHook final : public YieldHook {
 public:
  void inside_next(Yield point, std::function<void()> what) {
    point_ = point;
    what_ = std::move(what);
    processor_.reset();
  }
  // The call is over.
  void over() { what_ = nullptr; }
  // The goroutine that is interrupted goes on, on that processor.
  void resume_on(Proc proc) { processor_ = proc; }

  void at(Yield point) override {
    if (point != point_ || what_ == nullptr) return;
    const std::function<void()> what = std::exchange(what_, nullptr);
    what();
  }
  Proc resumes_on(Proc proc) override { return std::exchange(processor_, std::nullopt).value_or(proc); }
  // The system refuses the next so many times that a page heap wants more memory.
  void refuse_next(uint32_t times) { refusals_ = times; }
  bool maps() override {
    if (refusals_ == 0) return true;
    --refusals_;
    return false;
  }

 private:
  Yield point_ = Yield::kCopyAlloc;
  std::function<void()> what_;
  std::optional<Proc> processor_;
  uint32_t refusals_ = 0;
};

// Lets a lock be taken that is held, which would wait for ever, and remembers.
class RelockHook final : public LockHook {
 public:
  bool acquires(const void* mutex) override {
    const bool again = holds(mutex);
    relocked_ = relocked_ || again;
    held_.push_back(mutex);
    return !again;
  }
  bool releases(const void* mutex) override {
    const auto last = std::find(held_.rbegin(), held_.rend(), mutex);
    if (last != held_.rend()) held_.erase(std::next(last).base());
    return !holds(mutex);
  }
  bool relocked() const { return relocked_; }

 private:
  bool holds(const void* mutex) const { return std::find(held_.begin(), held_.end(), mutex) != held_.end(); }

  std::vector<const void*> held_;
  bool relocked_ = false;
};

// A pointer that a marker holds, or that the write barrier has buffered, and what it points into now.
inline bool dangles(const AnyPool& pool, const Held& held) {
  if (held.pointer == 0) return false;
  const Location now = pool.locate(held.pointer);
  return now.state != SpanState::kStack || now.generation != held.at_load.generation;
}

// Does anybody hold a pointer into what is no stack any more, or was such a pointer judged?
inline bool any_dangles(const AnyPool& pool, const Collector& collector) {
  if (collector.bad_pointers() != 0) return true;
  if (collector.phase() != Phase::kMark) return false;
  for (int marker = 0; marker < collector.kind().markers; ++marker) {
    if (dangles(pool, collector.held(marker))) return true;
  }
  for (Proc proc = 0; proc < pool.params().procs; ++proc) {
    for (const Held& held : collector.buffered(proc)) {
      if (dangles(pool, held)) return true;
    }
  }
  return false;
}

// The state of a pool, its goroutines and what markers hold. Addresses are distances from the arena's base.
class StateText final : private WalkVisitor {
 public:
  StateText(const AnyPool& pool, std::span<const Goroutine> goroutines, const Collector& collector) : pool_(pool) {
    pool.walk(*this);
    add_slots();
    for (const Goroutine& goroutine : goroutines) add_goroutine(goroutine);
    for (int marker = 0; marker < collector.kind().markers; ++marker) add_held(marker, collector.held(marker));
    add("bad pointers %" PRIu64 "\n", collector.bad_pointers());
  }
  const std::string& text() const { return text_; }

 private:
  bool in_arena(uint64_t word) const {
    return word >= pool_.arena_base() && word - pool_.arena_base() < pool_.arena_mapped();
  }
  uint64_t offset(uint64_t word) const { return in_arena(word) ? word - pool_.arena_base() : word; }

  void add(const char* format, ...) __attribute__((format(printf, 2, 3))) {
    std::array<char, 200> line;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(line.data(), line.size(), format, arguments);
    va_end(arguments);
    text_ += line.data();
  }

  void span(const SpanView& view) override {
    add("span +0x%06" PRIx64 " %u pages %s", offset(view.base), view.pages,
        kSpanStateNames[static_cast<size_t>(view.state)].data());
    if (view.state == SpanState::kStack)
      add(", %u of %u slots of %u bytes out", view.out, view.capacity, view.slot_bytes);
    add("\n");
  }
  void slot(const SlotView& view) override { slots_.push_back(view); }
  void fault(WalkFault fault, uintptr_t address) override {
    add("damaged at +0x%06" PRIx64 ": %s\n", offset(address), kWalkFaultNames[static_cast<size_t>(fault)].data());
  }

  // In the order of addresses, neighbours of one kind in one line.
  void add_slots() {
    std::sort(slots_.begin(), slots_.end(), [](const SlotView& a, const SlotView& b) { return a.lo < b.lo; });
    for (size_t i = 0; i < slots_.size();) {
      const SlotView& first = slots_[i];
      size_t count = 1;
      while (i + count < slots_.size() && slots_[i + count].lo == first.lo + count * first.bytes &&
             slots_[i + count].bytes == first.bytes && slots_[i + count].place == first.place &&
             slots_[i + count].proc == first.proc) {
        ++count;
      }
      add("slots +0x%06" PRIx64 " %zu of %zu bytes %s", offset(first.lo), count, first.bytes,
          kSlotPlaceNames[static_cast<size_t>(first.place)].data());
      if (first.proc != kNoProc) add(" by p%d", first.proc);
      add("\n");
      i += count;
    }
  }

  void add_goroutine(const Goroutine& goroutine) {
    const Stack stack = goroutine.stack();
    if (!goroutine.alive() && !stack) return;
    add("g%u %s, stack +0x%06" PRIx64 " of %zu bytes", goroutine.id(),
        kGoStatusNames[static_cast<size_t>(goroutine.status())].data(), offset(stack.lo), stack.bytes());
    for (size_t kind = 0; kind < kRootKinds; ++kind) {
      const uintptr_t root = goroutine.root(static_cast<RootKind>(kind));
      if (root != 0) add(", %s +0x%06" PRIx64, kRootNames[kind].data(), offset(root));
    }
    if (goroutine.alive()) add(", contents %016" PRIx64, contents(stack.hi, goroutine.sp()));
    add("\n");
  }

  // Of the words from sp to hi, if these are places in the arena.
  uint64_t contents(uintptr_t hi, uintptr_t sp) const {
    uint64_t hash = 0;
    if (!in_arena(sp) || !in_arena(hi - 1)) return hash;
    for (uintptr_t at = sp; at < hi; at += sizeof(uint64_t)) {
      hash = (hash ^ offset(Goroutine::read(at))) * 0x9e3779b97f4a7c15u;
      hash ^= hash >> 32;
    }
    return hash;
  }

  void add_held(int marker, const Held& held) {
    if (held.pointer == 0) return;
    add("m%d holds +0x%06" PRIx64 ", %s of g%u; that is %s now\n", marker, offset(held.pointer),
        kRootNames[static_cast<size_t>(held.kind)].data(), held.goroutine,
        kSpanStateNames[static_cast<size_t>(pool_.locate(held.pointer).state)].data());
  }

  const AnyPool& pool_;
  std::vector<SlotView> slots_;
  std::string text_;
};

}  // namespace stackdrain
