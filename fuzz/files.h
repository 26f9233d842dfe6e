// Whole files: read at once, and written at once or not at all.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace stackdrain {

// Bad usage or bad input: one line saying what, where and what to do. main prints it and exits with 2.
class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The whole file; InputError if it can't be read.
std::string read_file(const std::string& path);
// Writes a file at once or not at all: a temporary beside it, then a rename. What is no regular file (a device, a FIFO)
// stays what it is, and is written to; "-" is standard output. InputError, which names the option that said where, if
// it can't be written.
void write_file(const std::string& path, std::string_view content, std::string_view option = "--out");
// InputError if write_file could not write there now; leaves everything as it is.
void check_writable(const std::string& path, std::string_view option = "--out");
// A new folder beside `path`, of a name that nothing has; "" if there can't be one, and errno says why.
std::string make_folder_beside(const std::string& path);

}  // namespace stackdrain
