// Bundle: everything about one crash as a folder: the input, the program, the reproducer, the explanation, the picture.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stackdrain {

struct BundleFile {
  std::string name;
  std::string what;  // one line, for index.json
  std::string content;
};

// Throws InputError if a bundle can't be written there: what is there is no folder, or not an empty one.
void check_bundle_folder(const std::string& folder);
// Writes the files and index.json, which lists them after `facts` (a JSON object's members), at once or not at all:
// into a folder beside it that is then renamed. Throws InputError.
void write_bundle(const std::string& folder, std::string_view facts, const std::vector<BundleFile>& files);

}  // namespace stackdrain
