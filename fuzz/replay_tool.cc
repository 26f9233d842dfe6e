#include "fuzz/replay_tool.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <memory>

#include "fuzz/replay.h"
#include "fuzz/tool.h"
#include "target/params.h"

namespace stackdrain {
namespace {

// Rows printed of a long replay: the first and last few, and some between.
constexpr size_t kShownCycles = 12;

PoolParams preset_named(const std::string& name) {
  std::string known;
  for (const PresetRow& row : kPresets) {
    if (row.name == name) return row.make();
    known += " " + std::string(row.name);
  }
  throw InputError("unknown preset '" + name + "'; there are:" + known);
}

double percent_off(const SpansTaken& taken) {
  return taken.real == 0 ? 0 : 100.0 * (static_cast<double>(taken.ours) / static_cast<double>(taken.real) - 1);
}

void print_cycles(const ReplayResult& result, bool all) {
  std::printf("  %6s %8s %8s %7s %7s %7s %7s %12s %11s %10s\n", "cycle", "allocs", "frees", "grows", "shrinks", "spans",
              "real", "held bytes", "stack KiB", "violations");
  const size_t count = result.cycles.size();
  const size_t stride = all || count <= kShownCycles ? 1 : count / kShownCycles;
  for (size_t i = 0; i < count; i += (i + stride < count || i + 1 == count) ? stride : count - 1 - i) {
    const CycleRow& row = result.cycles[i];
    std::printf("  %6" PRIu64 " %8" PRIu64 " %8" PRIu64 " %7" PRIu64 " %7" PRIu64 " %7" PRIu64 " %7" PRIu64
                " %12" PRIu64 " %11" PRIu64 " %10" PRIu64 "\n",
                row.cycle, row.allocations, row.frees, row.grows, row.shrinks, row.spans, row.real_spans,
                row.held_bytes, row.stack_bytes / 1024, row.violations);
  }
  if (stride > 1) std::printf("  (every %zuth of %zu cycles; --all_cycles shows all)\n", stride, count);
}

void print_table(const Trace& trace, const PolicyRow& policy, const ReplayOptions& options,
                 const ReplayResult& result) {
  std::printf("%s under %s, preset %s: %" PRIu64 " events in %.2f s (%.2f M events/s)\n", trace.name.c_str(),
              policy.name.data(), options.preset.c_str(), result.events, result.seconds,
              static_cast<double>(result.events) / result.seconds / 1e6);
  print_cycles(result, options.all_cycles);
  std::printf("  allocations %" PRIu64 " (trace %" PRIu64 ")  frees %" PRIu64 " (trace %" PRIu64
              ")  violations %" PRIu64 "  peak held %" PRIu64 " bytes  peak stack %" PRIu64 " KiB\n",
              result.allocations, trace.allocations, result.frees, trace.frees, result.violations,
              result.peak_held_bytes, result.peak_stack_bytes / 1024);
  if (result.violations != 0) std::printf("  first violation: %s\n", result.first_violation.c_str());
  std::printf("  spans held at cycles' ends: real mean %.1f, ours off by %.2f on average; taken by size (ours/real):",
              result.real_spans_mean, result.spans_mean_abs_error);
  for (const auto& [size, taken] : result.taken) {
    std::printf("  %" PRIu64 "K %" PRIu64 "/%" PRIu64 " (%+.1f %%)", size / 1024, taken.ours, taken.real,
                percent_off(taken));
  }
  std::printf("\n");
  double pause = 0;
  double drain = 0;
  for (const double ns : result.pause_ns) pause += ns;
  for (const double ns : result.drain_ns) drain += ns;
  std::printf("  %s speed: in the pauses %.1f us altogether, after the restarts %.1f us\n",
              options.recorded > 0 ? "recorded" : "maximal", pause / 1e3, drain / 1e3);
}

double quantile(std::vector<double>& sorted, double q) {
  return sorted.empty() ? 0 : sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1))];
}

void print_numbers(const char* name, const std::vector<double>& numbers) {
  std::printf(",\"%s\":[", name);
  for (size_t i = 0; i < numbers.size(); ++i) std::printf("%s%.0f", i == 0 ? "" : ",", numbers[i]);
  std::printf("]");
}

void print_calls(std::vector<double> calls) {
  std::sort(calls.begin(), calls.end());
  std::printf(",\"call_ns\":{\"p50\":%.0f,\"p99\":%.0f,\"p999\":%.0f,\"max\":%.0f,\"count\":%zu}", quantile(calls, 0.5),
              quantile(calls, 0.99), quantile(calls, 0.999), quantile(calls, 1), calls.size());
}

