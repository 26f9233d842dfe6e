// fibers COUNT [ROUNDS]: COUNT fibers at a time on stacks of each policy's pool and of Boost's own allocators.
//
// Each fiber fills a frame with words that name it, and sees after every switch that they are its own still (a stack
// issued twice, or freed too early, shows). Prints, for each allocator, nanoseconds for making a fiber, for a switch to
// it and back, and for its end, or at which fiber it ran out of memory. Under ASan every switch is announced.
// Exit code 1: a word was another's. Boost's protected stacks are two mappings each: Linux's default limit ends them.
#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <random>
#include <utility>
#include <vector>

#include "target/arena.h"
#include "target/drain/policies.h"
#include "target/foreign/fiber_stacks.h"

namespace {

using boost::context::fiber;
using Clock = std::chrono::steady_clock;
constexpr size_t kStackBytes = 8192;
constexpr size_t kWords = 128;  // of a fiber's frame

bool spoilt = false;

// The stack that main runs on, which fibers switch back to.
void* main_fake = nullptr;
const void* main_lo = nullptr;
size_t main_bytes = 0;

void leaves([[maybe_unused]] void** fake, [[maybe_unused]] const void* lo, [[maybe_unused]] size_t bytes) {
#if STACKDRAIN_ASAN
  __sanitizer_start_switch_fiber(fake, lo, bytes);
#endif
}
void arrives([[maybe_unused]] void* fake, [[maybe_unused]] const void** lo, [[maybe_unused]] size_t* bytes) {
#if STACKDRAIN_ASAN
  __sanitizer_finish_switch_fiber(fake, lo, bytes);
#endif
}

// What a fiber runs: writes its words, then looks at them each time it is switched to.
struct Body {
  uint64_t id;
  int rounds;

  fiber operator()(fiber&& caller) const {
    arrives(nullptr, &main_lo, &main_bytes);
    volatile uint64_t words[kWords];
    for (size_t i = 0; i < kWords; ++i) words[i] = id * kWords + i;
    void* fake = nullptr;
    for (int round = 0; round < rounds; ++round) {
      leaves(&fake, main_lo, main_bytes);
      caller = std::move(caller).resume();
      arrives(fake, &main_lo, &main_bytes);
      for (size_t i = 0; i < kWords; ++i) spoilt = spoilt || words[i] != id * kWords + i;
    }
    leaves(nullptr, main_lo, main_bytes);
    return std::move(caller);
  }
};

struct Running {
  fiber fib;
  boost::context::stack_context stack;
};

double seconds_since(Clock::time_point begun) {
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

void resume(Running& running) {
  leaves(&main_fake, static_cast<char*>(running.stack.sp) - running.stack.size, running.stack.size);
  running.fib = std::move(running.fib).resume();
  arrives(main_fake, nullptr, nullptr);
}

// Remembers the stack that the fiber made next takes: Boost hands an allocator over by value.
template <class Allocator>
struct Remembering {
  using traits_type = boost::context::stack_traits;
  Allocator allocator;
  boost::context::stack_context* taken;
  boost::context::stack_context allocate() { return *taken = allocator.allocate(); }
  void deallocate(boost::context::stack_context& context) noexcept { allocator.deallocate(context); }
};

template <class Allocator>
void measure(const char* name, const Allocator& allocator, size_t count, int rounds) {
  std::vector<Running> all(count);
  std::vector<uint32_t> order(count);
  for (uint32_t i = 0; i < count; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  auto begun = Clock::now();
  for (size_t i = 0; i < count; ++i) {
    try {
      all[i].fib = fiber(std::allocator_arg, Remembering<Allocator>{allocator, &all[i].stack}, Body{i, rounds});
    } catch (const std::bad_alloc&) {
      std::printf("%-28s ran out of memory at fiber %zu\n", name, i);
      return;
    }
  }
  const double made = seconds_since(begun);
  begun = Clock::now();
  for (int round = 0; round < rounds; ++round) {
    for (const uint32_t i : order) resume(all[i]);
  }
  const double switched = seconds_since(begun);
  begun = Clock::now();
  for (const uint32_t i : order) resume(all[i]);  // each ends, and its stack goes back
  const double ended = seconds_since(begun);
  const double n = static_cast<double>(count);
  std::printf("%-28s %8.0f ns made %8.0f ns switched %8.0f ns ended\n", name, made / n * 1e9,
              switched / n / rounds * 1e9, ended / n * 1e9);
}

void measure_policy(const stackdrain::PolicyRow& policy, size_t count, int rounds) {
  stackdrain::Arena arena(count * kStackBytes * 2 + (size_t{64} << 20));
  const std::unique_ptr<stackdrain::AnyPool> pool = policy.make(arena);
  pool->reset(stackdrain::go119_preset());
  measure(policy.name.data(), stackdrain::FiberStacks(*pool, 0, kStackBytes), count, rounds);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 4;
  if (count == 0 || rounds < 1) {
    std::fprintf(stderr, "usage: fibers COUNT [ROUNDS], both from 1\n");
    return 2;
  }
  for (const stackdrain::PolicyRow& policy : stackdrain::policies()) measure_policy(policy, count, rounds);
  measure("boost fixedsize (malloc)", boost::context::fixedsize_stack(kStackBytes), count, rounds);
  measure("boost pooled_fixedsize", boost::context::pooled_fixedsize_stack(kStackBytes), count, rounds);
  measure("boost protected_fixedsize", boost::context::protected_fixedsize_stack(kStackBytes), count, rounds);
  std::printf("%s\n", spoilt ? "a fiber found another's words in its frame"
                             : "every fiber found its own words after every switch");
  return spoilt ? 1 : 0;
}
