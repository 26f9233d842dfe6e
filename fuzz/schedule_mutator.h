// What changes a schedule's input as what it is: its program as a program (mutator.h), its schedule as switches.
//
// For engines that ask; nothing depends on it, every byte string is an input. Deterministic in (bytes, seed). Allocates
// nothing. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stackdrain {

// As mutate_program in mutator.h.
size_t mutate_schedule(uint8_t* data, size_t size, size_t max_size, uint32_t seed,
                       size_t (*bytes)(uint8_t*, size_t, size_t));

}  // namespace stackdrain
