#include "fuzz/schedule_mutator.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "fuzz/mutator.h"
#include "fuzz/schedule.h"

namespace stackdrain {
namespace {

constexpr size_t kMostProgram = kMaxScheduled * kBytesPerOperation;
constexpr size_t kMostSwitches = 32;  // more than a handful are seldom of use
constexpr size_t kChangePoints = 4;
constexpr std::array<uint8_t, 3> kMemories = {0, kWeakMemory, kWeakMemory | kDeepBuffer};

// The parts of an input, in place, each with room to grow.
struct Parts {
  std::array<uint8_t, kMostProgram> program;
  size_t program_size = 0;
  std::array<uint8_t, 255> schedule;
  size_t schedule_size = 0;
  uint8_t mode = 0;
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  size_t below(size_t n) {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return static_cast<size_t>((z ^ (z >> 31)) % n);
  }

 private:
  uint64_t state_;
};

// A switch: whom to, and for how many points; a few points are the rule.
uint8_t any_switch(Random& random) {
  const size_t gap = random.below(3) != 0 ? random.below(6) : random.below(32);
  return static_cast<uint8_t>(random.below(8) | gap << 3);
}

void insert_switch(Parts& parts, Random& random) {
  if (parts.schedule_size >= kMostSwitches) return;
  const size_t at = random.below(parts.schedule_size + 1);
  uint8_t* to = parts.schedule.data() + at;
  std::memmove(to + 1, to, parts.schedule_size++ - at);
  *to = any_switch(random);
}

void change_switches(Parts& parts, Random& random) {
  const size_t size = parts.schedule_size;
  switch (size == 0 ? 0 : random.below(5)) {
    case 0:
    case 1:
      return insert_switch(parts, random);
    case 2: {
      const size_t at = random.below(size);
      std::memmove(parts.schedule.data() + at, parts.schedule.data() + at + 1, size - at - 1);
      --parts.schedule_size;
      return;
    }
    case 3: {  // a little earlier or later
      uint8_t& byte = parts.schedule[random.below(size)];
      const size_t gap = byte >> 3;
      const size_t moved = random.below(2) == 0 ? gap + 1 : gap + 31;
      byte = static_cast<uint8_t>((byte & 7u) | (moved % 32) << 3);
      return;
    }
    default:
      parts.schedule[random.below(size)] = any_switch(random);
  }
}

void change_priorities(Parts& parts, Random& random) {
  const size_t whole = kActors + 1 + random.below(kChangePoints);
  if (parts.schedule_size < whole || random.below(4) == 0) {
    for (size_t i = 0; i < kActors; ++i) parts.schedule[i] = static_cast<uint8_t>(1 + random.below(250));
    for (size_t i = kActors; i < whole; ++i) parts.schedule[i] = static_cast<uint8_t>(random.below(64));
    parts.schedule_size = whole;
    return;
  }
  parts.schedule[random.below(parts.schedule_size)] = static_cast<uint8_t>(random.below(256));
}

Parts& parts_of(const uint8_t* data, size_t size) {
  static Parts parts;
  const ScheduleInput input(data, size);
  parts.mode = static_cast<uint8_t>((input.priorities ? kPriorities : 0) | (input.weak_memory ? kWeakMemory : 0) |
                                    (input.deep_buffer ? kDeepBuffer : 0));
  parts.program_size = std::min(input.program.bytes(), kMostProgram);
  parts.schedule_size = std::min(input.schedule.size(), parts.schedule.size());
  if (parts.program_size != 0) std::memcpy(parts.program.data(), input.program.data(), parts.program_size);
  if (parts.schedule_size != 0) std::memcpy(parts.schedule.data(), input.schedule.data(), parts.schedule_size);
  return parts;
}

// What does not fit is cut off: of the program first.
size_t put_together(const Parts& parts, uint8_t* data, size_t max_size) {
  const size_t room = max_size - kScheduleHeader;
  const size_t schedule = std::min(parts.schedule_size, room);
  const size_t program = std::min(parts.program_size, room - schedule);
  data[0] = parts.mode;
  data[1] = static_cast<uint8_t>(schedule);
  if (program != 0) std::memcpy(data + kScheduleHeader, parts.program.data(), program);
  if (schedule != 0) std::memcpy(data + kScheduleHeader + program, parts.schedule.data(), schedule);
  return kScheduleHeader + program + schedule;
}

}  // namespace

size_t mutate_schedule(uint8_t* data, size_t size, size_t max_size, uint32_t seed,
                       size_t (*bytes)(uint8_t*, size_t, size_t)) {
  if (max_size < kScheduleHeader + kBytesPerOperation) return size;
  Random random(seed);
  const size_t choice = random.below(20);
  if (choice == 0 && bytes != nullptr) return bytes(data, size, max_size);
  Parts& parts = parts_of(data, size);
  if (random.below(6) == 0) {
    parts.mode = static_cast<uint8_t>((parts.mode & kPriorities) | kMemories[random.below(kMemories.size())]);
  }
  if (choice == 1) {
    parts.mode ^= kPriorities;
    parts.schedule_size = 0;
  }
  const bool schedule = choice < 9;
  if (schedule) {
    for (size_t n = 1 + random.below(3); n > 0; --n) {
      (parts.mode & kPriorities) == 0 ? change_switches(parts, random) : change_priorities(parts, random);
    }
  }
  if (!schedule || random.below(4) == 0) {
    const size_t room = std::min(kMostProgram, max_size - kScheduleHeader);
    parts.program_size = mutate_program(parts.program.data(), std::min(parts.program_size, room), room, seed, bytes);
  }
  return put_together(parts, data, max_size);
}

}  // namespace stackdrain
