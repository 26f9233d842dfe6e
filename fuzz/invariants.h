// The one table of invariants. A violation names its invariant by the id here.
//
// `cost`: 1 after every operation; n by the full walk, which a fuzzer makes when it is due (machine.cc) and at
// quiescent points, and the tool after every operation; q only when quiescent; c needs interleaving or threads. `held`:
// what the checker does today; an empty string: not yet held.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace stackdrain {

// enumerator, id, cost, what must hold, how the checker holds it.
#define STACKDRAIN_INVARIANTS(X)                                                                                      \
  X(kA1, "A1", "1", "Stack -> Free only while no mark runs; never Stack <-> InUse", "span releases counted in mark")  \
  X(kA2, "A2", "n",                                                                                                   \
    "what was Stack at gc-begin (weak: what held a stack shrunk in this cycle) is so at gc-end; or until each who "   \
    "read "                                                                                                           \
    "then was quiescent",                                                                                             \
    "snapshot at gc-begin; each shrunk stack's span, and each freed one's grace, after every operation")              \
  X(kA3, "A3", "c", "a LOADed, not yet RESOLVEd pointer lies in an unchanged Stack span; no bad pointers",            \
    "every held pointer after every operation, also at yield points")                                                 \
  X(kA4, "A4", "n",                                                                                                   \
    "out + free = capacity; listed if and only if a slot is free; empty only while frees are deferred", "walk")       \
  X(kA5, "A5", "n", "each span on at most one list, links symmetric, only members of the right kind", "walk")         \
  X(kA6, "A6", "n", "spans tile the arena; no two adjacent Free spans; page map right; dead descriptors unreachable", \
    "walk")                                                                                                           \
  X(kA7, "A7", "n", "order, element size, limit, free list are set on every (re)issue", "walk")                       \
  X(kA8, "A8", "c", "metadata is written before the state that publishes it",                                         \
    "look: every page's span, read without a lock, also while one is issued; in a schedule also when a store "        \
    "is shown past an older one")                                                                                     \
  X(kA9, "A9", "1", "memory issued as zero is zero", "each line of a zeroed heap span is read")                       \
  X(kB1, "B1", "n", "each slot is in exactly one of: live, cached, shelved, pool-free, deferred, in transit",         \
    "walk + model")                                                                                                   \
  X(kB2, "B2", "1",                                                                                                   \
    "a live stack is a power of two, >= 2 KiB, aligned to its size within one Stack span; live ones disjoint",        \
    "each stack when it is issued or moved; walk")                                                                    \
  X(kB3, "B3", "n", "free lists acyclic, inside the span, aligned, of the right length", "walk")                      \
  X(kB4, "B4", "n", "a cache holds length x slot <= 32 KiB, a shelf its cap; refill and release land at half",        \
    "walk; bytes by the program (demand.h)")                                                                          \
  X(kB5, "B5", "c", "between flush and restart nobody touches a cache", "cached bytes stay 0 in a stopped cycle")     \
  X(kB6, "B6", "n", "a released batch is the cold half (of who claims it; Go's is the hot one)",                      \
    "what is cached before and after")                                                                                \
  X(kB7, "B7", "n", "a large span: no free list, on no order list, size class exact", "walk")                         \
  X(kC1, "C1", "1", "a stack is enqueued exactly when the policy says", "held stacks against the model")              \
  X(kC2, "C2", "n", "the deferred set: members in Stack spans, terminates, count and bytes agree", "walk + model")    \
  X(kC3, "C3", "q", "freed = enqueued, each once; the set is empty afterwards", "after each drain")                   \
  X(kC4, "C4", "q", "after the drain the empty spans left are the reserve that a policy claims, or none",             \
    "walk at quiescence")                                                                                             \
  X(kC5, "C5", "1", "the next link is read before the node is freed", "each next stack of a drain was retired")       \
  X(kC6, "C6", "c", "detach and push linearize", "held stacks, when operations overlap")                              \
  X(kC7, "C7", "1", "held bytes and age stay within the policy's bound",                                              \
    "nothing held when nothing is pending; large stacks kept")                                                        \
  X(kC8, "C8", "c",                                                                                                   \
    "a budgeted drain ends in n/budget steps, each within its budget; nobody waits for more of it than its policy "   \
    "says",                                                                                                           \
    "each drain step; schedule_fuzzer: work under a lock that a mutator waits for")                                   \
  X(kD1, "D1", "n", "after a move no root word lies in the old stack", "each root after every operation")             \
  X(kD2, "D2", "n", "a move keeps each word: pointers by distance to hi, all else equal", "each frame word, walk")    \
  X(kD3, "D3", "1", "shrink: half, used (+ guard) < size/4; grow: at least double, at most the maximum", "model")     \
  X(kD4, "D4", "1", "no root holds exactly hi", "each root")                                                          \
  X(kD5, "D5", "c", "the owner's state is restored after a move", "model")                                            \
  X(kD6, "D6", "c", "no move between a remote read of elem and its last use", "each send; value words")               \
  X(kD7, "D7", "c", "bounds and stack pointer change as one for observers", "bounds, base pointer against the model") \
  X(kD8, "D8", "n", "the old memory is unmodified from move to free, link words aside", "walk of deferred stacks")    \
  X(kD9, "D9", "1", "at most one halving per goroutine and cycle", "model")                                           \
  X(kD10, "D10", "1", "a move is refused in system call, while parking, when observed", "model")                      \
  X(kE1, "E1", "1", "system bytes = in use + idle; stack bytes = pages of Stack spans", "accounts, walk")             \
  X(kE2, "E2", "n", "capacity = live + cached + pooled + deferred, per order", "walk")                                \
  X(kE3, "E3", "1", "allocations - frees = live", "accounts against the model")                                       \
  X(kE4, "E4", "n", "accounts use the size before merging", "walk against accounts")                                  \
  X(kE5, "E5", "1", "map and unmap are byte-exact", "accounts, walk")                                                 \
  X(kE6, "E6", "q", "kill all, flush, drain: nothing is left and the heap is one Free span", "end of each program")   \
  X(kE7, "E7", "q", "peak <= live + deferred bound + caches + partial-span slack",                                    \
    "by the program, when a stack comes (demand.h)")                                                                  \
  X(kF1, "F1", "c", "the lock graph is acyclic", "every lock taken, over a program")                                  \
  X(kF2, "F2", "c", "the allocator is not re-entered", "each entry, by processor")                                    \
  X(kF3, "F3", "c", "the phase does not change within an allocator operation",                                        \
    "both ends of each; what begins a cycle")                                                                         \
  X(kF4, "F4", "c", "every operation ends in bounded steps",                                                          \
    "drain loops, tries to claim a goroutine; work in the pause, and under one hold of a lock by a drain")            \
  X(kF5, "F5", "n", "poison state = liveness", "walk, under ASan")                                                    \
  X(kF6, "F6", "c", "no descriptor is recycled before its last user", "walk of the merged-away descriptors")          \
  X(kF7, "F7", "c", "exactly one \"last one out\"", "drain")                                                          \
  X(kF8, "F8", "c", "accesses to plain data that more than one thread comes to are ordered",                          \
    "schedule_fuzzer: vector clocks over marked fields")                                                              \
  X(kG1, "G1", "n", "canaries in guard zones are intact", "the two lowest words of each live stack")                  \
  X(kG2, "G2", "q", "every policy gives the same live set for the same program", "differential_fuzzer")               \
  X(kG3, "G3", "q", "every planted defect is reported, a clean build never reports", "corpus")

enum class Invariant : uint8_t {
#define X(enumerator, id, cost, what, held) enumerator,
  STACKDRAIN_INVARIANTS(X)
#undef X
};

struct InvariantRow {
  std::string_view id;
  std::string_view cost;
  std::string_view what;
  std::string_view held;
};

inline constexpr std::array kInvariants = {
#define X(enumerator, id, cost, what, held) InvariantRow{id, cost, what, held},
    STACKDRAIN_INVARIANTS(X)
#undef X
};

// What can't be checked of a pool that does not show its spans and slots (PolicyClaims::tells_places).
inline constexpr std::array kNeedsPlaces = {
    Invariant::kA4, Invariant::kA5, Invariant::kA6, Invariant::kA7, Invariant::kA8, Invariant::kB1,
    Invariant::kB3, Invariant::kB4, Invariant::kB5, Invariant::kB6, Invariant::kB7, Invariant::kC4,
    Invariant::kE1, Invariant::kE2, Invariant::kE4, Invariant::kE5, Invariant::kF5, Invariant::kF6};

constexpr std::string_view id_of(Invariant invariant) {
  return kInvariants[static_cast<size_t>(invariant)].id;
}

}  // namespace stackdrain
