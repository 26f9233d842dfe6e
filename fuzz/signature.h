// Signature: what is one crash has one name, whatever program, goroutine, address or policy shows it.
//
//   A3@shrink/elem     the invariant, the operation that made the call after which it was seen broken (a marker's root
//                      job is `shrink`, whoever runs it), and what the message is about: a record, a word of a frame, a
//                      place where a stack is, ...
//   G2@drain/answer    a difference between policies: in an operation's answer, or (G2@end/state) when all is at rest
//   stop@exit          something else than the checker ended the process in the middle of that
#pragma once

#include <array>
#include <string_view>

#include "fuzz/differential.h"
#include "fuzz/machine.h"

namespace stackdrain {

using Signature = std::array<char, 64>;

// Each allocates nothing. Of a verdict that is violated:
Signature signature_of(const Verdict& verdict);
// Of a difference that is found; `verdict`: the machine's, for what a policy violated by itself.
Signature signature_of(ProgramView program, const Difference& difference, const Verdict& verdict);
// Of an end in the middle of an operation; `seen`: what was seen broken before, or nullptr.
Signature signature_of_stop(Op site, const Violation* seen);

// What a message is about: "elem", "cached+live"; empty if it is about nothing that has a name.
std::string_view topic_of(std::string_view message, std::array<char, 32>& buffer);

}  // namespace stackdrain
