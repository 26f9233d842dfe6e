// What the verbs of stackdrain_tool share: reading programs, choosing policies, JSON, and how a process ends.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/files.h"
#include "target/drain/policies.h"

namespace stackdrain {

// What every process ends with: `code`, or 2 and one line if standard output did not take all that was printed. A code
// of 2 has had its line.
int end_output(int code);
// The text in double quotes, as JSON has it.
std::string json_string(std::string_view text);
// A program from a file: text if it ends in .ops, bytes otherwise. InputError names file and line.
std::vector<uint8_t> read_program(const std::string& path);
// The rows that --policy names: one, "all" or "sound"; InputError with a suggestion for an unknown name.
std::vector<const PolicyRow*> choose_policies(std::string_view name);
// Plants the defect of that name ("" for none); InputError if there is none such.
void plant_defect(std::string_view name);

}  // namespace stackdrain
