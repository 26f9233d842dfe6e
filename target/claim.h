// Claim: who may move a goroutine's stack, and who keeps it where it is.
//
//   copier      status judged ─▶ claim: status := Copying if it still is ─▶ may_move: nobody observes, not parking
//                     ─▶ moves ─▶ set(what it was)                                     else set(what it was) at once
//   observer    observe: counted ─▶ is it Waiting? ─▶ uses elem, wakes ─▶ leave        else leave at once
//   owner       begin_parking ─▶ records written ─▶ set(Waiting) ─▶ … still at its stack … ─▶ parked
//
// Memory order, by edges:
//   * Copier and observer each announce themselves and then look for the other: claim | observers against observers |
//     status. At least one sees the other only if all four are in one total order: sequentially consistent, the store
//     buffering pattern. An observer who sees Copying keeps away; a copier who sees an observer does (D6).
//   * What the observer wrote through elem -> the copy: leave's release to may_move's read of 0.
//   * What a copier moved -> whoever sees the status it restored: set's release to the reads of the status.
//   * What the observer cleared when it woke the goroutine -> who sees Running: wake's exchange.
//   * begin_parking -> who claims from Waiting: set's release, so it needs no order of its own; the owner's last use of
//     the stack -> the copy: parked's release to may_move's read (D10).
//
// Explored with weaker orders in target/relacy/claim_relacy.cc.
#pragma once

#include <cstdint>
#include <string_view>

#include "target/atomics.h"

namespace stackdrain {

enum class GoStatus : uint8_t { kDead, kRunning, kWaiting, kSyscall, kParking, kCopying };
inline constexpr std::string_view kGoStatusNames[] = {"dead", "running", "waiting", "syscall", "parking", "copying"};

struct ClaimOrders {
  static constexpr auto kReset = std::memory_order_relaxed;         // nobody is at it
  static constexpr auto kSet = std::memory_order_release;           // what was done before -> kSee, kJudge, kClaim
  static constexpr auto kSee = std::memory_order_acquire;           // ... pairs with kSet and kWake
  static constexpr auto kClaim = std::memory_order_seq_cst;         // against kAnnounce
  static constexpr auto kSeeObservers = std::memory_order_seq_cst;  // against kAnnounce; what they wrote, by kLeave
  static constexpr auto kAnnounce = std::memory_order_seq_cst;      // against kClaim
  static constexpr auto kJudge = std::memory_order_seq_cst;         // against kClaim
  static constexpr auto kLeave = std::memory_order_release;         // the use of elem -> kSeeObservers
  static constexpr auto kWake = std::memory_order_acq_rel;          // records cleared -> kSee, kClaim
  static constexpr auto kPark = std::memory_order_relaxed;          // ordered by kSet
  static constexpr auto kParked = std::memory_order_release;        // the last use of the stack -> kSeeParking
  static constexpr auto kSeeParking = std::memory_order_acquire;
};

template <class System, class Orders = ClaimOrders>
class Claim {
 public:
  // Dead, and nobody is at it.
  void reset() {
    status_.store(GoStatus::kDead, Orders::kReset);
    observers_.store(0, Orders::kReset);
    parking_.store(false, Orders::kReset);
  }

  GoStatus status() const { return status_.load(Orders::kSee); }
  void set(GoStatus status) { status_.store(status, Orders::kSet); }

  // A copier: takes it out of everybody's hands if its status is still `seen`; else that is what it is now.
  bool claim(GoStatus& seen) { return status_.compare_exchange_strong(seen, GoStatus::kCopying, Orders::kClaim); }
  // Claimed: may it be moved? The status that was claimed was published after begin_parking().
  bool may_move() const {
    const bool parking = parking_.load(Orders::kSeeParking);
    return !parking && observers_.load(Orders::kSeeObservers) == 0;
  }

  // An observer (none: a planted defect does not say that it is one); does the goroutine wait?
  bool observe(uint32_t observers = 1) {
    observers_.fetch_add(observers, Orders::kAnnounce);
    return status_.load(Orders::kJudge) == GoStatus::kWaiting;
  }
  void leave(uint32_t observers = 1) { observers_.fetch_sub(observers, Orders::kLeave); }
  // Ends the wait of a goroutine that the caller observes: no claim succeeds meanwhile, but one that is about to fail
  // may show as kCopying for a moment, and its copier then restores kWaiting. Hence exchanged, not stored: a store
  // could be undone by that restoring, and the wakeup lost.
  void wake() {
    GoStatus was = GoStatus::kWaiting;
    // not reached by programs: wants a second thread
    while (!status_.compare_exchange_weak(was, GoStatus::kRunning, Orders::kWake)) {
      if (was != GoStatus::kWaiting && was != GoStatus::kCopying) return;
      was = GoStatus::kWaiting;
    }
  }

  // The owner, about to wait: no copier may touch it until it is through with that.
  void begin_parking() { parking_.store(true, Orders::kPark); }
  void parked() { parking_.store(false, Orders::kParked); }

 private:
  typename System::template Atomic<GoStatus> status_{GoStatus::kDead};
  typename System::template Atomic<uint32_t> observers_{0};  // between reading elem and their last use of it
  typename System::template Atomic<bool> parking_{false};    // counts as waiting, and is not through with blocking
};

}  // namespace stackdrain
