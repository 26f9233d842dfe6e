#include "benchmarks/world.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

namespace stackdrain {
namespace {

// Plain, unsynchronised counters: while the world is stopped nobody else touches them, or TSan says so and the sums
// differ.
TEST(World, NobodyRunsWhileStopped) {
  constexpr int kMutators = 3;
  World world(kMutators);
  std::array<uint64_t, size_t{kMutators} * 16> counters{};
  std::atomic<bool> quit{false};
  std::vector<std::thread> threads;
  threads.reserve(kMutators);
  for (int m = 0; m < kMutators; ++m) {
    threads.emplace_back([&, m] {
      while (!quit.load(std::memory_order_relaxed)) {
        world.safepoint();
        ++counters[static_cast<size_t>(m) * 16];
      }
      world.leave();
    });
  }
  for (int round = 0; round < 200; ++round) {
    world.stop();
    uint64_t sum = 0;
    for (const uint64_t counter : counters) sum += counter;
    std::this_thread::yield();
    uint64_t again = 0;
    for (const uint64_t counter : counters) again += counter;
    EXPECT_EQ(sum, again);
    counters[1] = static_cast<uint64_t>(round);  // the collector may write, too
    world.start();
  }
  quit = true;
  for (std::thread& thread : threads) thread.join();
}

TEST(World, SafepointSaysWhenItResumed) {
  World world(1);
  std::atomic<int64_t> resumed{0};
  std::thread mutator([&] {
    while (resumed.load() == 0) resumed = world.safepoint();
    world.leave();
  });
  world.stop();
  const int64_t before = now_ns();
  world.start();
  mutator.join();
  EXPECT_GE(resumed.load(), before);
}

}  // namespace
}  // namespace stackdrain
