// What the tests of programs share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "fuzz/machine.h"
#include "fuzz/program.h"

namespace stackdrain {

// A program's bytes from its text; the test fails, and says where, if it does not parse.
inline std::vector<uint8_t> parsed(std::string_view text) {
  std::vector<uint8_t> bytes;
  if (const auto error = parse_text(text, bytes)) {
    ADD_FAILURE() << error->message << " in line " << error->line << " of:\n" << text;
  }
  return bytes;
}

inline std::vector<uint8_t> encoded(const std::vector<Operation>& operations) {
  std::vector<uint8_t> bytes;
  for (const Operation operation : operations) {
    const uint16_t word = encode_operation(operation);
    bytes.push_back(static_cast<uint8_t>(word & 0xff));
    bytes.push_back(static_cast<uint8_t>(word >> 8));
  }
  return bytes;
}

// One for all tests of a binary: its arena is mapped once.
inline Machine& machine() {
  static Machine& instance = *new Machine;
  return instance;
}

// The same one, with a full walk after each operation from here on.
inline Machine& walking_machine() {
  machine().walk_always(true);
  return machine();
}

}  // namespace stackdrain
