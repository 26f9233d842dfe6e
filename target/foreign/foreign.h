// A pool that is not ours, as a row of the table of policies.
//
// P models StackPool, or only SmallStackPool. What it says of itself is optional: `static constexpr PolicyClaims
// kClaims` is what it is held to (none: what every sound pool claims; a small pool's are made here, because its
// deferral is SmallPool's), `static constexpr std::string_view kSummary` stands in tables.
#pragma once

#include <concepts>
#include <memory>
#include <string_view>
#include <type_traits>

#include "target/drain/policies.h"
#include "target/foreign/c_pool_adapter.h"
#include "target/foreign/small_pool.h"

namespace stackdrain {

template <class P>
inline constexpr bool joins_whole = StackPool<P> && std::constructible_from<P, Arena&>;

// What a P is run as; ill-formed with one line if it is neither.
template <class P>
struct ForeignBox {
  static_assert(joins_whole<P> || SmallStackPool<P>,
                "this type models neither StackPool (target/any_pool.h, made from an Arena&) nor SmallStackPool "
                "(target/foreign/small_pool.h): allocate(size_t) -> Stack and free(Stack) are the least");
  static std::unique_ptr<AnyPool> make(Arena& arena) {
    if constexpr (joins_whole<P>) {
      return std::make_unique<PoolBox<P>>(arena);
    } else {
      return std::make_unique<PoolBox<SmallPool<P>>>(arena);
    }
  }
};

template <class P>
constexpr PolicyClaims foreign_claims() {
  if constexpr (requires { P::kClaims; }) {
    return P::kClaims;
  } else if constexpr (joins_whole<P>) {
    return {};
  } else {
    return {.concurrent_mark = true,
            .defers_shrunk = true,
            .empties_in_pause = true,
            .pause_work_per_stack = 1,
            .tells_places = false};
  }
}

template <class P>
constexpr PolicyRow foreign_row(std::string_view name, std::string_view origin) {
  std::string_view summary =
      joins_whole<P> || DeferringStackPool<P> ? "a pool of yours" : "a pool of yours; the suite puts off for it";
  if constexpr (requires { P::kSummary; }) summary = P::kSummary;
  return {
      .name = name, .summary = summary, .origin = origin, .claims = foreign_claims<P>(), .make = ForeignBox<P>::make};
}

}  // namespace stackdrain
