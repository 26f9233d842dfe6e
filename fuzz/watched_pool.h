// WatchedPool: hands each call on to a pool, and tells of stacks when they become somebody's and when they are given
// up.
#pragma once

#include "target/any_pool.h"

namespace stackdrain {

class StackWatcher {
 public:
  virtual void issued(Stack stack) = 0;    // allocate has returned it
  virtual void given_up(Stack stack) = 0;  // free or retire is about to be told of it

 protected:
  ~StackWatcher() = default;
};

class WatchedPool final : public AnyPool {
 public:
  explicit WatchedPool(StackWatcher& watcher) : watcher_(watcher) {}
  void watch(AnyPool& pool) { pool_ = &pool; }

  void reset(const PoolParams& params) override { pool_->reset(params); }
  Stack allocate(Proc proc, size_t bytes) override {
    const Stack stack = pool_->allocate(proc, bytes);
    if (stack) watcher_.issued(stack);
    return stack;
  }
  void free(Proc proc, Stack stack) override {
    watcher_.given_up(stack);
    pool_->free(proc, stack);
  }
  void retire(Proc proc, Stack stack, RetireWhy why) override {
    watcher_.given_up(stack);
    pool_->retire(proc, stack, why);
  }
  Stack halve(Stack stack) override {
    // The lower half may be somebody else's before halve returns.
    const Stack lower{stack.lo, stack.lo + stack.bytes() / 2};
    watcher_.given_up(lower);
    const Stack upper = pool_->halve(stack);
    if (!upper) watcher_.issued(lower);
    return upper;
  }
  void flush_cache(Proc proc) override { pool_->flush_cache(proc); }
  void begin_cycle(CycleKind kind) override { pool_->begin_cycle(kind); }
  void reading(Reader reader) override { pool_->reading(reader); }
  void quiescent(Reader reader) override { pool_->quiescent(reader); }
  size_t reclaim() override { return pool_->reclaim(); }
  void end_mark() override { pool_->end_mark(); }
  size_t help() override { return pool_->help(); }
  void restarted() override { pool_->restarted(); }
  size_t drain_step(size_t budget) override { return pool_->drain_step(budget); }
  bool drain_pending() const override { return pool_->drain_pending(); }
  uintptr_t allocate_heap(uint32_t pages, bool zeroed) override { return pool_->allocate_heap(pages, zeroed); }
  void free_heap(uintptr_t base) override { pool_->free_heap(base); }
  uint64_t release_idle() override { return pool_->release_idle(); }
  void note_written(uintptr_t lo, size_t bytes) override { pool_->note_written(lo, bytes); }
  Location locate(uintptr_t address) const override { return pool_->locate(address); }
  PoolStats stats() const override { return pool_->stats(); }
  void walk(WalkVisitor& visitor) const override { pool_->walk(visitor); }
  const PoolParams& params() const override { return pool_->params(); }
  uintptr_t arena_base() const override { return pool_->arena_base(); }
  size_t arena_mapped() const override { return pool_->arena_mapped(); }

 private:
  StackWatcher& watcher_;
  AnyPool* pool_ = nullptr;
};

}  // namespace stackdrain
