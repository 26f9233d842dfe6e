#include "benchmarks/recorder.h"

#include <gtest/gtest.h>

namespace stackdrain {
namespace {

TEST(Histogram, BucketsAreNarrowAndInOrder) {
  uint64_t last = 0;
  for (size_t bucket = 0; bucket + 1 < size_t{40} * 64; ++bucket) {
    const uint64_t upper = Histogram::upper_of(bucket);
    EXPECT_EQ(Histogram::bucket_of(upper), bucket);
    EXPECT_EQ(Histogram::bucket_of(upper + 1), bucket + 1);
    if (bucket > 64) {
      EXPECT_LE(static_cast<double>(upper - last), 0.016 * static_cast<double>(upper) + 1);
    }
    last = upper;
  }
}

TEST(Histogram, QuantilesAndMax) {
  Histogram histogram;
  for (int i = 1; i <= 1000; ++i) histogram.record(i);
  EXPECT_EQ(histogram.count(), 1000u);
  EXPECT_EQ(histogram.max(), 1000u);
  EXPECT_NEAR(static_cast<double>(histogram.quantile(0.5)), 500, 8);
  EXPECT_EQ(histogram.quantile(1), 1000u);
}

TEST(Histogram, CorrectionAddsWhatWaited) {
  Histogram histogram;
  histogram.record(10, 99);
  histogram.record(1000);
  const Histogram corrected = histogram.corrected(100);
  EXPECT_EQ(corrected.count(), 100u + 9u);  // 900, 800 … 100 waited behind the slow one
  EXPECT_EQ(histogram.corrected(0).count(), 100u);
}

TEST(Histogram, JsonHoldsEverySample) {
  Histogram histogram;
  histogram.record(5, 3);
  histogram.record(70000);
  const nlohmann::json json = histogram.to_json();
  EXPECT_EQ(json["count"], 4);
  EXPECT_EQ(json["buckets"].size(), 2u);
  EXPECT_EQ(json["buckets"][0][0], 5);
  EXPECT_EQ(json["buckets"][0][1], 3);
  EXPECT_EQ(json["max"], 70000);
}

TEST(Median, OddAndEven) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(median({}), 0);
}

}  // namespace
}  // namespace stackdrain
