#include "fuzz/stepper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "fuzz/explore.h"
#include "fuzz/testing.h"
#include "target/testing.h"

namespace stackdrain {
namespace {

std::vector<Operation> parse(std::string_view text) {
  const std::vector<uint8_t> bytes = parsed(text);
  std::vector<Operation> operations;
  operations.reserve(bytes.size() / kBytesPerOperation);
  const ProgramView view(bytes.data(), bytes.size());
  for (size_t i = 0; i < view.size(); ++i) operations.push_back(view[i]);
  return operations;
}

constexpr std::string_view kWorld = "world seed orders=3 locks=one stopped procs=1 arena=1M hold=each";

StateDigest digest_of(std::string_view text, std::string_view policy = "after-restart", uint32_t parts = kWholeDigest,
                      std::string_view world = kWorld) {
  Stepper stepper(machine(), 3);
  stepper.begin(*find_policy(policy), parse(world)[0]);
  stepper.replay(parse(text));
  EXPECT_FALSE(stepper.failed()) << text << stepper.violation().message.data();
  return stepper.digest(parts);
}

constexpr uint32_t part(DigestPart one) {
  return uint32_t{1} << static_cast<uint32_t>(one);
}

// ---- the stepper does what a run does ----

std::vector<Operation> random_letters(const ExploreWorld& world, uint32_t seed, size_t count) {
  const std::vector<Operation> letters = letters_of(world);
  std::mt19937 random(seed);
  std::vector<Operation> program;
  program.reserve(count);
  for (size_t i = 0; i < count; ++i) program.push_back(letters[random() % letters.size()]);
  return program;
}

TEST(Stepper, StepByStepIsARun) {
  size_t violations = 0;
  for (const ExploreWorld& world : explore_worlds()) {
    for (const PolicyRow& policy : policies()) {
      for (uint32_t seed = 0; seed < 150; ++seed) {
        std::vector<Operation> program = random_letters(world, seed, 30);
        bool passes = true;
        {
          Stepper stepper(machine(), world.goroutines);
          stepper.begin(policy, maker_of(world));
          for (const Operation operation : program) {
            if (!stepper.failed()) stepper.step(operation);
          }
          passes = !stepper.failed() && stepper.finish();
        }
        program.insert(program.begin(), maker_of(world));
        const std::vector<uint8_t> bytes = encoded(program);
        const bool run_passes = !machine().run({bytes.data(), bytes.size()}, policy).violated;
        // The stepper walks more often, so it may see more.
        EXPECT_TRUE(run_passes || !passes) << world.name << " " << policy.name << " seed " << seed;
        EXPECT_TRUE(passes || !policy.claims.sound) << world.name << " " << policy.name << " seed " << seed;
        violations += passes ? 0 : 1;
      }
    }
  }
  EXPECT_GT(violations, 0u) << "the control must be found";
}

TEST(Stepper, AReplayLeadsToTheSameDigest) {
  for (const ExploreWorld& world : explore_worlds()) {
    for (uint32_t seed = 0; seed < 100; ++seed) {
      const std::vector<Operation> program = random_letters(world, seed, 25);
      Stepper stepper(machine(), world.goroutines);
      const PolicyRow& policy = *find_policy("after-restart");
      stepper.begin(policy, maker_of(world));
      for (const Operation operation : program) stepper.step(operation);
      const StateDigest stepped = stepper.digest();
      EXPECT_EQ(stepper.digest(), stepped) << "asking changes nothing";
      stepper.begin(policy, maker_of(world));
      stepper.replay(program);
      EXPECT_EQ(stepper.digest(), stepped) << world.name << " seed " << seed;
    }
  }
}

#if STACKDRAIN_YIELDS
TEST(Stepper, TheFirstLetterThatIsNotRefusedRunsInside) {
  Stepper stepper(machine(), 3);
  stepper.begin(*find_policy("serial"), parse(kWorld)[0]);
  stepper.replay(parse("spawn g0 4K\nblock g0 recv\ngc-begin 2\nload m0 g0 elem\n"));
  const std::vector<Operation> inside = parse("gc-end\nspawn g1 2K\nresolve m1\nresolve m0\n");
  const size_t ran = stepper.step_inside(Yield::kCopySwap, parse("shrink m1 g0")[0], inside);
  EXPECT_EQ(ran, 3u);
  EXPECT_FALSE(stepper.failed());
  const StateDigest stepped = stepper.digest();
  EXPECT_EQ(stepped,
            digest_of("spawn g0 4K\nblock g0 recv\ngc-begin 2\nload m0 g0 elem\nat swap 1\nshrink m1 g0\nresolve m0\n",
                      "serial"));
  // Nothing can run where the host never comes, and everything may be refused.
  stepper.begin(*find_policy("serial"), parse(kWorld)[0]);
  EXPECT_EQ(stepper.step_inside(Yield::kCopySwap, parse("spawn g0 4K")[0], inside), inside.size());
  stepper.begin(*find_policy("serial"), parse(kWorld)[0]);
  EXPECT_EQ(stepper.step_inside(Yield::kCacheRefill, parse("spawn g0 4K")[0], inside), inside.size());
}
#endif

// ---- what the digest merges, and what it does not ----

TEST(Digest, MergesSlotsOfOneSpan) {
  // The same two stacks come back in the other order: the free list's addresses differ, and nobody can tell.
  const std::string_view first = "spawn g0 4K\nspawn g1 4K\nspawn g2 8K\nexit g0\nexit g1\n";
  const std::string_view second = "spawn g0 4K\nspawn g1 4K\nspawn g2 8K\nexit g1\nexit g0\n";
  EXPECT_EQ(digest_of(first), digest_of(second));
}

TEST(Digest, MergesMarkers) {
  const std::string both = "spawn g0 4K\nblock g0 select\nspawn g1 16K\nblock g1 recv\ngc-begin 2\n";
  EXPECT_EQ(digest_of(both + "load m0 g0 elem\nload m1 g1 elem\n"),
            digest_of(both + "load m1 g0 elem\nload m0 g1 elem\n"));
  EXPECT_EQ(digest_of(both + "load m0 g0 elem\n"), digest_of(both + "load m1 g0 selectdone\n")) << "the same span";
  EXPECT_NE(digest_of(both + "load m0 g0 elem\n"), digest_of(both + "load m0 g1 elem\n"));
  EXPECT_NE(digest_of(both + "load m0 g0 elem\n"), digest_of(both + "load m0 g0 elem\nload m1 g0 elem\n"));
}

TEST(Digest, MergesLivesAndCyclesAndValues) {
  EXPECT_EQ(digest_of("spawn g0 2K\n"), digest_of("spawn g0 2K\nexit g0\nspawn g0 2K\n")) << "another generation";
  const std::string_view block = "spawn g0 2K\nblock g0 recv\nsend g0 1\n";
  EXPECT_EQ(digest_of(block), digest_of("spawn g0 2K\nblock g0 recv\nsend g0 2\n"));
  EXPECT_EQ(digest_of(block), digest_of("spawn g0 2K\nblock g0 recv\nwake g0\n"));
  const std::string cycle = "gc-begin 1\ngc-end\nrestart\ndrain 0\n";
  EXPECT_EQ(digest_of("spawn g0 16K\ncall g0 8192\n" + cycle),
            digest_of("spawn g0 16K\ncall g0 8192\n" + cycle + cycle));
}

TEST(Digest, TellsApartWhatTheFutureDependsOn) {
  const std::pair<std::string_view, std::string_view> apart[] = {
      {"spawn g0 2K\n", "spawn g0 4K\n"},
      {"spawn g0 2K\n", "spawn g1 2K\n"},
      {"spawn g0 2K\n", "spawn g0 2K\nblock g0 recv\n"},
      {"spawn g0 2K\nblock g0 recv\n", "spawn g0 2K\nblock g0 select\n"},
      {"spawn g0 2K\ncall g0 128\n", "spawn g0 2K\ncall g0 256\n"},
      {"spawn g0 2K\npush g0 panic\n", "spawn g0 2K\npush g0 defer\n"},
      {"heap-alloc h0 1 dirty\n", "heap-alloc h1 1 dirty\n"},
      {"spawn g0 2K\nexit g0\n", "spawn g0 4K\nexit g0\n"},
      {"gc-begin 1\n", "gc-begin 2\n"},
      {"gc-begin 1\n", "gc-begin 1\ngc-mark m0 1\n"},
      // Two goroutines' names are not interchangeable: root jobs run by index.
      {"spawn g0 4K\nspawn g1 16K\n", "spawn g1 4K\nspawn g0 16K\n"},
      // Two Free spans of one page: the last one freed is the first one used.
      {"heap-alloc h0 1 dirty\nheap-alloc h1 1 dirty\nheap-alloc h2 1 dirty\nheap-alloc h3 1 dirty\nheap-free "
       "h0\nheap-free h2\n",
       "heap-alloc h0 1 dirty\nheap-alloc h1 1 dirty\nheap-alloc h2 1 dirty\nheap-alloc h3 1 dirty\nheap-free "
       "h2\nheap-free h0\n"},
  };
  for (const auto& [one, other] : apart) EXPECT_NE(digest_of(one), digest_of(other)) << one << "---\n" << other;
}

// Two programs for each part: they differ in what that part says, and in nothing else that the digest says.
struct PartCase {
  DigestPart part;
  std::string_view policy;
  std::string_view world;
  std::string one;
  std::string other;
};

std::vector<PartCase> part_cases() {
  const std::string_view stopped = "world seed orders=3 locks=one stopped procs=2 arena=1M hold=each";
  const std::string_view concurrent = "world seed orders=3 locks=one concurrent procs=1 arena=1M hold=each";
  const std::string heap =
      "heap-alloc h0 1 dirty\nheap-alloc h1 1 dirty\nheap-alloc h2 1 dirty\nheap-alloc h3 1 dirty\n";
  const std::string busy = "spawn g0 16K\nspawn g1 16K\nstatus g1 syscall\ngc-begin 1\n";
  const std::string two = "spawn g0 16K\nspawn g1 16K\ngc-begin 1\n";
  return {
      {DigestPart::kPhase, "serial", stopped, "gc-begin 1\n", "gc-begin 1\ngc-mark m0 5\n"},
      {DigestPart::kProc, "serial", stopped, "proc p0\n", "proc p1\n"},
      {DigestPart::kOwners, "serial", stopped, "spawn g0 2K\nblock g0 recv\n", "spawn g0 2K\nblock g0 select\n"},
      {DigestPart::kScans, "serial", stopped, "spawn g0 2K\ngc-begin 1\n", "spawn g0 2K\ngc-begin 1\nshrink m0 g0\n"},
      {DigestPart::kHeap, "serial", stopped, "heap-alloc h0 1 dirty\n", "heap-alloc h1 1 dirty\n"},
      {DigestPart::kHeld, "serial", stopped, "spawn g0 2K\nblock g0 recv\ngc-begin 2\n",
       "spawn g0 2K\nblock g0 recv\ngc-begin 2\nload m1 g0 elem\n"},
      // A span of 4 KiB slots with g0 and g1 in it, an empty one of 2 KiB slots; in the one g0 was shrunk in this
      // cycle.
      {DigestPart::kShrunk, "span-after-restart", concurrent,
       "spawn g1 4K\nspawn g0 4K\ngc-begin 1\nshrink m0 g0\nexit g0\nspawn g0 4K\nflush p0\n",
       "spawn g1 4K\ngc-begin 1\nshrink m0 g0\nspawn g0 2K\nexit g0\nspawn g0 4K\nflush p0\n"},
      // The stack left behind held one frame, or two.
      {DigestPart::kDeferred, "serial", concurrent, "spawn g0 16K\ngc-begin 1\nshrink m0 g0\n",
       "spawn g0 16K\ncall g0 128\ngc-begin 1\nshrink m0 g0\nreturn g0 1\n"},
      // The Free pages behind a heap span were never used, or were.
      {DigestPart::kSpans, "serial", stopped, "heap-alloc h0 8 dirty\n",
       "heap-alloc h0 8 dirty\nheap-alloc h1 8 dirty\nheap-free h1\n"},
      // The queue's order.
      {DigestPart::kSlots, "after-restart", stopped, two + "shrink m0 g0\nshrink m0 g1\n",
       two + "shrink m0 g1\nshrink m0 g0\n"},
      // One stack waits for the end of this cycle and one for a drain step, or both for a drain step.
      {DigestPart::kHidden, "after-restart", concurrent,
       busy + "exit g0\ngc-end\nrestart\nstatus g1 run\ngc-begin 1\nexit g1\n",
       busy + "status g1 run\nexit g0\nexit g1\ngc-end\nrestart\ngc-begin 1\n"},
      // Which of two Free spans of one page is the next.
      {DigestPart::kHidden, "serial", stopped, heap + "heap-free h0\nheap-free h2\n",
       heap + "heap-free h2\nheap-free h0\n"},
  };
}

TEST(Digest, WithoutAnyPartItMergesWhatItMustNot) {
  uint32_t tried = 0;
  for (const PartCase& one : part_cases()) {
    tried |= part(one.part);
    const auto digest = [&](const std::string& program, uint32_t parts) {
      return digest_of(program, one.policy, parts, one.world);
    };
    EXPECT_NE(digest(one.one, kWholeDigest), digest(one.other, kWholeDigest)) << one.one << "---\n" << one.other;
    EXPECT_EQ(digest(one.one, kWholeDigest & ~part(one.part)), digest(one.other, kWholeDigest & ~part(one.part)))
        << one.one << "---\n"
        << one.other;
  }
  EXPECT_EQ(tried, kWholeDigest) << "a case for each part";
}

// What the names of two goroutines decide: in a cycle's root jobs g0 comes first. If names did not count, a program and
// its renamed twin would leave the same pool.
TEST(Digest, GoroutinesAreNotInterchangeable) {
  constexpr uint32_t kPool = part(DigestPart::kSpans) | part(DigestPart::kSlots) | part(DigestPart::kHidden);
  const std::string_view one = "spawn g0 4K\nspawn g1 16K\n";
  const std::string_view other = "spawn g1 4K\nspawn g0 16K\n";
  EXPECT_EQ(digest_of(one, "serial", kPool), digest_of(other, "serial", kPool));
  const std::string cycle = "gc-begin 1\ngc-end\n";
  EXPECT_NE(digest_of(std::string(one) + cycle, "serial", kPool),
            digest_of(std::string(other) + cycle, "serial", kPool));
}

// ---- equal digests have equal futures ----

struct Successor {
  bool failed = false;
  StateDigest digest;
  auto operator<=>(const Successor&) const = default;
};

struct Reached {
  std::vector<Operation> program;
  StateDigest digest;
};

// Over each world and policy.
class Futures : public testing::TestWithParam<std::tuple<size_t, size_t>> {
 protected:
  const ExploreWorld& world() const { return explore_worlds()[std::get<0>(GetParam())]; }
  const PolicyRow& policy() const { return policies()[std::get<1>(GetParam())]; }
  void go_to(Stepper& stepper, const std::vector<Operation>& program) const {
    stepper.begin(policy(), maker_of(world()));
    stepper.replay(program);
  }

