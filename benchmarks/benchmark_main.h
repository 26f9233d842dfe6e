// What the Google Benchmark binaries' main() share.
#pragma once

#include <benchmark/benchmark.h>

namespace stackdrain {

// Registers, then runs what the command line asks for; 2 if it has what Google Benchmark does not know.
inline int benchmark_main(int argc, char** argv, void (*register_all)()) {
  register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace stackdrain
