#include "benchmarks/drain_study.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <numeric>

#include "benchmarks/recorder.h"

namespace stackdrain {
namespace {

// Does this policy hand work over to drain steps that PoolParams::drain_hold governs? Asked of a pool, not of a list.
bool holds_matter(const PolicyRow& policy) {
  Arena arena(size_t{4} << 20);
  const std::unique_ptr<AnyPool> pool = policy.make(arena);
  PoolParams params = go119_preset();
  params.drain_hold = DrainHold::kEach;
  pool->reset(params);
  Stack stacks[2] = {pool->allocate(0, kMinStackBytes), pool->allocate(0, kMinStackBytes)};
  pool->begin_cycle({});
  for (const Stack stack : stacks) pool->retire(kNoProc, stack, RetireWhy::kShrunk);
  pool->end_mark();
  pool->restarted();
  return pool->drain_pending() && pool->drain_step(0) == 1 && pool->drain_pending();
}

}  // namespace

PoolParams params_of(const Variant& variant) {
  PoolParams params = go119_preset();
  params.procs = 4;
  params.drain_hold = variant.hold;
  params.drain_batch = variant.batch;
  params.grow_chunk_bytes = size_t{16} << 20;
  return params;
}

void retire_as_marker(AnyPool& pool, const Variant& variant, Stack stack) {
  const bool in_mark = variant.policy->claims.frees_after_grace;
  if (in_mark) pool.reading(marker_reader(0));
  pool.retire(kNoProc, stack, RetireWhy::kShrunk);
  if (!in_mark) return;
  pool.quiescent(marker_reader(0));
  pool.reclaim();
}

std::vector<Variant> all_variants(const std::vector<std::string>& policy_names) {
  std::vector<Variant> variants;
  for (const PolicyRow& policy : policies()) {
    const std::string name(policy.name);
    const bool wanted =
        policy_names.empty() || std::find(policy_names.begin(), policy_names.end(), name) != policy_names.end();
    // What shrinks where it lies is not drained, and what it copies is drained as serial's: nothing to measure here.
    if (!wanted || policy.claims.shrinks_in_place) continue;
    if (!holds_matter(policy)) {
      variants.push_back({.policy = &policy, .name = ""});
      continue;
    }
    variants.push_back({.policy = &policy, .name = "whole", .hold = DrainHold::kWhole});
    variants.push_back({.policy = &policy, .name = "batch 64", .hold = DrainHold::kBatch, .batch = 64});
    variants.push_back({.policy = &policy, .name = "each", .hold = DrainHold::kEach});
    variants.push_back(
        {.policy = &policy, .name = "by mutators, 4", .hold = DrainHold::kBatch, .batch = 4, .by_mutators = true});
  }
  return variants;
}

size_t arena_bytes_of(const DrainCase& drain_case) {
  const size_t live = drain_case.stacks * (drain_case.half ? 2 : 1);
  return live * drain_case.bytes * 2 + (size_t{64} << 20);
}

size_t resident_bytes_of(const DrainCase& drain_case) {
  const size_t live = drain_case.stacks * (drain_case.half ? 2 : 1);
  return live * std::min<size_t>(drain_case.bytes, 4096);
}

void give_back_all(AnyPool& pool, const PolicyRow& policy, std::vector<Stack>& stacks) {
  for (Stack& stack : stacks) {
    if (stack && !policy.claims.tells_places) pool.free(kNoProc, stack);
    stack = {};
  }
}

std::optional<size_t> stacks_touched_by_retire(const Variant& variant, size_t stacks, size_t bytes) {
  constexpr size_t kSystemPage = 4096;
  STACKDRAIN_CHECK(bytes >= kSystemPage, "a page of memory holds several stacks");
  Arena arena(stacks * bytes * 2 + (size_t{64} << 20));
  const std::unique_ptr<AnyPool> pool = variant.policy->make(arena);
  pool->reset(params_of(variant));
  std::vector<Stack> live(stacks);
  for (Stack& stack : live) stack = pool->allocate(0, bytes);
  if (std::any_of(live.begin(), live.end(), [](Stack stack) { return !stack || stack.lo % kSystemPage != 0; })) {
    give_back_all(*pool, *variant.policy, live);
    return std::nullopt;
  }
  bool given_back = true;
  for (const Stack stack : live) {
    given_back = madvise(reinterpret_cast<void*>(stack.lo), bytes, MADV_DONTNEED) == 0 && given_back;
  }
  STACKDRAIN_CHECK(given_back, "the system takes no memory back");
  pool->begin_cycle({});
  for (const Stack stack : live) pool->retire(kNoProc, stack, RetireWhy::kShrunk);
  size_t touched = 0;
  std::vector<unsigned char> there(bytes / kSystemPage);
  for (const Stack stack : live) {
    STACKDRAIN_CHECK(mincore(reinterpret_cast<void*>(stack.lo), bytes, there.data()) == 0, "mincore");
    touched += std::any_of(there.begin(), there.end(), [](unsigned char page) { return (page & 1) != 0; }) ? 1 : 0;
  }
  pool->end_mark();
  pool->restarted();
  while (pool->drain_pending()) pool->drain_step(0);
  return touched;
}

DrainRig::DrainRig(const DrainCase& drain_case, uint32_t seed)
    : case_(drain_case), random_(seed), arena_(std::make_unique<Arena>(arena_bytes_of(drain_case))) {
  pool_ = case_.variant.policy->make(*arena_);
  pool_->reset(params_of(case_.variant));
  stacks_.resize(case_.stacks * (case_.half ? 2 : 1));
  allocate_missing();
  if (case_.aged) age();
}

DrainRig::~DrainRig() {
  give_back_all(*pool_, *case_.variant.policy, stacks_);
}

void DrainRig::allocate_missing() {
  for (Stack& stack : stacks_) {
    if (!stack) stack = pool_->allocate(0, case_.bytes);
    if (stack) continue;
    STACKDRAIN_CHECK(!case_.variant.policy->claims.tells_places, "the study's arena is too small");
    give_back_all(*pool_, *case_.variant.policy, stacks_);
    throw std::bad_alloc();
  }
}

// Frees a random half and allocates it again: the pool's lists and the stacks' addresses lose their first order. Each
// run, which retires at random and allocates again, ages the pool further.
void DrainRig::age() {
  std::shuffle(stacks_.begin(), stacks_.end(), random_);
  for (size_t i = 0; i < stacks_.size() / 2; ++i) {
    pool_->free(0, stacks_[i]);
    stacks_[i] = {};
  }
  allocate_missing();
}

void DrainRig::choose() {
  order_.resize(stacks_.size());
  std::iota(order_.begin(), order_.end(), 0u);
  std::shuffle(order_.begin(), order_.end(), random_);
  order_.resize(case_.stacks);
  if (case_.random) return;
  std::sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) { return stacks_[a].lo < stacks_[b].lo; });
}

