// A schedule as text that can be read back, as short as it can be, and as a picture.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/schedule.h"

namespace stackdrain {

// An input as text: `weak-memory` or `weak-memory deep` if it has that, a program's lines, then `switch WHO+POINTS …`
// or `priorities N …`.
std::string schedule_text(const ScheduleInput& input);
// The input that such a text says; on error why not.
std::optional<ParseError> parse_schedule(std::string_view text, std::vector<uint8_t>& bytes);

// A shorter input that violates the same invariant: operations, then switches, are left out while it does. `input`
// must violate one.
std::vector<uint8_t> minimize_schedule(Scheduler& scheduler, std::vector<uint8_t> input, const PolicyRow& policy);

// A page that needs nothing else: what broke, a lane for each actor over the steps with the fatal one marked, the
// input as text. After Scheduler::run.
std::string schedule_page(const Scheduler& scheduler, const PolicyRow& policy, std::string_view reproduce);

}  // namespace stackdrain