  // What one letter more leads to, sorted: markers are interchangeable, so the letters' own order does not count.
  std::vector<Successor> successors(Stepper& stepper, const std::vector<Operation>& program, uint32_t parts) const {
    std::vector<Successor> all;
    for (const Operation letter : letters_of(world())) {
      go_to(stepper, program);
      stepper.step(letter);
      all.push_back({stepper.failed(), stepper.failed() ? StateDigest{} : stepper.digest(parts)});
    }
    std::sort(all.begin(), all.end());
    return all;
  }

  // ... and what each letter leads to with each other at each point inside.
  std::vector<Successor> successors_inside(Stepper& stepper, const std::vector<Operation>& program) const {
    std::vector<Successor> all;
    const std::vector<Operation> letters = letters_of(world());
    for (const Operation host : letters) {
      go_to(stepper, program);
      stepper.step(host);
      const uint32_t points = stepper.points_reached();
      for (size_t point = 0; point < kYieldPoints.size(); ++point) {
        if (kYieldPoints[point].locked || (points >> point & 1) == 0) continue;
        for (size_t i = 0; i < letters.size(); ++i) {
          go_to(stepper, program);
          stepper.step_inside(static_cast<Yield>(point), host, std::span(letters).subspan(i, 1));
          all.push_back({stepper.failed(), stepper.failed() ? StateDigest{} : stepper.digest()});
        }
      }
    }
    std::sort(all.begin(), all.end());
    return all;
  }

