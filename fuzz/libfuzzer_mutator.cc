// Offers the structure-aware mutator to libFuzzer. STACKDRAIN_PLAIN_MUTATION in the environment leaves libFuzzer to its
// own, to see what this one buys.
#include <cstdint>
#include <cstdlib>

#include "fuzz/mutator.h"

extern "C" {

// libFuzzer has it, other engines may not.
__attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t* data1, size_t size1, const uint8_t* data2, size_t size2, uint8_t* out,
                                 size_t max_out_size, unsigned int seed);

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  static const bool plain = std::getenv("STACKDRAIN_PLAIN_MUTATION") != nullptr;
  if (plain && LLVMFuzzerMutate != nullptr) return LLVMFuzzerMutate(data, size, max_size);
  return stackdrain::mutate_program(data, size, max_size, seed, LLVMFuzzerMutate);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t* data1, size_t size1, const uint8_t* data2, size_t size2, uint8_t* out,
                                 size_t max_out_size, unsigned int seed) {
  return stackdrain::cross_programs(data1, size1, data2, size2, out, max_out_size, seed);
}
}
