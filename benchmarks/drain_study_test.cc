#include "benchmarks/drain_study.h"

#include <gtest/gtest.h>

#include "benchmarks/pause_study.h"

namespace stackdrain {
namespace {

TEST(Chase, SeesEachStackOnceInLifoOrder) {
  alignas(16) uint64_t memory[4][2] = {};
  std::vector<Stack> stacks;
  for (auto& words : memory) {
    const auto lo = reinterpret_cast<uintptr_t>(words);
    stacks.push_back({lo, lo + sizeof words});
  }
  const uint32_t order[] = {2, 0, 3};
  const uintptr_t first = link_for_chase(stacks, order);
  EXPECT_EQ(first, stacks[3].lo);
  EXPECT_EQ(memory[3][0], stacks[0].lo);
  EXPECT_EQ(memory[0][0], stacks[2].lo);
  EXPECT_EQ(memory[2][0], 0u);
  EXPECT_EQ(chase(first), 3u);
}

TEST(DrainRig, EveryVariantDrainsAllItRetired) {
  CacheFlusher flusher;
  for (const Variant& variant : all_variants({})) {
    for (const bool half : {false, true}) {
      DrainRig rig({.variant = variant, .stacks = 200, .bytes = 4096, .half = half}, 7);
      for (int run = 0; run < 2; ++run) {
        const DrainSample sample = rig.run(flusher);
        if (variant.policy->claims.defers_shrunk) {
          EXPECT_EQ(sample.held_bytes, 200u * 4096) << variant.policy->name;
        }
        EXPECT_GT(sample.chase_ns, 0) << variant.policy->name;
      }
    }
  }
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

TEST(PauseStudy, EveryVariantShrinksAllAndDrainsAll) {
  for (const Variant& variant : all_variants({})) {
    const PauseResult result = run_pause_study({.variant = variant, .stacks = 300, .bytes = 8192, .markers = 2, .cycles = 2});
    ASSERT_EQ(result.splits.size(), 2u);
    EXPECT_GT(result.latency.count(), 0u);
    EXPECT_GT(result.hiccup.count(), 0u);
    for (const PauseSplit& split : result.splits) EXPECT_GT(split.mark_ns, 0);
    if (variant.policy->claims.defers_shrunk) {
      EXPECT_EQ(result.held[1].second, 300u * 8192) << variant.policy->name << " " << variant.name;
    }
    EXPECT_EQ(result.held.back().second, 0u) << variant.policy->name << " " << variant.name;
  }
}

}  // namespace
}  // namespace stackdrain
