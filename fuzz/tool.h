// What the verbs of stackdrain_tool share: reading input, choosing policies, and errors as one line with exit code 2.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "target/drain/policies.h"

namespace stackdrain {

// Bad usage or bad input: one line saying what, where and what to do. main prints it and exits with 2.
class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The whole file; InputError if it can't be read.
std::string read_file(const std::string& path);
// Writes a file at once or not at all: a temporary beside it, then a rename. What is no regular file (a device, a FIFO)
// stays what it is, and is written to; "-" is standard output. InputError if it can't be written.
void write_file(const std::string& path, std::string_view content);
// InputError if write_file could not write there now; leaves everything as it is.
void check_writable(const std::string& path);
// A new folder beside `path`, of a name that nothing has; "" if there can't be one, and errno says why.
std::string make_folder_beside(const std::string& path);
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
