// What the tests of schedules share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "fuzz/schedule.h"

namespace stackdrain {

inline std::vector<uint8_t> input_of(std::string_view text, std::vector<uint8_t> schedule = {},
                                     bool priorities = false) {
  std::vector<uint8_t> bytes = {static_cast<uint8_t>(priorities ? 1 : 0), static_cast<uint8_t>(schedule.size())};
  EXPECT_FALSE(parse_text(text, bytes));
  bytes.insert(bytes.end(), schedule.begin(), schedule.end());
  return bytes;
}

inline Scheduler& scheduler() {
  static Scheduler& instance = *new Scheduler;
  return instance;
}

inline ScheduleVerdict run(const std::vector<uint8_t>& input, std::string_view policy) {
  return scheduler().run({input.data(), input.size()}, *find_policy(policy));
}

inline std::vector<ScheduleStep> steps() {
  const auto steps = scheduler().steps();
  return {steps.begin(), steps.end()};
}

// A switch to the `who`th that can run, then `gap` points without.
constexpr uint8_t to(unsigned who, unsigned gap) {
  return static_cast<uint8_t>(who | gap << 3);
}

inline constexpr std::string_view kSeedRace =
    "spawn g1 16K\n"
    "block g1 recv\n"
    "gc-begin 2\n"
    "load m0 g1 elem\n"
    "shrink m1 g1\n"
    "resolve m0\n";

}  // namespace stackdrain
