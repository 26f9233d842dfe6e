// Recorder: what is measured and how it is kept: the clock, a log-bucket histogram, omission correction, JSON.
//
// A histogram takes no memory while it records: 64 buckets an octave, so a bucket is at most 1.6 % wide. Not
// thread-safe: one a thread, merged afterwards.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <vector>

#include "nlohmann/json.hpp"

namespace stackdrain {

// Nanoseconds of the steady clock.
inline int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// CPU time of the calling thread in nanoseconds.
int64_t thread_cpu_ns();

struct ClockQuality {
  double overhead_ns = 0;  // median of reading it twice in a row
  double step_ns = 0;      // smallest difference seen that is not zero
};
ClockQuality measure_clock();

class Histogram {
 public:
  void record(int64_t ns, uint64_t count = 1) {
    const uint64_t value = ns < 0 ? 0 : static_cast<uint64_t>(ns);
    counts_[bucket_of(value)] += count;
    total_ += count;
    max_ = value > max_ ? value : max_;
  }
  void merge(const Histogram& other);
  // A copy in which every sample longer than `expected_ns` also stands for the operations that would have begun, and
  // waited, during it (coordinated omission).
  Histogram corrected(int64_t expected_ns) const;
  // The value at quantile q in 0..1, in ns: the upper end of its bucket.
  uint64_t quantile(double q) const;
  uint64_t count() const { return total_; }
  uint64_t max() const { return max_; }
  // {"unit":"ns","count":n,"buckets":[[upper_ns,count]…],"max":f}
  nlohmann::json to_json() const;

  static constexpr int kSubBits = 6;
  static constexpr size_t kBuckets = size_t{64 - kSubBits} << kSubBits;
  static constexpr size_t bucket_of(uint64_t value) {
    if (value < (uint64_t{1} << kSubBits)) return static_cast<size_t>(value);
    const int octave = static_cast<int>(std::bit_width(value)) - 1 - kSubBits;
    return (static_cast<size_t>(octave) << kSubBits) + static_cast<size_t>(value >> octave);
  }
  // The largest value that falls into the bucket.
  static constexpr uint64_t upper_of(size_t bucket) {
    if (bucket < (size_t{1} << kSubBits)) return bucket;
    const int octave = static_cast<int>(bucket >> kSubBits) - 1;
    const uint64_t mantissa = bucket - (static_cast<size_t>(octave) << kSubBits);
    return ((mantissa + 1) << octave) - 1;
  }

 private:
  std::array<uint64_t, kBuckets> counts_{};
  uint64_t total_ = 0;
  uint64_t max_ = 0;
};

double median(std::vector<double> values);

}  // namespace stackdrain
