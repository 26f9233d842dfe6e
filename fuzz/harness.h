// What the environment tells a harness: STACKDRAIN_POLICY and STACKDRAIN_DEFECT name a policy and a planted defect.
// OSS-Fuzz runs harnesses with neither. A name that is not known ends the process with one line and exit code 2.
#pragma once

#include "target/drain/policies.h"

namespace stackdrain {

// The chosen policy; nullptr if none was chosen.
const PolicyRow* chosen_policy();
void plant_chosen_defect();

}  // namespace stackdrain
