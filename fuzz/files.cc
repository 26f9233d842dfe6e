#include "fuzz/files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace stackdrain {
namespace {

InputError unwritable(const std::string& path, int error, std::string_view option) {
  return InputError(path + ": cannot be written: " + std::strerror(error) + "; choose another " + std::string(option));
}

// Whether a whole new file takes that name: there is none, or a regular one. A link that leads nowhere is no file
// either: what is opened by its name is made where it leads to.
bool is_replaced(const std::string& path, std::string_view option) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) throw unwritable(path, errno, option);
    return true;
  }
  if (stat(path.c_str(), &status) != 0) return false;
  if (S_ISDIR(status.st_mode)) throw InputError(path + ": is a directory; name a file in it");
  return S_ISREG(status.st_mode);
}

// For mkstemp and mkdtemp. It is short, for `path` may have the longest name that there can be.
std::string name_beside(const std::string& path) {
  return (std::filesystem::path(path).parent_path() / ".stackdrain-XXXXXX").string();
}

// What a new file or folder has of these permissions; mkstemp and mkdtemp give less.
mode_t usual(mode_t permissions) {
  const mode_t mask = umask(0);
  umask(mask);
  return permissions & ~mask;
}

// A new file that is to take the place of `path`, and its name; -1 and errno if there can't be one.
int make_file_beside(const std::string& path, std::string& name) {
  name = name_beside(path);
  const int file = mkstemp(name.data());
  if (file >= 0) fchmod(file, usual(0666));
  return file;
}

// The file that a link leads to, so that the link stays.
std::string without_links(const std::string& path) {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path, error);
  return error ? path : real.string();
}

// Closes the file, too; errno says what went wrong first.
bool put(std::FILE* file, std::string_view content) {
  if (file == nullptr) return false;
  const bool written = std::fwrite(content.data(), 1, content.size(), file) == content.size();
  const int why = errno;
  const bool closed = std::fclose(file) == 0;
  if (!written) errno = why;
  return written && closed;
}

}  // namespace

std::string read_file(const std::string& path) {
  std::error_code error;  // what can't be looked at can't be opened, either, and that is told
  if (std::filesystem::is_directory(path, error)) throw InputError(path + ": is a directory; name a file in it");
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (file) content << file.rdbuf();
  if (!file)
    throw InputError(path + ": cannot be read: " + std::strerror(errno) + "; check the name and its permissions");
  return content.str();
}

void write_file(const std::string& path, std::string_view content, std::string_view option) {
  if (path == "-") {
    std::fwrite(content.data(), 1, content.size(), stdout);
    return;
  }
  if (!is_replaced(path, option)) {
    if (!put(std::fopen(path.c_str(), "wb"), content)) throw unwritable(path, errno, option);
    return;
  }
  const std::string target = without_links(path);
  std::string temporary;
  const int file = make_file_beside(target, temporary);
  if (file < 0) throw unwritable(path, errno, option);
  if (!put(fdopen(file, "wb"), content) || std::rename(temporary.c_str(), target.c_str()) != 0) {
    const InputError error = unwritable(path, errno, option);
    unlink(temporary.c_str());
    throw error;
  }
}

void check_writable(const std::string& path, std::string_view option) {
  if (path == "-") return;
  if (!is_replaced(path, option)) {
    // Opening it would wait for a FIFO's reader. What a link leads to need not be there yet.
    if (access(path.c_str(), W_OK) != 0 && errno != ENOENT) throw unwritable(path, errno, option);
    return;
  }
  std::string temporary;
  const int file = make_file_beside(without_links(path), temporary);
  if (file < 0) throw unwritable(path, errno, option);
  close(file);
  unlink(temporary.c_str());
}

std::string make_folder_beside(const std::string& path) {
  std::string name = name_beside(path);
  if (mkdtemp(name.data()) == nullptr) return "";
  chmod(name.c_str(), usual(0777));
  return name;
}

}  // namespace stackdrain