DrainSample DrainRig::run(CacheFlusher& flusher, CacheState cache) {
  const bool cold = cache == CacheState::kCold;
  DrainSample sample;
  choose();
  const uintptr_t first = link_for_chase(stacks_, order_);
  flusher.flush(stacks_, order_, cold);
  int64_t start = now_ns();
  const size_t seen = chase(first);
  sample.chase_ns = static_cast<double>(now_ns() - start);
  STACKDRAIN_CHECK(seen == case_.stacks, "the chase must see each stack once");

  // A marker has a stack's bounds at hand when it retires it; looking them up at random is no cost of the policy's.
  given_.clear();
  for (const uint32_t index : order_) given_.push_back(stacks_[index]);
  pool_->begin_cycle({});
  start = now_ns();
  const size_t early = order_.size() - (cold ? 0 : 1);
  for (size_t i = 0; i < early; ++i) retire_as_marker(*pool_, case_.variant, given_[i]);
  sample.enqueue_ns = static_cast<double>(now_ns() - start);
  PoolStats before = pool_->stats();
  flusher.flush(stacks_, order_, cold);
  for (size_t i = early; i < order_.size(); ++i) {
    retire_as_marker(*pool_, case_.variant, given_[i]);
    before.held_bytes = pool_->stats().held_bytes;
  }
  sample.held_bytes = before.held_bytes;
  start = now_ns();
  pool_->end_mark();
  sample.pause_ns = static_cast<double>(now_ns() - start);
  pool_->restarted();
  start = now_ns();
  while (pool_->drain_pending()) pool_->drain_step(0);
  sample.after_ns = static_cast<double>(now_ns() - start);
  const PoolStats after = pool_->stats();
  sample.locks_taken = after.locks_taken - before.locks_taken;
  sample.spans_released = after.spans_released - before.spans_released;
  if (case_.variant.policy->claims.keeps_reserve) {
    sample.release_ns = drain_of_idle_cycle(flusher, cold);
    sample.spans_kept = pool_->stats().spans_released - after.spans_released;
    sample.idle_ns = drain_of_idle_cycle(flusher, cold);
  }
  for (const uint32_t index : order_) stacks_[index] = {};
  allocate_missing();
  return sample;
}

double DrainRig::drain_of_idle_cycle(CacheFlusher& flusher, bool cold) {
  pool_->begin_cycle({});
  flusher.flush(stacks_, order_, cold);
  pool_->end_mark();
  pool_->restarted();
  const int64_t start = now_ns();
  while (pool_->drain_pending()) pool_->drain_step(0);
  return static_cast<double>(now_ns() - start);
}

}  // namespace stackdrain
