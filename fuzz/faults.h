// The one table of what can go wrong around a pool while a scheduled program runs, and how each must end.
//
// The program brings them about: `refuse`, `die` and `adopt` are operations like any other, a next cycle and a larger
// arena come of where its operations stand. The scheduler says which of them a run has met (ScheduleVerdict::faults).
// How each ends is checked by what is checked anyway: the goroutine at rest, the walk and the accounts when the world
// stops, and at the end of every program that nothing is left (E6).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace stackdrain {

// enumerator, name, what happened, how it must end.
#define STACKDRAIN_FAULTS(X)                                                                                           \
  X(kRefusedInGrow, "refused-in-grow", "the system refused memory to a stack that was to grow",                        \
    "the goroutine runs on, on the stack and in the state that it had")                                                \
  X(kRefusedInShrink, "refused-in-shrink", "the system refused memory to a marker that shrinks a stack",               \
    "the goroutine keeps its stack, and the mark goes on")                                                             \
  X(kRefusedInDrain, "refused-in-drain", "the system refused memory while a drainer was in the middle of its step",    \
    "who was refused has nothing, or what the drain gave up; the drain frees the rest, each stack once")               \
  X(kRefusedInFlush, "refused-in-flush", "the system refused memory while a cache was being emptied",                  \
    "who was refused has nothing; all of the cache is back in the pool")                                               \
  X(kDied, "died", "a processor's thread was gone", "nobody uses its cache until one adopts it or a cycle empties it") \
  X(kAdopted, "adopted", "somebody emptied the cache that a thread had left",                                          \
    "each of its stacks is back in the pool, once; the processor is used again")                                       \
  X(kCycleInDrain, "cycle-in-drain", "a cycle began while the drain of the one before was half done",                  \
    "what was left waits for that cycle's end, and is freed with what it adds")                                        \
  X(kGrewInMark, "grew-in-mark", "the arena, and with it the table of spans, became larger while markers ran",         \
    "who reads the table without a lock sees what was there before, or all of what is new")

enum class Fault : uint8_t {
#define X(id, name, what, ends) id,
  STACKDRAIN_FAULTS(X)
#undef X
};

struct FaultRow {
  std::string_view name;
  std::string_view what;
  std::string_view ends;
};

inline constexpr std::array kFaults = {
#define X(id, name, what, ends) FaultRow{name, what, ends},
    STACKDRAIN_FAULTS(X)
#undef X
};
static_assert(kFaults.size() <= 32, "a verdict has a bit for each");

constexpr uint32_t bit_of(Fault fault) {
  return uint32_t{1} << static_cast<uint32_t>(fault);
}

}  // namespace stackdrain
