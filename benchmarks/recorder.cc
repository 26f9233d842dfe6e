#include "benchmarks/recorder.h"

#include <ctime>

#include <algorithm>

namespace stackdrain {

int64_t thread_cpu_ns() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

ClockQuality measure_clock() {
  constexpr int kReads = 20000;
  std::vector<double> gaps;
  gaps.reserve(kReads);
  for (int i = 0; i < kReads; ++i) {
    const int64_t first = now_ns();
    gaps.push_back(static_cast<double>(now_ns() - first));
  }
  ClockQuality quality;
  quality.overhead_ns = median(gaps);
  quality.step_ns = 1e9;
  std::sort(gaps.begin(), gaps.end());
  for (size_t i = 1; i < gaps.size(); ++i) {
    if (gaps[i] > gaps[i - 1]) quality.step_ns = std::min(quality.step_ns, gaps[i] - gaps[i - 1]);
  }
  return quality;
}

void Histogram::merge(const Histogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
  total_ += other.total_;
  max_ = std::max(max_, other.max_);
}

Histogram Histogram::corrected(int64_t expected_ns) const {
  Histogram corrected = *this;
  if (expected_ns <= 0) return corrected;
  for (size_t bucket = 0; bucket < kBuckets; ++bucket) {
    if (counts_[bucket] == 0) continue;
    const auto value = static_cast<int64_t>(std::min(upper_of(bucket), max_));
    for (int64_t waited = value - expected_ns; waited >= expected_ns; waited -= expected_ns) {
      corrected.record(waited, counts_[bucket]);
    }
  }
  return corrected;
}

uint64_t Histogram::quantile(double q) const {
  const double wanted = q * static_cast<double>(total_);
  double seen = 0;
  for (size_t bucket = 0; bucket < kBuckets; ++bucket) {
    seen += static_cast<double>(counts_[bucket]);
    if (counts_[bucket] != 0 && seen >= wanted) return std::min(upper_of(bucket), max_);
  }
  return max_;
}

nlohmann::json Histogram::to_json() const {
  nlohmann::json buckets = nlohmann::json::array();
  for (size_t bucket = 0; bucket < kBuckets; ++bucket) {
    if (counts_[bucket] != 0) buckets.push_back({std::min(upper_of(bucket), max_), counts_[bucket]});
  }
  return {{"unit", "ns"}, {"count", total_}, {"buckets", buckets}, {"max", max_}};
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle), values.end());
  const double upper = values[middle];
  if (values.size() % 2 != 0) return upper;
  return (upper + *std::max_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle))) / 2;
}

}  // namespace stackdrain
