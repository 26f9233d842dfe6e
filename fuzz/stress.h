// What the stress programs share: a look at a pool whose world is stopped, and their command line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "target/any_pool.h"
#include "target/drain/policies.h"

namespace stackdrain {

// What a walk finds damaged, and how much of the arena is in spans of stacks.
class StressWalk final : public WalkVisitor {
 public:
  explicit StressWalk(const AnyPool& pool) { pool.walk(*this); }
  void span(const SpanView& view) override {
    ++spans;
    if (view.state == SpanState::kStack) stack_bytes += uint64_t{view.pages} << kPageShift;
  }
  void slot(const SlotView&) override {}
  void fault(WalkFault, uintptr_t) override { ++faults; }

  uint64_t stack_bytes = 0;
  size_t spans = 0;
  size_t faults = 0;
};

// NAME POLICY|sound [CYCLES [SEED]]: runs each policy that is asked for; false from `one`: it fails. The exit code.
inline int stress(const char* name, int argc, char** argv,
                  bool (*one)(const PolicyRow& policy, int cycles, uint32_t seed)) {
  const std::string_view chosen = argc > 1 ? argv[1] : "";
  const int cycles = argc > 2 ? std::atoi(argv[2]) : 50;
  const int seed = argc > 3 ? std::atoi(argv[3]) : 1;
  if (cycles < 1 || argc > 4 || (chosen != "sound" && find_policy(chosen) == nullptr)) {
    std::fprintf(stderr, "usage: %s POLICY|sound [CYCLES [SEED]]; CYCLES from 1; stackdrain list policies\n", name);
    return 2;
  }
  bool well = true;
  for (const PolicyRow& policy : policies()) {
    if (chosen != policy.name && !(chosen == "sound" && policy.claims.sound)) continue;
    well = one(policy, cycles, static_cast<uint32_t>(seed)) && well;
  }
  return well ? 0 : 1;
}

}  // namespace stackdrain
