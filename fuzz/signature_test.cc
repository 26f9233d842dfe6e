#include "fuzz/signature.h"

#include <gtest/gtest.h>

#include "fuzz/testing.h"
#include "target/defects.h"

namespace stackdrain {
namespace {

std::string signature(std::string_view text, std::string_view policy) {
  const std::vector<uint8_t> bytes = parsed(text);
  const Verdict& verdict = walking_machine().run({bytes.data(), bytes.size()}, *find_policy(policy));
  return verdict.violated ? signature_of(verdict).data() : "";
}

constexpr std::string_view kRace = "spawn g1 16K\nblock g1 recv\ngc-begin 2\nload m0 g1 elem\n";

// Other goroutines, markers, sizes, neighbours, and who runs the root job: the same bug.
TEST(Signature, OneBugHasOne) {
  const std::string race(kRace);
  EXPECT_EQ(signature(race + "shrink m1 g1\n", "immediate"), "A3@shrink/elem");
  EXPECT_EQ(signature(race + "gc-mark m1 16\n", "immediate"), "A3@shrink/elem");
  EXPECT_EQ(signature(race + "gc-end\n", "immediate"), "A3@shrink/elem");
  EXPECT_EQ(signature(race, "immediate"), "A3@shrink/elem") << "at the program's end";
  EXPECT_EQ(
      signature("spawn g0 2K\nspawn g7 64K\nspawn g5 2K\nblock g7 select\ngc-begin 3\nload m2 g7 elem\nshrink m0 g7",
                "immediate"),
      "A3@shrink/elem");
#if STACKDRAIN_YIELDS
  EXPECT_EQ(signature(race + "at free 1\nshrink m1 g1\nresolve m0\n", "immediate"), "A3@shrink/elem");
#endif
}

TEST(Signature, AnotherRecordIsAnotherBug) {
  EXPECT_EQ(signature("spawn g1 16K\nblock g1 select\ngc-begin 2\nload m0 g1 selectdone\nshrink m1 g1\n", "immediate"),
            "A3@shrink/selectdone");
}

TEST(Signature, SaysWhatAMessageIsAbout) {
  std::array<char, 32> buffer{};
  EXPECT_EQ(topic_of("g1, frame 0: value at +0xffe0 is 0x0, not 0x3", buffer), "value");
  EXPECT_EQ(topic_of("the stack at +0x8000 (2048 bytes, p0) is both cached and live", buffer), "live+cached");
  EXPECT_EQ(topic_of("the stack at +0x8000 (2048 bytes, p0) is both deferred and pool-free", buffer),
            "pool-free+deferred");
  EXPECT_EQ(topic_of("g1's canary word 0 at +0x8000 is 0x0", buffer), "canary");
  EXPECT_EQ(topic_of("a slot list is damaged", buffer), "slot");
  EXPECT_EQ(topic_of("nothing that has a name", buffer), "");
}

TEST(Signature, OfADifferenceAndOfAStop) {
  const PolicyRow& row = policies()[0];
  std::vector<uint8_t> bytes;
  ASSERT_FALSE(parse_text("spawn g0 2K\nexit g0", bytes).has_value());
  Difference difference;
  difference.left = difference.right = &row;
  difference.index = 1;
  EXPECT_STREQ(signature_of({bytes.data(), bytes.size()}, difference, {}).data(), "G2@exit/answer");
  difference.index = 2;
  EXPECT_STREQ(signature_of({bytes.data(), bytes.size()}, difference, {}).data(), "G2@end/state");
  EXPECT_STREQ(signature_of_stop(Op::kDrain, nullptr).data(), "stop@drain");
}

#if STACKDRAIN_DEFECTS
TEST(Signature, WhateverThePolicy) {
  planted_defect = Defect::kImmediateFree;
  const std::string serial = signature(std::string(kRace) + "shrink m1 g1\n", "serial");
  planted_defect = Defect::kRootKindMissed;
  const std::string missed = signature("spawn g1 16K\nblock g1 select\ngc-begin 1\nshrink m0 g1\n", "serial");
  const std::string grown = signature("spawn g1 16K\nblock g1 select\ngc-begin 1\nshrink m0 g1\n", "sorted-batch");
  planted_defect = Defect::kNone;
  EXPECT_EQ(serial, "A3@shrink/elem");
  EXPECT_EQ(missed, "D1@shrink/selectdone");
  EXPECT_EQ(grown, missed);
}
#endif

}  // namespace
}  // namespace stackdrain
