#include "fuzz/race.h"

#include "target/base.h"

namespace stackdrain {
namespace {

// Of an address' place in its page, which is the same in each process; where the page lies is not.
size_t hash_of(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % 4096 / 4;
}

}  // namespace

void Races::reset() {
  ++run_;
  for (size_t i = 0; i < kRaceActors; ++i) {
    clocks_[i] = {};
    clocks_[i].at[i] = 1;
  }
}

void Races::release(size_t actor, Clock& clock, bool keeps) {
  if (!keeps) clock = {};
  clock.join(clocks_[actor]);
  ++clocks_[actor].at[actor];
}

void Races::meet() {
  Clock all;
  for (const Clock& clock : clocks_) all.join(clock);
  for (size_t i = 0; i < kRaceActors; ++i) {
    clocks_[i] = all;
    ++clocks_[i].at[i];
  }
}

// Where an address is found hangs on where the process has its memory, which an input's coverage must not tell.
SD_NO_COVERAGE Clock& Races::clock_of(const void* what) {
  for (size_t i = 0; i < kCarriers; ++i) {
    Carrier& carrier = carriers_[(hash_of(what) + i) % kCarriers];
    if (carrier.run == run_ && carrier.what != what) continue;
    if (carrier.run != run_) carrier = {what, run_, {}};
    return carrier.clock;
  }
  nobodys_ = {};
  return nobodys_;
}

SD_NO_COVERAGE Races::Field* Races::field_of(const void* field) {
  for (size_t i = 0; i < kFields; ++i) {
    Field& found = fields_[(hash_of(field) + i) % kFields];
    if (found.run == run_ && found.field != field) continue;
    if (found.run == run_) return &found;
    found.field = field;
    found.run = run_;
    found.write.at = 0;
    for (Side& read : found.reads) read.at = 0;
    return &found;
  }
  return nullptr;
}

bool Races::access(const void* address, const Access& access, Access& other) {
  Field* field = field_of(address);
  if (field == nullptr) return true;
  const Clock& now = clocks_[access.actor];
  if (field->write.at > now.at[field->writer]) {
    other = {field->writer, true, field->write.where};
    return false;
  }
  if (access.writes) {
    for (size_t i = 0; i < kRaceActors; ++i) {
      if (field->reads[i].at <= now.at[i]) continue;
      other = {i, false, field->reads[i].where};
      return false;
    }
    field->writer = static_cast<uint32_t>(access.actor);
    field->write = {now.at[access.actor], access.where};
    return true;
  }
  field->reads[access.actor] = {now.at[access.actor], access.where};
  return true;
}

}  // namespace stackdrain
