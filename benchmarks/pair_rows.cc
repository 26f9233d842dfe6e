// pair_rows NAME: one repetition of the pair study, as rows of results.json's section "pairs".
//
// NAME is a policy, or a peer of benchmarks/peers/allocators.txt: free-list, or whatever malloc this process has. CMake
// makes one such program a peer, linked with its library, and the command runs them and the policies in turns. Exit
// code 1: malloc is not that of the library named at build time. 2: bad arguments.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "benchmarks/pair_allocators.h"
#include "benchmarks/pair_study.h"
#include "nlohmann/json.hpp"
#include "target/arena.h"
#include "target/drain/policies.h"

namespace stackdrain {
namespace {

constexpr size_t kPairs = 200'000;
constexpr char kLibraryName[] = STACKDRAIN_PEER_LIBRARY;  // "": the C library's malloc
constexpr std::string_view kLibrary{&kLibraryName[0], sizeof kLibraryName - 1};

// `make`: an allocator for one size. A list of blocks that forgets their size must not serve two.
template <class Make>
nlohmann::json rows_of(const Make& make, std::string_view name, std::string_view kind) {
  nlohmann::json rows = nlohmann::json::array();
  for (const size_t bytes : kPairSizes) {
    const auto allocator = make();
    for (const int threads : kPairThreads) {
      for (size_t pattern = 0; pattern < std::size(kPairPatterns); ++pattern) {
        const double ns = pair_ns(*allocator, static_cast<PairPattern>(pattern), threads, bytes, kPairs);
        rows.push_back({{"allocator", name},
                        {"kind", kind},
                        {"threads", threads},
                        {"pattern", kPairPatterns[pattern]},
                        {"stack_bytes", bytes},
                        {"pair_ns", {ns}}});
      }
    }
  }
  return rows;
}

// Is malloc what it should be? A library that is linked and not used would be measured under a wrong name.
bool malloc_is_right() {
  Dl_info info{};
  const bool known = dladdr(reinterpret_cast<void*>(&std::malloc), &info) != 0 && info.dli_fname != nullptr;
  const std::string_view from = known ? info.dli_fname : "?";
  const std::string_view wanted = kLibrary.empty() ? "libc.so" : kLibrary;
  if (from.find(wanted) != std::string_view::npos) return true;
  std::fprintf(stderr, "pair_rows: malloc comes from %s, not from %s; configure again\n", std::string(from).c_str(),
               std::string(wanted).c_str());
  return false;
}

nlohmann::json rows_of(std::string_view name) {
  if (const PolicyRow* policy = find_policy(name)) {
    Arena arena(size_t{64} << 20);
    const std::unique_ptr<AnyPool> pool = policy->make(arena);
    pool->reset(go119_preset());
    return rows_of([&] { return std::make_unique<PoolPairs>(*pool); }, name, "policy");
  }
  if (name == "free-list") return rows_of([] { return std::make_unique<FreeListPairs>(); }, name, "peer");
  return rows_of([] { return std::make_unique<MallocPairs>(); }, name, "peer");
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: pair_rows POLICY or PEER (one; see: ./stackdrain list policies, list peers)\n");
    return 2;
  }
  if (!stackdrain::malloc_is_right()) return 1;
  std::printf("%s\n", stackdrain::rows_of(argv[1]).dump().c_str());
  return 0;
}