  // Every program up to `length` that leads to a new digest of `parts`, one letter on from each of those; `again` for
  // each that leads to a known one, with both.
  template <class Again>
  size_t for_each_pair(Stepper& stepper, size_t length, uint32_t parts, const Again& again) const {
    std::map<StateDigest, std::vector<Operation>> known;
    std::vector<std::vector<Operation>> layer = {{}};
    go_to(stepper, {});
    known[stepper.digest(parts)] = {};
    for (size_t n = 0; n < length; ++n) {
      std::vector<std::vector<Operation>> next;
      for (const std::vector<Operation>& program : layer) {
        for (const Operation letter : letters_of(world())) {
          go_to(stepper, program);
          if (stepper.step(letter) != nullptr || stepper.failed()) continue;
          std::vector<Operation> longer = program;
          longer.push_back(letter);
          const auto [at, fresh] = known.try_emplace(stepper.digest(parts), longer);
          if (fresh) {
            next.push_back(longer);
          } else if (!again(at->second, longer)) {
            return known.size();
          }
        }
      }
      layer = std::move(next);
    }
    return known.size();
  }
};

std::string text_of(const std::vector<Operation>& program) {
  const std::vector<uint8_t> bytes = encoded(program);
  return to_text({bytes.data(), bytes.size()});
}

constexpr size_t kLength = kSlowBuild ? 3 : 4;

TEST_P(Futures, EqualDigestsHaveEqualOnes) {
  Stepper stepper(machine(), world().goroutines);
  size_t pairs = 0;
  for_each_pair(stepper, kLength, kWholeDigest, [&](const auto& one, const auto& other) {
    ++pairs;
    EXPECT_EQ(successors(stepper, one, kWholeDigest), successors(stepper, other, kWholeDigest))
        << text_of(one) << "---\n"
        << text_of(other);
    if (pairs % 40 == 0) {
      EXPECT_EQ(successors_inside(stepper, one), successors_inside(stepper, other)) << text_of(one) << "---\n"
                                                                                    << text_of(other);
    }
    return !HasFailure();
  });
  EXPECT_GT(pairs, 100u);
}

// Programs of a few cycles, at random: two that happen to meet in a digest.
TEST_P(Futures, EqualDigestsOfLongProgramsHaveEqualOnes) {
  Stepper stepper(machine(), world().goroutines);
  const std::vector<Operation> letters = letters_of(world());
  constexpr size_t kPairs = kSlowBuild ? 40 : 400;
  constexpr size_t kLongest = 24;
  std::map<StateDigest, std::vector<Operation>> known;
  size_t pairs = 0;
  for (uint32_t seed = 0; pairs < kPairs && seed < 20 * kPairs; ++seed) {
    std::mt19937 random(seed);
    std::vector<Operation> program;
    while (program.size() < kLongest && pairs < kPairs) {
      go_to(stepper, program);
      const Operation letter = letters[random() % letters.size()];
      if (stepper.step(letter) != nullptr) continue;
      if (stepper.failed()) break;
      program.push_back(letter);
      const auto [at, fresh] = known.try_emplace(stepper.digest(), program);
      if (fresh || program.size() < kLength) continue;
      ++pairs;
      ASSERT_EQ(successors(stepper, at->second, kWholeDigest), successors(stepper, program, kWholeDigest))
          << text_of(at->second) << "---\n"
          << text_of(program);
    }
  }
  EXPECT_EQ(pairs, kPairs);
}

TEST_P(Futures, ARefusedLetterChangesNothing) {
  Stepper stepper(machine(), world().goroutines);
  const std::vector<Operation> letters = letters_of(world());
  size_t refused = 0;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    std::vector<Operation> program;
    std::mt19937 random(seed);
    go_to(stepper, {});
    for (size_t n = 0; n < 40 && !stepper.failed(); ++n) {
      const StateDigest before = stepper.digest();
      if (stepper.step(letters[random() % letters.size()]) == nullptr) continue;
      ++refused;
      EXPECT_EQ(stepper.digest(), before);
    }
  }
  EXPECT_GT(refused, 100u);
}

INSTANTIATE_TEST_SUITE_P(Worlds, Futures,
                         testing::Combine(testing::Range(size_t{0}, explore_worlds().size()),
                                          testing::Range(size_t{0}, policies().size())),
                         [](const auto& row) {
                           std::string name(explore_worlds()[std::get<0>(row.param)].name);
                           for (const char c : policies()[std::get<1>(row.param)].name) name += c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace stackdrain
