// LyingPool: an honest pool with one lie in it, for tests of whoever must see through it.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "target/any_pool.h"

namespace stackdrain {

// Each lie is applied to what the honest pool says; one that is not set lies not.
struct Lies {
  std::function<Stack(Stack)> allocate = nullptr;
  std::function<SpanView(SpanView)> span = nullptr;
  std::function<SlotView(SlotView)> slot = nullptr;
  std::function<PoolStats(PoolStats)> stats = nullptr;
  std::function<size_t(size_t)> mapped = nullptr;
  std::function<Location(uintptr_t, Location)> locate = nullptr;
  bool keeps_stacks = false;  // frees nothing
  bool remembers = false;     // something that a walk does not show
};

class LyingPool final : public AnyPool {
 public:
  LyingPool(std::unique_ptr<AnyPool> honest, Lies lies) : honest_(std::move(honest)), lies_(std::move(lies)) {}

  void reset(const PoolParams& params) override { honest_->reset(params); }
  Stack allocate(Proc proc, size_t bytes) override {
    const Stack stack = honest_->allocate(proc, bytes);
    return lies_.allocate ? lies_.allocate(stack) : stack;
  }
  void free(Proc proc, Stack stack) override {
    if (!lies_.keeps_stacks) honest_->free(proc, stack);
  }
  void retire(Proc proc, Stack stack, RetireWhy why) override {
    if (!lies_.keeps_stacks) honest_->retire(proc, stack, why);
  }
  Stack halve(Stack) override { return {}; }
  void flush_cache(Proc proc) override { honest_->flush_cache(proc); }
  void begin_cycle(CycleKind kind) override { honest_->begin_cycle(kind); }
  void reading(Reader reader) override { honest_->reading(reader); }
  void quiescent(Reader reader) override { honest_->quiescent(reader); }
  size_t reclaim() override { return honest_->reclaim(); }
  void end_mark() override { honest_->end_mark(); }
  size_t help() override { return honest_->help(); }
  void restarted() override { honest_->restarted(); }
  size_t drain_step(size_t budget) override { return honest_->drain_step(budget); }
  bool drain_pending() const override { return honest_->drain_pending(); }
  uintptr_t allocate_heap(uint32_t pages, bool zeroed) override { return honest_->allocate_heap(pages, zeroed); }
  void free_heap(uintptr_t base) override { honest_->free_heap(base); }
  uint64_t release_idle() override { return honest_->release_idle(); }
  void note_written(uintptr_t lo, size_t bytes) override { honest_->note_written(lo, bytes); }
  Location locate(uintptr_t address) const override {
    const Location at = honest_->locate(address);
    return lies_.locate ? lies_.locate(address, at) : at;
  }
  PoolStats stats() const override { return lies_.stats ? lies_.stats(honest_->stats()) : honest_->stats(); }
  void walk(WalkVisitor& visitor) const override {
    LyingVisitor lying(lies_, visitor);
    honest_->walk(lying);
    if (lies_.remembers && visitor.wants_hidden()) visitor.hidden(1);
  }
  const PoolParams& params() const override { return honest_->params(); }
  uintptr_t arena_base() const override { return honest_->arena_base(); }
  size_t arena_mapped() const override {
    return lies_.mapped ? lies_.mapped(honest_->arena_mapped()) : honest_->arena_mapped();
  }

 private:
  class LyingVisitor final : public WalkVisitor {
   public:
    LyingVisitor(const Lies& lies, WalkVisitor& told) : lies_(lies), told_(told) {}
    void span(const SpanView& view) override { told_.span(lies_.span ? lies_.span(view) : view); }
    void slot(const SlotView& view) override { told_.slot(lies_.slot ? lies_.slot(view) : view); }
    void fault(WalkFault fault, uintptr_t address) override { told_.fault(fault, address); }
    bool wants_hidden() const override { return told_.wants_hidden(); }
    bool wants_slots() const override { return told_.wants_slots(); }
    void hidden(uint64_t word) override { told_.hidden(word); }

   private:
    const Lies& lies_;
    WalkVisitor& told_;
  };

  std::unique_ptr<AnyPool> honest_;
  Lies lies_;
};

}  // namespace stackdrain
