#include "benchmarks/drain_study.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string_view>

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

// malloc's stacks, moved so that none is aligned to a page: which malloc it is (TSan has its own) must not matter.
class UnalignedPool {
 public:
  static constexpr std::string_view kSummary = "malloc, never aligned to a page";

  Stack allocate(size_t bytes) {
    const Stack all = malloc_.allocate(bytes + 2 * kShift);
    const uintptr_t lo = all.lo % (2 * kShift) == 0 ? all.lo + kShift : all.lo;
    blocks_[lo] = all;
    return {lo, lo + bytes};
  }
  void free(Stack stack) {
    const auto block = blocks_.extract(stack.lo);
    if (!block.empty()) malloc_.free(block.mapped());
  }

 private:
  static constexpr uintptr_t kShift = 16;
  MallocPool malloc_;
  std::map<uintptr_t, Stack> blocks_;
};

// A pool that is not ours: its stacks lie anywhere.
TEST(DrainStudy, APoolThatIsNotOursIsMeasuredToo) {
  static constexpr PolicyRow kForeign = foreign_row<UnalignedPool>("unaligned", "a test");
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
