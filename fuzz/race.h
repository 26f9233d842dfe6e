// Races: which accesses to plain data nothing orders (happens-before, by vector clocks).
//
// Each actor has a clock: for every actor, up to where it knows of that one's doings. What hands over (a lock given
// back and taken, an atomic store with release read with acquire, the end and the begin of operations on one goroutine,
// a stopped world) carries the clock along. Two accesses to one field, one of them a write, race when neither's actor
// knew of the other's: whatever order this run had, another one may have the other. So a race is seen although nothing
// went wrong this time.
//
// Tables of fixed size, forgotten by a number: what does not fit is not watched. Allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "target/shared.h"

namespace stackdrain {

inline constexpr size_t kRaceActors = 12;

struct Clock {
  std::array<uint32_t, kRaceActors> at{};
  void join(const Clock& other) {
    for (size_t i = 0; i < kRaceActors; ++i) at[i] = at[i] > other.at[i] ? at[i] : other.at[i];
  }
};

// One side of a race.
struct Access {
  size_t actor = 0;
  bool writes = false;
  Place where;
};

class Races {
 public:
  void reset();

  // An access; false if it races with `other`, an earlier one.
  bool access(const void* field, const Access& access, Access& other);

  // `actor` hands on what it knows, and goes on; `clock` forgets what it had (a store) or keeps it (a lock, a
  // modification).
  void release(size_t actor, Clock& clock, bool keeps);
  void acquire(size_t actor, const Clock& clock) { clocks_[actor].join(clock); }
  const Clock& clock(size_t actor) const { return clocks_[actor]; }
  // Everybody knows of everything: a stopped world.
  void meet();

  // The clock that a lock, an atomic or a goroutine carries.
  Clock& clock_of(const void* what);

 private:
  static constexpr size_t kFields = 2048;  // powers of two
  static constexpr size_t kCarriers = 1024;

  struct Side {
    uint32_t at = 0;  // the actor's own time; 0: never
    Place where;
  };
  struct Field {
    const void* field = nullptr;
    uint32_t run = 0;
    uint32_t writer = 0;
    Side write;
    std::array<Side, kRaceActors> reads;
  };
  struct Carrier {
    const void* what = nullptr;
    uint32_t run = 0;
    Clock clock;
  };

  Field* field_of(const void* field);

  uint32_t run_ = 0;
  std::array<Clock, kRaceActors> clocks_{};
  std::array<Field, kFields> fields_{};
  std::array<Carrier, kCarriers> carriers_{};
  Clock nobodys_{};  // of what does not fit; carries nothing
};

}  // namespace stackdrain
