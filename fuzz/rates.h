// What the two programs that measure harnesses share (throughput.cc, schedule_throughput.cc): seeds and command line.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace stackdrain {

inline constexpr uint32_t kMeasured = 1;     // the first of its seeds
inline constexpr uint32_t kTrained = 10001;  // a profile of what is measured would flatter
inline constexpr int kTrainings = 16;        // of each input

// `PROGRAM [SECONDS]` measures each row so long, `PROGRAM train` runs what a profile is made of. The exit code.
inline int measure_or_train(int argc, char** argv, int (*measure)(double seconds), int (*train)()) {
  if (argc > 1 && std::string_view(argv[1]) == "train") return train();
  return measure(argc > 1 ? std::atof(argv[1]) : 1.0);
}

}  // namespace stackdrain
