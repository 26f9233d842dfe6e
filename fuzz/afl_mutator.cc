// The structure-aware mutators as AFL++ loads them (AFL_CUSTOM_MUTATOR_LIBRARY): one of its stages, beside its own
// mutations. Two libraries from this file: of programs, and with STACKDRAIN_SCHEDULES of schedule_fuzzer's inputs.
// Nothing needs them: a harness is the same without.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fuzz/mutator.h"
#include "fuzz/schedule_mutator.h"

namespace stackdrain {
namespace {

struct AflMutator {
  uint32_t next() { return random = random * 1664525u + 1013904223u; }

  uint32_t random = 0;
  std::array<uint8_t, size_t{16} << 10> bytes{};  // longer inputs are left to AFL++
};

#if STACKDRAIN_SCHEDULES
constexpr auto kMutate = mutate_schedule;
constexpr bool kCrosses = false;  // a program's tail behind another's switches is neither's
#else
constexpr auto kMutate = mutate_program;
constexpr bool kCrosses = true;
#endif

}  // namespace
}  // namespace stackdrain

extern "C" {

// AFL++'s interface; `state` is its own, of which nothing is used.
void* afl_custom_init(void* state, unsigned int seed);
size_t afl_custom_fuzz(void* mutator, uint8_t* input, size_t size, uint8_t** out, uint8_t* other, size_t other_size,
                       size_t max_size);
void afl_custom_deinit(void* mutator);

void* afl_custom_init(void*, unsigned int seed) {
  auto* mutator = new stackdrain::AflMutator;
  mutator->random = seed;
  return mutator;
}

// Of programs, a splice with another input of the queue in one of eight; a mutation in the others.
size_t afl_custom_fuzz(void* mutator, uint8_t* input, size_t size, uint8_t** out, uint8_t* other, size_t other_size,
                       size_t max_size) {
  auto& mine = *static_cast<stackdrain::AflMutator*>(mutator);
  uint8_t* const bytes = mine.bytes.data();
  const size_t limit = max_size < mine.bytes.size() ? max_size : mine.bytes.size();
  *out = bytes;
  if (size > limit) return 0;  // AFL++ goes on to its next mutation
  const uint32_t seed = mine.next();
  if (stackdrain::kCrosses && other != nullptr && other_size != 0 && other_size <= limit && seed >> 29 == 0) {
    return stackdrain::cross_programs(input, size, other, other_size, bytes, limit, seed);
  }
  std::memcpy(bytes, input, size);
  return stackdrain::kMutate(bytes, size, limit, seed, nullptr);
}

void afl_custom_deinit(void* mutator) {
  delete static_cast<stackdrain::AflMutator*>(mutator);
}
}
