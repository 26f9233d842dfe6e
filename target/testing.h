// For target's tests: a walk that collects what it is told.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "target/any_pool.h"

namespace stackdrain {

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
  size_t spans_in(SpanState state) const {
    size_t n = 0;
    for (const SpanView& view : spans) n += view.state == state ? 1 : 0;
    return n;
  }

  std::vector<SpanView> spans;
  std::vector<SlotView> slots;
  std::map<SlotPlace, size_t> count;
  std::string faults;
};

}  // namespace stackdrain
