// trace_fuzzer: the importer of Go traces on hostile files, and the replay of what it lets through.
//
// What the importer refuses ends with one line that names file and line; what it accepts can be replayed: no violation
// under a sound policy, and as many allocations and frees as the trace has. A text is bounded here, whatever the
// engine's limit. The arena is one for the process.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/replay.h"
#include "fuzz/trace.h"
#include "target/drain/policies.h"

namespace stackdrain {
namespace {

constexpr size_t kMaxText = size_t{16} << 10;
constexpr uint64_t kMaxBytes = uint64_t{64} << 20;  // of stacks; a trace of more is parsed only

[[noreturn]] void fail(const char* what, const std::string& detail) {
  std::fprintf(stderr, "trace_fuzzer: %s: %s\n", what, detail.c_str());
  std::abort();
}

void check_message(std::string_view message) {
  if (message.find('\n') != std::string_view::npos || message.substr(0, 6) != "input:") {
    fail("an error is not one line that begins with the file's name", std::string(message));
  }
}

uint64_t bytes_of(const Trace& trace) {
  uint64_t bytes = 0;
  for (const TraceEvent& event : trace.events) bytes += event.kind == TraceKind::kAlloc ? event.a : 0;
  return bytes;
}

void check_result(const Trace& trace, const ReplayResult& result) {
  if (result.violations != 0) fail("the replay of an accepted trace violates", result.first_violation);
  if (result.allocations != trace.allocations || result.frees != trace.frees) {
    fail("the replay's counts are not the trace's",
         std::to_string(result.allocations) + " allocations of " + std::to_string(trace.allocations) + ", " +
             std::to_string(result.frees) + " frees of " + std::to_string(trace.frees));
  }
}

// At its own speed, too, with all pauses between events left out: nobody waits in a fuzzer.
void check_replay(Trace trace, AnyPool& pool) {
  if (bytes_of(trace) > kMaxBytes) return;
  check_result(trace, replay(trace, pool, go119_preset()));
  if (!std::isfinite(recorded_seconds(trace))) fail("a trace takes no time that is one", "");
  for (TraceEvent& event : trace.events) event.dns = 0;
  AnyPool* const pools[] = {&pool};
  const std::vector<ReplayResult> results = replay_as_recorded(trace, pools, go119_preset());
  check_result(trace, results.front());
  pool.reset(go119_preset());  // clearing up is part of the input that made it necessary
}

}  // namespace
}  // namespace stackdrain

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stackdrain;
  static Arena& arena = *new Arena(kReplayArenaBytes);  // lives as long as the process, as does the pool
  static AnyPool& pool = *find_policy("span-after-restart")->make(arena).release();
  const std::string_view text(reinterpret_cast<const char*>(data), std::min(size, kMaxText));
  try {
    check_replay(parse_trace(text, "input"), pool);
  } catch (const TraceError& error) {
    check_message(error.what());
  }
  return 0;
}
