#include "fuzz/tool.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fuzz/program.h"
#include "target/defects.h"

namespace stackdrain {
namespace {

std::string unknown(std::string_view kind, std::string_view name, const std::vector<std::string_view>& names) {
  std::string message = "unknown " + std::string(kind) + " '" + std::string(name) + "'";
  if (const std::string_view near = nearest(name, names); !near.empty()) {
    return message + " (did you mean '" + std::string(near) + "'?)";
  }
  message += "; there are:";
  for (const std::string_view known : names) message += " " + std::string(known);
  return message;
}

InputError unwritable(const std::string& path, int error) {
  return InputError(path + ": cannot be written: " + std::strerror(error) + "; choose another --out");
}

// Whether a whole new file takes that name: there is none, or a regular one. A link that leads nowhere is no file
// either: what is opened by its name is made where it leads to.
bool is_replaced(const std::string& path) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) throw unwritable(path, errno);
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

void write_file(const std::string& path, std::string_view content) {
  if (path == "-") {
    std::fwrite(content.data(), 1, content.size(), stdout);
    return;
  }
  if (!is_replaced(path)) {
    if (!put(std::fopen(path.c_str(), "wb"), content)) throw unwritable(path, errno);
    return;
  }
  const std::string target = without_links(path);
  std::string temporary;
  const int file = make_file_beside(target, temporary);
  if (file < 0) throw unwritable(path, errno);
  if (!put(fdopen(file, "wb"), content) || std::rename(temporary.c_str(), target.c_str()) != 0) {
    const InputError error = unwritable(path, errno);
    unlink(temporary.c_str());
    throw error;
  }
}

void check_writable(const std::string& path) {
  if (path == "-") return;
  if (!is_replaced(path)) {
    // Opening it would wait for a FIFO's reader. What a link leads to need not be there yet.
    if (access(path.c_str(), W_OK) != 0 && errno != ENOENT) throw unwritable(path, errno);
    return;
  }
  std::string temporary;
  const int file = make_file_beside(without_links(path), temporary);
  if (file < 0) throw unwritable(path, errno);
  close(file);
  unlink(temporary.c_str());
}

std::string make_folder_beside(const std::string& path) {
  std::string name = name_beside(path);
  if (mkdtemp(name.data()) == nullptr) return "";
  chmod(name.c_str(), usual(0777));
  return name;
}

int end_output(int code) {
  const bool flushed = std::fflush(stdout) == 0;
  const char* why = flushed ? "a part of it is lost" : std::strerror(errno);
  if (flushed && std::ferror(stdout) == 0) return code;
  if (code != 2) {
    std::fprintf(stderr, "stackdrain: standard output: cannot be written: %s; send it where there is room\n", why);
  }
  return 2;
}

std::string json_string(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    if (static_cast<unsigned char>(c) >= ' ') {
      json += c;
      continue;
    }
    std::array<char, 8> code;
    std::snprintf(code.data(), code.size(), "\\u%04x", static_cast<unsigned>(c));
    json += code.data();
  }
  return json + "\"";
}

std::vector<uint8_t> read_program(const std::string& path) {
  const std::string content = read_file(path);
  std::vector<uint8_t> bytes;
  if (!path.ends_with(".ops")) return {content.begin(), content.end()};
  if (const auto error = parse_text(content, bytes)) {
    throw InputError(path + ":" + std::to_string(error->line) + ": " + error->message);
  }
  return bytes;
}

std::vector<const PolicyRow*> choose_policies(std::string_view name) {
  std::vector<const PolicyRow*> rows;
  std::vector<std::string_view> names = {"all", "sound", "span-records"};
  for (const PolicyRow& row : policies()) {
    names.push_back(row.name);
    const bool chosen = name == row.name || name == "all" || (name == "sound" && row.claims.sound) ||
                        (name == "span-records" && row.claims.span_records);
    if (chosen) rows.push_back(&row);
  }
  if (rows.empty()) throw InputError(unknown("policy", name, names));
  return rows;
}

void plant_defect(std::string_view name) {
  if (name.empty()) return;
  std::vector<std::string_view> names;
  for (size_t i = 0; i < kDefects.size(); ++i) {
    names.push_back(kDefects[i].name);
    if (kDefects[i].name != name) continue;
#if STACKDRAIN_DEFECTS
    planted_defect = static_cast<Defect>(i);
    return;
#else
    throw InputError("this build has no planted defects; configure with -DSTACKDRAIN_DEFECTS=ON");
#endif
  }
  throw InputError(unknown("defect", name, names));
}

}  // namespace stackdrain
