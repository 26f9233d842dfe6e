// Mutator: changes a program as a program: whole operations, their arguments, and what runs inside what.
//
// For engines that ask (libFuzzer's LLVMFuzzerCustomMutator); AFL++'s driver, honggfuzz and centipede do not, and
// nothing depends on it: every byte string is a program, and plain byte mutation stays in the mix. What it is good for:
// a byte mutator must hit an operation's code and each of its arguments, one after the other, while the coverage says
// nothing until all are right; here an operation comes whole, names goroutines, markers and sizes that the program uses
// already, and an interleaving (`inside POINT n`, host, guest) comes as one, whose guest often goes to what the host
// has half done there.
//
//   insert, delete, duplicate, swap, move (a RESOLVE past a shrink), retarget one argument, another code, a world,
//   an interleaving; a program from nothing out of a random half of the operations (swarm); and splices of two programs
//
// Deterministic in (bytes, seed). Allocates nothing. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stackdrain {

// Mutates the program in data[0..size), which may grow to `max_size` bytes; its new size. `bytes`: plain byte mutation
// in the signature of LLVMFuzzerMutate, or nullptr.
size_t mutate_program(uint8_t* data, size_t size, size_t max_size, uint32_t seed,
                      size_t (*bytes)(uint8_t*, size_t, size_t));

// A head of one program and a tail of the other, cut between operations; the size written to `out`.
size_t cross_programs(const uint8_t* first, size_t first_size, const uint8_t* second, size_t second_size, uint8_t* out,
                      size_t max_size, uint32_t seed);

}  // namespace stackdrain
