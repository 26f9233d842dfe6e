// The timeline as one HTML page that needs nothing else: what broke, a picture (operations from left to right, the
// arena from top to bottom), the same in words, the program.
//
// The picture shows the arena not to scale: what holds a goroutine's stack at some time is high enough to read, the
// rest is squeezed. Column n is what was there after step n.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/timeline.h"

namespace stackdrain {

struct PageFacts {
  std::string headline;   // what broke, or that nothing did
  std::string invariant;  // what must hold; may be empty
  std::string message;    // both sides of what disagreed; may be empty
  std::string reproduce;  // the command that shows it again
};

std::string timeline_page(std::span<const Recording> recordings, const PageFacts& facts);

// The picture alone, as SVG; "" without steps.
std::string picture_of(const Recording& recording);

// Text in HTML.
std::string escaped(std::string_view text);

// What a step did: what it changed, or why nothing, or what the machine says of it. Is it what went wrong?
std::vector<std::string> story_of(const Step& step, const Snapshot& before);
bool is_bad(const std::string& event);

// What a step changed, in words: "elem of g1: +0xffe0 -> +0x11fe0".
std::vector<std::string> changes(const Snapshot& before, const Snapshot& after);

}  // namespace stackdrain
