#include "fuzz/bundle.h"

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "fuzz/tool.h"

namespace stackdrain {

namespace fs = std::filesystem;

namespace {

InputError unwritable(const std::string& folder, const std::string& why) {
  return InputError(folder + ": cannot be written: " + why + "; choose another --bundle");
}

// Whether what is there of its path takes a new folder; leaves everything as it is.
void check_parent(const std::string& folder) {
  std::error_code error;
  fs::path there = fs::absolute(folder, error).parent_path();
  while (there.has_relative_path() && !fs::exists(there, error)) there = there.parent_path();
  const std::string made = make_folder_beside((there / "bundle").string());
  if (made.empty()) throw unwritable(folder, std::generic_category().message(errno));
  fs::remove(made, error);
}

std::string index_of(std::string_view facts, const std::vector<BundleFile>& files) {
  std::string index = "{\n" + std::string(facts) + ",\n  \"files\": {";
  for (const BundleFile& file : files) {
    index += std::string(&file == files.data() ? "" : ",") + "\n    " + json_string(file.name) + ": " +
             json_string(file.what);
  }
  return index + "\n  }\n}\n";
}

}  // namespace

void check_bundle_folder(const std::string& folder) {
  std::error_code error;
  if (fs::exists(folder, error)) {
    if (!fs::is_directory(folder, error)) throw InputError(folder + ": is a file; name a new folder for --bundle");
    if (!fs::is_empty(folder, error) || error) {
      throw InputError(folder + ": is not empty; name a new folder for --bundle");
    }
  }
  check_parent(folder);
}

void write_bundle(const std::string& folder, std::string_view facts, const std::vector<BundleFile>& files) {
  check_bundle_folder(folder);
  const fs::path whole = fs::path(folder).has_filename() ? fs::path(folder) : fs::path(folder).parent_path();
  fs::path half;
  std::error_code error;
  if (whole.has_parent_path()) fs::create_directories(whole.parent_path(), error);
  try {
    if (error) throw InputError("");
    half = make_folder_beside(whole.string());
    if (half.empty()) error.assign(errno, std::generic_category());
    if (error) throw InputError("");
    for (const BundleFile& file : files) write_file((half / file.name).string(), file.content);
    write_file((half / "index.json").string(), index_of(facts, files));
    fs::rename(half, whole, error);  // onto an empty folder, too
    if (error) throw InputError("");
  } catch (const InputError&) {
    const std::string why = error ? error.message() : "a file of it cannot be";
    if (!half.empty()) fs::remove_all(half, error);
    throw unwritable(folder, why);
  }
}

}  // namespace stackdrain
