// Demand: what the program alone says of memory: how much each processor's cache must hold by the caches' own rule
// (B4), and how many bytes in spans of stacks the program can have needed at once (E7).
//
// A cache, an order: an empty one is filled to kCacheFillBytes before a stack is taken; one that has reached
// kCacheCapBytes is released to kCacheFillBytes before a stack is put in. Nothing else changes it but a flush.
// Where there are shelves: what is released goes onto the processor's own, and when that would hold more than its cap
// the pool gets half of it first; a fill is from there unless it is empty. Shelves count as caches here.
//
// A span is carved only when no span of its order has a free slot. So there are never more spans of an order than the
// slots that were live, cached or deferred at once have filled, rounded up; and never more bytes in large stacks than
// were live, deferred or kept for reuse at once. That is the bound on the peak: live + deferred + caches + the rest of
// one span an order.
//
// Where the arena was exhausted a cache is filled as far as it went, which the pool alone knows (fell_short). Where
// operations overlapped, who took what first is not known, and E7 is not held.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "target/stack.h"
#include "target/stack_cache.h"

namespace stackdrain {

class Demand {
 public:
  // Nothing is known before.
  void begin(int orders) {
    *this = {};
    orders_ = orders;
  }
  // As PolicyClaims::keeps_shelves says.
  void keep_shelves(const PoolParams& params) {
    for (int order = 0; order < params.orders; ++order) {
      shelf_caps_[static_cast<size_t>(order)] =
          static_cast<uint32_t>(shelf_cap_bytes(params, size_t{params.arena_pages} << kPageShift, order));
    }
  }
  bool knows_caches() const { return orders_ != 0 && !lost_count_; }
  bool knows_peak() const { return orders_ != 0 && !overlapped_; }
  uint64_t cached_bytes() const { return cached_bytes_; }
  // The most that spans of stacks can have needed at once; `kept`: bytes of unused large stacks that wait for reuse.
  uint64_t most_bytes() const {
    uint64_t bytes = most_large_bytes_;
    for (const uint32_t spans : most_spans_) bytes += uint64_t{spans} * kPoolSpanBytes;
    return bytes;
  }

  // Empty spans of an order that a drain may leave for its next growth: not more than were put to use in the cycle
  // before, each by the taking of a slot.
  uint32_t may_stay(int order) const {
    return knows_peak() ? used_in_cycle_[static_cast<size_t>(order)] : ~uint32_t{0};
  }

