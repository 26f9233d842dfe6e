// pair_rows NAME: one repetition of the pair study, as rows of results.json's section "pairs".
// pair_rows NAME live: how many stacks it can have at a time, of kLiveAsked, as a row of "live".
//
// NAME is a policy, or a peer of benchmarks/peers/allocators.txt: free-list, boost-pooled, boost-protected, mmap, or
// whatever malloc this process has. CMake makes one such program a peer that replaces malloc, linked with its library,
// and the command runs them and the policies in turns. Exit code 1: malloc is not that of the library named at build
// time. 2: bad arguments.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/pair_allocators.h"
#include "benchmarks/pair_study.h"
#include "nlohmann/json.hpp"
#include "target/arena.h"
#include "target/drain/policies.h"

namespace stackdrain {
namespace {

constexpr size_t kPairs = 200'000;
constexpr size_t kSystemPairs = 4'000;  // of those that ask the system each time
constexpr size_t kLiveAsked = 102'400;
constexpr size_t kLiveBytes = 8192;
constexpr char kLibraryName[] = STACKDRAIN_PEER_LIBRARY;  // "": the C library's malloc
constexpr std::string_view kLibrary{&kLibraryName[0], sizeof kLibraryName - 1};

using BoostPooled = BoostPairs<boost::context::pooled_fixedsize_stack>;
using BoostProtected = BoostPairs<boost::context::protected_fixedsize_stack>;

struct Asked {
  std::string_view name;
  std::string_view kind;
  bool live = false;
  size_t pairs = kPairs;
};

// `make`: an allocator for one size. A list of blocks that forgets their size must not serve two.
template <class Make>
nlohmann::json pairs_of(const Make& make, const Asked& asked) {
  nlohmann::json rows = nlohmann::json::array();
  for (const size_t bytes : kPairSizes) {
    const auto allocator = make(bytes);
    for (const int threads : kPairThreads) {
      for (size_t pattern = 0; pattern < std::size(kPairPatterns); ++pattern) {
        const double ns = pair_ns(*allocator, static_cast<PairPattern>(pattern), threads, bytes, asked.pairs);
        rows.push_back({{"allocator", asked.name},
                        {"kind", asked.kind},
                        {"threads", threads},
                        {"pattern", kPairPatterns[pattern]},
                        {"stack_bytes", bytes},
                        {"pair_ns", {ns}}});
      }
    }
  }
  return rows;
}

// Takes stacks until there are none, or one that should have a guard page and has none (Boost asks the system for it
// and does not look at the answer). In each the word is written where a stack begins.
template <class Make>
nlohmann::json live_of(const Make& make, const Asked& asked) {
  const auto allocator = make(kLiveBytes);
  std::vector<uintptr_t> blocks;
  std::string_view ended_by;
  blocks.reserve(kLiveAsked);
  while (blocks.size() < kLiveAsked) {
    const uintptr_t block = allocator->take(0, kLiveBytes);
    if (block == 0) {
      ended_by = "refused";
      break;
    }
    *reinterpret_cast<volatile uintptr_t*>(block + kLiveBytes - sizeof(uintptr_t)) = block;
    blocks.push_back(block);
    if constexpr (requires { allocator->guarded(block, kLiveBytes); }) {
      if (allocator->guarded(block, kLiveBytes)) continue;
      ended_by = "no guard page";
      break;
    }
  }
  const size_t good = blocks.size() - (ended_by == "no guard page" ? 1 : 0);
  for (const uintptr_t block : blocks) allocator->give(0, block, kLiveBytes);
  return {{"allocator", asked.name}, {"kind", asked.kind}, {"stack_bytes", kLiveBytes},
          {"asked", kLiveAsked},     {"live", good},       {"ended_by", ended_by}};
}

template <class Make>
nlohmann::json answer(const Make& make, const Asked& asked) {
  return asked.live ? live_of(make, asked) : pairs_of(make, asked);
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

nlohmann::json answer(std::string_view name, bool live) {
  if (const PolicyRow* policy = find_policy(name)) {
    Arena arena(live ? 2 * kLiveAsked * kLiveBytes : size_t{64} << 20);
    const std::unique_ptr<AnyPool> pool = policy->make(arena);
    pool->reset(go119_preset());
    return answer([&](size_t) { return std::make_unique<PoolPairs>(*pool); }, {name, "policy", live});
  }
  if (name == "free-list")
    return answer([](size_t) { return std::make_unique<FreeListPairs>(); }, {name, "peer", live});
  if (name == "mmap")
    return answer([](size_t) { return std::make_unique<MmapPairs>(); }, {name, "peer", live, kSystemPairs});
  if (name == "boost-pooled")
    return answer([](size_t bytes) { return std::make_unique<BoostPooled>(bytes); }, {name, "peer", live});
  if (name == "boost-protected") {
    return answer([](size_t bytes) { return std::make_unique<BoostProtected>(bytes); },
                  {name, "peer", live, kSystemPairs});
  }
  return answer([](size_t) { return std::make_unique<MallocPairs>(); }, {name, "peer", live});
}

}  // namespace
}  // namespace stackdrain

int main(int argc, char** argv) {
  const bool live = argc == 3 && std::string_view(argv[2]) == "live";
  if (argc != 2 && !live) {
    std::fprintf(stderr, "usage: pair_rows POLICY or PEER [live] (see: ./stackdrain list policies, list peers)\n");
    return 2;
  }
  if (!stackdrain::malloc_is_right()) return 1;
  std::printf("%s\n", stackdrain::answer(argv[1], live).dump().c_str());
  return 0;
}
