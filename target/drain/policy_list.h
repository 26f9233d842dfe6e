// What each policy's file gives to the table in policies.cc.
#pragma once

#include <memory>

#include "target/any_pool.h"
#include "target/arena.h"

namespace stackdrain {

std::unique_ptr<AnyPool> make_immediate(Arena& arena);
std::unique_ptr<AnyPool> make_serial(Arena& arena);
std::unique_ptr<AnyPool> make_after_restart(Arena& arena);
std::unique_ptr<AnyPool> make_span_in_pause(Arena& arena);
std::unique_ptr<AnyPool> make_span_after_restart(Arena& arena);
std::unique_ptr<AnyPool> make_sorted_batch(Arena& arena);
std::unique_ptr<AnyPool> make_bitmap(Arena& arena);
std::unique_ptr<AnyPool> make_in_place(Arena& arena);
std::unique_ptr<AnyPool> make_quiescent(Arena& arena);

}  // namespace stackdrain
