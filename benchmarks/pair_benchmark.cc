// pair_benchmark: an allocation and its free, hot, LIFO, FIFO and random, on one and two threads, every policy
//
// Manual time is nanoseconds of a pair. Beside the policies stand glibc's malloc and the least that a pair can cost, a
// list of free blocks a thread. Other allocators replace malloc for a whole process: `./stackdrain bench --pairs`.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "benchmarks/benchmark_main.h"
#include "benchmarks/pair_allocators.h"
#include "benchmarks/pair_study.h"
#include "target/arena.h"
#include "target/drain/policies.h"

namespace stackdrain {
namespace {

constexpr size_t kPairs = 100'000;

struct PairCase {
  PairPattern pattern;
  int threads;
  size_t bytes;
};

template <class Allocator>
void measure(benchmark::State& state, Allocator& allocator, const PairCase& pair_case) {
  for ([[maybe_unused]] auto _ : state) {
    state.SetIterationTime(pair_ns(allocator, pair_case.pattern, pair_case.threads, pair_case.bytes, kPairs) / 1e9);
  }
}

void measure_policy(benchmark::State& state, const PolicyRow& policy, const PairCase& pair_case) {
  Arena arena(size_t{64} << 20);
  const std::unique_ptr<AnyPool> pool = policy.make(arena);
  pool->reset(go119_preset());
  PoolPairs pairs(*pool);
  measure(state, pairs, pair_case);
}

template <class Allocator>
void measure_new(benchmark::State& state, const PairCase& pair_case) {
  Allocator allocator;
  measure(state, allocator, pair_case);
}

template <class Measure>
void add(std::string_view allocator, const Measure& how) {
  for (const size_t bytes : kPairSizes) {
    for (const int threads : kPairThreads) {
      for (size_t pattern = 0; pattern < std::size(kPairPatterns); ++pattern) {
        const std::string name = "pair/" + std::string(allocator) + "/" + std::string(kPairPatterns[pattern]) +
                                 "/threads:" + std::to_string(threads) + "/bytes:" + std::to_string(bytes);
        const PairCase pair_case{static_cast<PairPattern>(pattern), threads, bytes};
        benchmark::RegisterBenchmark(name.c_str(), [how, pair_case](benchmark::State& state) { how(state, pair_case); })
            ->UseManualTime()
            ->Iterations(5);
      }
    }
  }
}

void register_all() {
  add("free-list", measure_new<FreeListPairs>);
  add("glibc", measure_new<MallocPairs>);
  for (const PolicyRow& policy : policies()) {
    add(policy.name,
        [&policy](benchmark::State& state, const PairCase& pair_case) { measure_policy(state, policy, pair_case); });
  }
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  return stackdrain::benchmark_main(argc, argv, stackdrain::register_all);
}
