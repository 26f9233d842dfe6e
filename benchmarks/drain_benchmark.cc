// drain_benchmark: one drain under Google Benchmark, manual time: the pause's part of it, with the rest as counters
//
// Every policy and way of holding the lock x number of stacks x stack size x order. --benchmark_filter selects; with
// --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true it alternates.
#include <benchmark/benchmark.h>

#include <string>

#include "benchmarks/benchmark_main.h"
#include "benchmarks/drain_study.h"

namespace stackdrain {
namespace {

void drain(benchmark::State& state, const DrainCase& drain_case) {
  static CacheFlusher flusher;
  DrainRig rig(drain_case, 1);
  rig.run(flusher, CacheState::kCold);
  double after = 0;
  double enqueue = 0;
  double chase = 0;
  DrainSample last;
  for ([[maybe_unused]] auto _ : state) {
    last = rig.run(flusher, CacheState::kCold);
    state.SetIterationTime(last.pause_ns / 1e9);
    after += last.after_ns;
    enqueue += last.enqueue_ns;
    chase += last.chase_ns;
  }
  const double runs = static_cast<double>(state.iterations());
  state.counters["stacks"] = static_cast<double>(drain_case.stacks);
  state.counters["after_ns"] = after / runs;
  state.counters["enqueue_ns"] = enqueue / runs;
  state.counters["chase_ns"] = chase / runs;
  state.counters["held_bytes"] = static_cast<double>(last.held_bytes);
  state.counters["locks"] = static_cast<double>(last.locks_taken);
  state.counters["spans_released"] = static_cast<double>(last.spans_released);
}

void register_all() {
  for (const Variant& variant : all_variants({})) {
    if (variant.by_mutators) continue;
    for (const size_t bytes : {size_t{2048}, size_t{8192}, size_t{32768}}) {
      for (size_t stacks = 16; stacks <= size_t{1} << 20; stacks *= 16) {
        for (const bool random : {true, false}) {
          const DrainCase drain_case{.variant = variant, .stacks = stacks, .bytes = bytes, .random = random};
          std::string name = "drain/" + std::string(variant.policy->name);
          if (!variant.name.empty()) name += ":" + variant.name;
          name += "/stacks:" + std::to_string(stacks) + "/bytes:" + std::to_string(bytes) +
                  (random ? "/random" : "/address");
          benchmark::RegisterBenchmark(name.c_str(),
                                       [drain_case](benchmark::State& state) { drain(state, drain_case); })
              ->UseManualTime()
              ->Iterations(stacks >= 65536 ? 3 : 20);
        }
      }
    }
  }
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  return stackdrain::benchmark_main(argc, argv, stackdrain::register_all);
}
