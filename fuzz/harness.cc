#include "fuzz/harness.h"

#include <cstdio>
#include <cstdlib>

#include "target/defects.h"

namespace stackdrain {

const PolicyRow* chosen_policy() {
  const char* name = std::getenv("STACKDRAIN_POLICY");
  if (name == nullptr || name[0] == 0) return nullptr;
  const PolicyRow* row = find_policy(name);
  if (row != nullptr) return row;
  std::fprintf(stderr, "STACKDRAIN_POLICY: no policy is called '%s'; see: stackdrain list policies\n", name);
  std::exit(2);
}

void plant_chosen_defect() {
  const char* name = std::getenv("STACKDRAIN_DEFECT");
  if (name == nullptr || name[0] == 0) return;
#if STACKDRAIN_DEFECTS
  for (size_t i = 0; i < kDefects.size(); ++i) {
    if (kDefects[i].name != name) continue;
    planted_defect = static_cast<Defect>(i);
    return;
  }
  std::fprintf(stderr, "STACKDRAIN_DEFECT: no defect is called '%s'; see: stackdrain list defects\n", name);
#else
  std::fprintf(stderr, "STACKDRAIN_DEFECT: this build has no planted defects; build with -DSTACKDRAIN_DEFECTS=ON\n");
#endif
  std::exit(2);
}

}  // namespace stackdrain