  void overlapped() { overlapped_ = true; }
  // The pause of a cycle is over.
  void cycle_ended() {
    used_in_cycle_ = taken_;
    taken_ = {};
  }
  // A stack came from the pool; kNoProc: not through a cache. `reused`: it is a large one that had been kept.
  void allocated(Proc proc, size_t bytes, bool reused) {
    const int order = order_of(bytes);
    if (order >= orders_) {
      large_bytes_ += reused ? 0 : bytes;
      most_large_bytes_ = std::max(most_large_bytes_, large_bytes_);
      return;
    }
    const auto index = static_cast<size_t>(order);
    if (proc == kNoProc) {
      ++slots_[index];
      ++taken_[index];
    } else {
      uint32_t& cached = cached_of(proc, index);
      if (uint32_t& shelf = shelved_of(proc, index); cached == 0 && shelf != 0) {
        change(shelf, shelf - kCacheFillBytes);
        change(cached, kCacheFillBytes);
      } else if (cached == 0) {
        change(cached, kCacheFillBytes);
        slots_[index] += static_cast<uint32_t>(kCacheFillBytes / bytes);
        taken_[index] += static_cast<uint32_t>(kCacheFillBytes / bytes);
        ++refills_;
        refilled_proc_ = proc;
        refilled_order_ = index;
      }
      change(cached, cached - bytes);
    }
    const size_t spans = (slots_[index] * bytes + kPoolSpanBytes - 1) / kPoolSpanBytes;
    most_spans_[index] = std::max(most_spans_[index], static_cast<uint32_t>(spans));
  }
  // A stack was given up, and is not deferred. kNoProc: past the caches.
  void freed(Proc proc, size_t bytes) {
    const int order = order_of(bytes);
    if (order >= orders_) {
      large_bytes_ -= bytes;
      return;
    }
    const auto index = static_cast<size_t>(order);
    if (proc == kNoProc) {
      --slots_[index];
      return;
    }
    uint32_t& cached = cached_of(proc, index);
    if (cached >= kCacheCapBytes) {
      const size_t excess = cached - kCacheFillBytes;
      if (shelf_caps_[index] != 0) {
        put_on_shelf(shelved_of(proc, index), index, excess);
      } else {
        slots_[index] -= static_cast<uint32_t>(excess / bytes);
      }
      change(cached, kCacheFillBytes);
    }
    change(cached, cached + bytes);
  }
  // A large stack lost that much where it lies.
  void halved(size_t bytes) { large_bytes_ -= bytes; }
  // Large stacks that waited for reuse are gone.
  void forget_kept(uint64_t bytes) { large_bytes_ -= bytes; }
  void flushed(Proc proc) {
    for (size_t order = 0; order < static_cast<size_t>(orders_); ++order) {
      for (uint32_t* held : {&cached_of(proc, order), &shelved_of(proc, order)}) {
        slots_[order] -= static_cast<uint32_t>(*held / order_bytes(static_cast<int>(order)));
        change(*held, 0);
      }
    }
  }
  // Was any cache filled since this was last asked?
  bool refilled() const { return refills_ != 0; }
  // After an operation: `bytes` less than a full fill were to be had. Of two fills nobody knows which.
  void settle(uint64_t bytes) {
    if (bytes != 0 && refills_ == 1) {
      uint32_t& cached = cached_of(refilled_proc_, refilled_order_);
      slots_[refilled_order_] -= static_cast<uint32_t>(bytes / order_bytes(static_cast<int>(refilled_order_)));
      change(cached, cached - bytes);
    }
    lost_count_ = lost_count_ || (bytes != 0 && refills_ != 1);
    refills_ = 0;
  }

 private:
  static constexpr size_t kProcs = 4;  // more than a world has
  uint32_t& cached_of(Proc proc, size_t order) { return cached_[static_cast<size_t>(proc) % kProcs][order]; }
  uint32_t& shelved_of(Proc proc, size_t order) { return shelved_[static_cast<size_t>(proc) % kProcs][order]; }
  void put_on_shelf(uint32_t& shelf, size_t order, size_t bytes) {
    if (shelf + bytes > shelf_caps_[order]) {
      const size_t excess = shelf_excess_bytes(shelf_caps_[order]);
      slots_[order] -= static_cast<uint32_t>(excess / order_bytes(static_cast<int>(order)));
      change(shelf, shelf - excess);
    }
    change(shelf, shelf + bytes);
  }
  void change(uint32_t& cached, size_t to) {
    cached_bytes_ += to - cached;
    cached = static_cast<uint32_t>(to);
  }

  int orders_ = 0;
  std::array<std::array<uint32_t, kMaxOrders>, kProcs> cached_{};   // bytes
  std::array<std::array<uint32_t, kMaxOrders>, kProcs> shelved_{};  // bytes
  std::array<uint32_t, kMaxOrders> shelf_caps_{};                   // bytes
  uint64_t cached_bytes_ = 0;                                       // of all, shelves too
  std::array<uint32_t, kMaxOrders> slots_{};                        // live, cached or deferred
  std::array<uint32_t, kMaxOrders> most_spans_{};
  std::array<uint32_t, kMaxOrders> taken_{};          // slots from the pool since the last cycle ended
  std::array<uint32_t, kMaxOrders> used_in_cycle_{};  // ... and in the cycle before that
  uint64_t large_bytes_ = 0;                          // live, deferred or kept
  uint64_t most_large_bytes_ = 0;
  uint32_t refills_ = 0;
  Proc refilled_proc_ = 0;
  size_t refilled_order_ = 0;
  bool overlapped_ = false;
  bool lost_count_ = false;
};

}  // namespace stackdrain