void print_json(const Trace& trace, const PolicyRow& policy, const ReplayOptions& options, const ReplayResult& result) {
  std::printf(
      "{\"trace\":%s,\"policy\":\"%s\",\"preset\":\"%s\",\"seconds\":%.6f,\"events\":%" PRIu64
      ",\"allocations\":%" PRIu64 ",\"frees\":%" PRIu64 ",\"trace_allocations\":%" PRIu64 ",\"trace_frees\":%" PRIu64
      ",\"cycles\":%zu,\"violations\":%" PRIu64 ",\"peak_held_bytes\":%" PRIu64 ",\"peak_stack_bytes\":%" PRIu64
      ",\"fidelity\":{\"spans_mean\":%.3f,\"spans_mean_abs_error\":%.3f,"
      "\"taken_error_percent\":{",
      json_string(trace.name).c_str(), policy.name.data(), options.preset.c_str(), result.seconds, result.events,
      result.allocations, result.frees, trace.allocations, trace.frees, result.cycles.size(), result.violations,
      result.peak_held_bytes, result.peak_stack_bytes, result.real_spans_mean, result.spans_mean_abs_error);
  const char* comma = "";
  for (const auto& [size, taken] : result.taken) {
    std::printf("%s\"%" PRIu64 "\":%.3f", comma, size, percent_off(taken));
    comma = ",";
  }
  std::printf("}},\"speed\":\"%s\"", options.recorded > 0 ? "recorded" : "maximal");
  print_numbers("pause_ns", result.pause_ns);
  print_numbers("drain_ns", result.drain_ns);
  if (options.recorded > 0) print_calls(result.call_ns);
  std::printf("}\n");
}

// One pass over the trace, each row under every policy in turn; the violations.
uint64_t replay_recorded(const Trace& trace, const std::vector<const PolicyRow*>& rows, const PoolParams& params,
                         const ReplayOptions& options) {
  std::vector<std::unique_ptr<Arena>> arenas;
  std::vector<std::unique_ptr<AnyPool>> pools;
  std::vector<AnyPool*> asked;
  for (const PolicyRow* policy : rows) {
    arenas.push_back(std::make_unique<Arena>(kReplayArenaBytes));
    pools.push_back(policy->make(*arenas.back()));
    asked.push_back(pools.back().get());
  }
  uint64_t violations = 0;
  const std::vector<ReplayResult> results = replay_as_recorded(trace, asked, params);
  for (size_t i = 0; i < rows.size(); ++i) {
    violations += results[i].violations;
    (options.json ? print_json : print_table)(trace, *rows[i], options, results[i]);
  }
  return violations;
}

}  // namespace

int replay_verb(const std::vector<std::string>& files, const ReplayOptions& options) {
  if (files.empty()) throw InputError("replay wants a trace: stackdrain replay TRACE.csv[.zst] [--policy P|all]");
  const std::vector<const PolicyRow*> rows = choose_policies(options.policy);
  const PoolParams params = preset_named(options.preset);
  uint64_t violations = 0;
  for (const std::string& path : files) {
    Trace trace;
    try {
      trace = read_trace(path);
    } catch (const TraceError& error) {
      throw InputError(error.what());
    }
    if (trace.peak_bytes > kReplayArenaBytes / 2) {
      throw InputError(path + ": has " + std::to_string(trace.peak_bytes >> 20) +
                       " MiB of stacks live at a time; replay has room for " +
                       std::to_string(kReplayArenaBytes / 2 >> 20) + "; choose a smaller trace");
    }
    if (options.recorded > 0) {
      const double seconds = recorded_seconds(trace);
      if (seconds <= options.recorded) {
        violations += replay_recorded(trace, rows, params, options);
      } else if (!options.json) {
        std::printf("%s: left out, it took %.1f s to record\n", trace.name.c_str(), seconds);
      }
      continue;
    }
    for (const PolicyRow* policy : rows) {
      Arena arena(kReplayArenaBytes);
      const std::unique_ptr<AnyPool> pool = policy->make(arena);
      const ReplayResult result = replay(trace, *pool, params);
      violations += result.violations;
      (options.json ? print_json : print_table)(trace, *policy, options, result);
    }
  }
  return violations == 0 ? 0 : 1;
}

}  // namespace stackdrain
