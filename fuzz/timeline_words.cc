// What a step changed, in words.
#include <cinttypes>
#include <cstdio>

#include "fuzz/timeline_html.h"

namespace stackdrain {
namespace {

using Lines = std::vector<std::string>;

std::string at(uint64_t offset) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "+0x%" PRIx64, offset);
  return text.data();
}

std::string size_of(uint64_t bytes) {
  return bytes % 1024 == 0 ? std::to_string(bytes / 1024) + " KiB" : std::to_string(bytes) + " bytes";
}

std::string name_of(SpanState state) {
  return std::string(kSpanStateNames[static_cast<size_t>(state)]);
}

const SpanPicture* covering(const Snapshot& shot, uint64_t offset) {
  for (const SpanPicture& span : shot.spans) {
    if (offset >= span.base && offset < span.base + span.bytes) return &span;
  }
  return nullptr;
}

bool used(const SpanPicture* span) {
  return span != nullptr && span->state != SpanState::kFree && span->state != SpanState::kDead;
}

void span_changes(const Snapshot& before, const Snapshot& after, Lines& lines) {
  for (const SpanPicture& was : before.spans) {
    if (!used(&was)) continue;
    const SpanPicture* is = covering(after, was.base);
    if (is == nullptr || is->state != was.state) {
      lines.push_back("span " + at(was.base) + ": " + name_of(was.state) + " \u2192 " +
                      (is == nullptr ? "nothing" : name_of(is->state)));
    } else if (is->generation != was.generation) {
      lines.push_back("span " + at(was.base) + " was freed and is issued anew");
    }
  }
  for (const SpanPicture& is : after.spans) {
    if (!used(&is) || used(covering(before, is.base))) continue;
    lines.push_back("span " + at(is.base) + ": Free \u2192 " + name_of(is.state) +
                    (is.slot_bytes == 0 ? ", " + size_of(is.bytes)
                                        : ", " + std::to_string(is.capacity) + " \u00d7 " + size_of(is.slot_bytes)));
  }
}

// Where a stack that nobody lives on is.
std::string place_of(const Snapshot& shot, uint64_t lo) {
  for (const SlotPicture& slot : shot.slots) {
    if (slot.lo == lo) return std::string(kSlotPlaceNames[static_cast<size_t>(slot.place)]);
  }
  return "";
}

void slot_changes(const Snapshot& before, const Snapshot& after, Lines& lines) {
  for (const SlotPicture& was : before.slots) {
    if (was.place != SlotPlace::kDeferred || place_of(after, was.lo) == "deferred") continue;
    lines.push_back("stack " + at(was.lo) + ": deferred \u2192 freed");
  }
  for (const SlotPicture& is : after.slots) {
    if (is.place != SlotPlace::kDeferred || place_of(before, is.lo) == "deferred") continue;
    lines.push_back("stack " + at(is.lo) + " is deferred");
  }
}

void owner_changes(size_t g, const OwnerView& was, const OwnerView& is, const Snapshot& after, Lines& lines) {
  const std::string name = "g" + std::to_string(g);
  const bool moved = was.lo != is.lo || was.hi != is.hi;
  if (moved && is.lo == is.hi) lines.push_back(name + " has no stack any more");
  if (moved && is.lo != is.hi) {
    const bool had = was.lo != was.hi;
    lines.push_back(name + (had ? " moves to " : " lives on ") + at(is.lo) + ", " + size_of(is.hi - is.lo));
  }
  if (moved && was.lo != was.hi) {
    const std::string place = place_of(after, was.lo);
    if (!place.empty() && place != "deferred") lines.push_back("its old stack " + at(was.lo) + " is " + place);
  }
  const bool told = is.status == GoStatus::kRunning && was.status == GoStatus::kDead;
  if (was.status != is.status && !told) {
    lines.push_back(name + " is " + std::string(kGoStatusNames[static_cast<size_t>(is.status)]));
  }
  for (size_t kind = 0; kind < kRootKinds; ++kind) {
    if (was.roots[kind] == is.roots[kind] || is.roots[kind] == kNowhere) continue;
    if (static_cast<RootKind>(kind) == RootKind::kContext) continue;  // moves with every record
    const std::string root = std::string(kRootNames[kind]) + " of " + name;
    lines.push_back(was.roots[kind] == kNowhere ? root + " = " + at(is.roots[kind])
                                                : root + ": " + at(was.roots[kind]) + " \u2192 " + at(is.roots[kind]));
  }
}

void held_changes(size_t marker, const HeldView& was, const HeldView& is, Lines& lines) {
  const std::string name = "m" + std::to_string(marker);
  if (was.pointer != kNowhere && is.pointer == kNowhere) lines.push_back(name + " RESOLVEs " + at(was.pointer));
  if (is.pointer == kNowhere) return;
  if (was.pointer != is.pointer) {
    lines.push_back(name + " LOADs " + at(is.pointer) + ", " + std::string(kRootNames[static_cast<size_t>(is.kind)]) +
                    " of g" + std::to_string(is.goroutine));
  }
  if (is.dangles && !(was.dangles && was.pointer == is.pointer)) {
    lines.push_back(name + " still holds " + at(is.pointer) + ": it dangles");
  }
}

}  // namespace

std::vector<std::string> changes(const Snapshot& before, const Snapshot& after) {
  Lines lines;
  if (before.phase != after.phase) {
    constexpr std::array kPhases = {"mutators run again", "mark begins", "mark is done"};
    lines.emplace_back(kPhases[static_cast<size_t>(after.phase)]);
  }
  span_changes(before, after, lines);
  for (size_t g = 0; g < kGoroutines; ++g) owner_changes(g, before.owners[g], after.owners[g], after, lines);
  slot_changes(before, after, lines);
  for (size_t m = 0; m < after.held.size(); ++m) held_changes(m, before.held[m], after.held[m], lines);
  return lines;
}

}  // namespace stackdrain
