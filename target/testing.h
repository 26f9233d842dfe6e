// For tests: a walk that collects what it is told, and whether to do less because a sanitizer slows everything down.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "target/any_pool.h"

namespace stackdrain {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STACKDRAIN_SLOW_BUILD 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACKDRAIN_SLOW_BUILD 1
#endif
#ifdef STACKDRAIN_SLOW_BUILD
inline constexpr bool kSlowBuild = true;
#else
inline constexpr bool kSlowBuild = false;
#endif

class CollectedWalk final : public WalkVisitor {
 public:
  template <class Walkable>
  explicit CollectedWalk(const Walkable& pool) {
    pool.walk(*this);
  }

  void span(const SpanView& view) override { spans.push_back(view); }
  void slot(const SlotView& view) override {
    ++count[view.place];
    slots.push_back(view);
  }
  void fault(WalkFault fault, uintptr_t) override {
    faults += std::string(kWalkFaultNames[static_cast<size_t>(fault)]) + "; ";
  }

  size_t in(SlotPlace place) { return count[place]; }

  std::vector<SpanView> spans;
  std::vector<SlotView> slots;
  std::map<SlotPlace, size_t> count;
  std::string faults;
};

}  // namespace stackdrain
