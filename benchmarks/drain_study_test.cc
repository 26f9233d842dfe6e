#include "benchmarks/drain_study.h"

#include <gtest/gtest.h>

#include <optional>

#include "target/foreign/foreign.h"
#include "target/foreign/malloc_pool.h"

namespace stackdrain {
namespace {

TEST(DrainRig, EveryVariantDrainsAllItRetired) {
  CacheFlusher flusher;
  for (const Variant& variant : all_variants({})) {
    for (const bool half : {false, true}) {
      DrainRig rig({.variant = variant, .stacks = 200, .bytes = 4096, .half = half}, 7);
      for (const CacheState cache : {CacheState::kCold, CacheState::kWarm, CacheState::kCold}) {
        const DrainSample sample = rig.run(flusher, cache);
        if (variant.policy->claims.defers_shrunk) {
          EXPECT_EQ(sample.held_bytes, variant.policy->claims.frees_after_grace ? 0 : 200u * 4096)
              << variant.policy->name;
        }
        EXPECT_GT(sample.chase_ns, 0) << variant.policy->name;
      }
    }
  }
}

// A pool that is not ours: its stacks come from malloc, so they lie anywhere, aligned to 16 bytes.
TEST(DrainStudy, APoolThatIsNotOursIsMeasuredToo) {
  static constexpr PolicyRow kForeign = foreign_row<MallocPool>("malloc", "a test");
  const Variant variant{.policy = &kForeign, .name = ""};
  EXPECT_EQ(stacks_touched_by_retire(variant, 16, 4096), std::nullopt);
  CacheFlusher flusher;
  DrainRig rig({.variant = variant, .stacks = 16, .bytes = 4096}, 1);
  const DrainSample sample = rig.run(flusher, CacheState::kCold);
  EXPECT_EQ(sample.held_bytes, 16 * 4096u);
  EXPECT_GT(sample.pause_ns, 0);
}

TEST(Touched, ALinkInEachStackIsSeenAndAListOfNumbersIsNot) {
  const auto touched = [](const char* policy) {
    return stacks_touched_by_retire(all_variants({policy}).front(), 256, 4096).value();
  };
  EXPECT_EQ(touched("serial"), 256u);
  EXPECT_EQ(touched("sorted-batch"), 0u);
  EXPECT_EQ(touched("bitmap"), 0u);
}

TEST(Variants, ThosePoliciesThatLeaveWorkComeInEachHold) {
  size_t of_after_restart = 0;
  for (const Variant& variant : all_variants({"after-restart"})) {
    EXPECT_EQ(variant.policy->name, "after-restart");
    ++of_after_restart;
  }
  EXPECT_EQ(of_after_restart, 4u);
  EXPECT_EQ(all_variants({"serial"}).size(), 1u);
}

}  // namespace
}  // namespace stackdrain
