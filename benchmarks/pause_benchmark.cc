// pause_benchmark: whole pauses with a real mutator under Google Benchmark; manual time is the pause, its parts
// counters
//
// After the restart: the worst single allocation or free (worst_stall_ns) beside the worst gap that the same threads
// see between two readings of the clock (worst_hiccup_ns), the 99th percentile of an allocation and a free, and how
// long the drain goes on.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>

#include "benchmarks/benchmark_main.h"
#include "benchmarks/pause_study.h"

namespace stackdrain {
namespace {

void pause(benchmark::State& state, const PauseCase& pause_case) {
  double stop = 0;
  double mark = 0;
  double drain = 0;
  double stall = 0;
  double drain_over = 0;
  Histogram latency;
  Histogram hiccup;
  for ([[maybe_unused]] auto _ : state) {
    const PauseResult result = run_pause_study(pause_case);
    const PauseSplit& split = result.splits.back();
    state.SetIterationTime((split.stop_ns + split.mark_ns + split.drain_ns + split.restart_ns) / 1e9);
    stop += split.stop_ns;
    mark += split.mark_ns;
    drain += split.drain_ns;
    stall = std::max(stall, result.stall_ns.back());
    drain_over += result.drain_over_ns.back();
    latency.merge(result.latency);
    hiccup.merge(result.hiccup);
  }
  const double runs = static_cast<double>(state.iterations());
  state.counters["stop_ns"] = stop / runs;
  state.counters["mark_ns"] = mark / runs;
  state.counters["drain_ns"] = drain / runs;
  state.counters["worst_stall_ns"] = stall;
  state.counters["worst_hiccup_ns"] = static_cast<double>(hiccup.max());
  state.counters["pair_p99_ns"] = static_cast<double>(latency.quantile(0.99));
  state.counters["drain_over_ns"] = drain_over / runs;
}

void register_all() {
  for (const Variant& variant : all_variants({})) {
    for (const size_t stacks : {size_t{1024}, size_t{16384}, size_t{102400}, size_t{262144}}) {
      const PauseCase pause_case{.variant = variant, .stacks = stacks, .bytes = 8192, .cycles = 2};
      std::string name = "pause/" + std::string(variant.policy->name);
      if (!variant.name.empty()) name += ":" + variant.name;
      name += "/stacks:" + std::to_string(stacks);
      benchmark::RegisterBenchmark(name.c_str(), [pause_case](benchmark::State& state) { pause(state, pause_case); })
          ->UseManualTime()
          ->Iterations(3);
    }
  }
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  return stackdrain::benchmark_main(argc, argv, stackdrain::register_all);
}
