// instruction_counts POLICY BYTES: what callgrind counts, because instructions are the same in every run.
//
// One thread, one pool, 4,096 stacks of BYTES given up in one cycle in shuffled order. Each step is a function of its
// own, whose inclusive count is read from callgrind's output by name: retire (by a marker), end_mark (the pause's
// part), drain (what comes after it), release (the drain of an idle cycle after that: what was kept for a next growth),
// pair (an allocation and a free through a processor's cache).
// `./stackdrain bench --instructions` runs it for every policy and compares with benchmarks/instructions.json.
// Prints the number of stacks. Exit code 2: bad arguments.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "target/arena.h"
#include "target/drain/policies.h"

namespace stackdrain {
namespace {

constexpr size_t kStacks = 4096;

// A name that stays and a body that is not merged into its caller: callgrind finds it.
#define STACKDRAIN_MEASURED extern "C" __attribute__((noinline, used)) void

// `in_mark`: what is retired goes back there, after the root job that retired it.
STACKDRAIN_MEASURED measured_retire(AnyPool& pool, const std::vector<Stack>& stacks, bool in_mark) {
  if (!in_mark) {
    for (const Stack stack : stacks) pool.retire(kNoProc, stack, RetireWhy::kShrunk);
    return;
  }
  for (const Stack stack : stacks) {
    pool.reading(marker_reader(0));
    pool.retire(kNoProc, stack, RetireWhy::kShrunk);
    pool.quiescent(marker_reader(0));
    pool.reclaim();
  }
}

STACKDRAIN_MEASURED measured_end_mark(AnyPool& pool) {
  pool.end_mark();
}

STACKDRAIN_MEASURED measured_drain(AnyPool& pool) {
  while (pool.drain_pending()) pool.drain_step(0);
}

STACKDRAIN_MEASURED measured_release(AnyPool& pool) {
  while (pool.drain_pending()) pool.drain_step(0);
}

STACKDRAIN_MEASURED measured_pair(AnyPool& pool, size_t bytes) {
  for (size_t i = 0; i < kStacks; ++i) pool.free(0, pool.allocate(0, bytes));
}

void run(AnyPool& pool, size_t bytes, bool in_mark) {
  pool.reset(go119_preset());
  std::vector<Stack> stacks(kStacks);
  for (Stack& stack : stacks) stack = pool.allocate(kNoProc, bytes);
  std::shuffle(stacks.begin(), stacks.end(), std::mt19937(1));
  pool.begin_cycle({});
  measured_retire(pool, stacks, in_mark);
  measured_end_mark(pool);
  pool.restarted();
  measured_drain(pool);
  pool.begin_cycle({});
  pool.end_mark();
  pool.restarted();
  measured_release(pool);
  measured_pair(pool, bytes);
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  using namespace stackdrain;
  const PolicyRow* policy = argc == 3 ? find_policy(argv[1]) : nullptr;
  const size_t bytes = argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (policy == nullptr || bytes < kMinStackBytes || (bytes & (bytes - 1)) != 0) {
    std::fprintf(stderr, "usage: instruction_counts POLICY BYTES (a power of two from %zu)\n", kMinStackBytes);
    return 2;
  }
  Arena arena(kStacks * bytes * 4 + (size_t{64} << 20));
  const std::unique_ptr<AnyPool> pool = policy->make(arena);
  run(*pool, bytes, policy->claims.frees_after_grace);
  std::printf("%zu\n", kStacks);
  return 0;
}
