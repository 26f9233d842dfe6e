// Planted defects: the suite's teeth. One table; one `if (planted(Defect::kX))` at each site.
//
// Compiled in only with STACKDRAIN_DEFECTS; even then all are off until one is chosen. In any other build planted() is
// the constant false and the site vanishes. To add one: a row here and an `if` at its site.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#ifndef STACKDRAIN_DEFECTS
#define STACKDRAIN_DEFECTS 0
#endif

namespace stackdrain {

// enumerator, id, reference, what goes wrong, invariants that may report it.
#define STACKDRAIN_DEFECT_TABLE(X)                                                                                    \
  X(kNone, "none", "-", "no defect", "")                                                                              \
  X(kImmediateFree, "immediate-free", "91e8554b8b",                                                                   \
    "shrink frees the last stack of a span while a marker holds its address", "A1 A2 A3 C1")                          \
  X(kGrowNotDeferred, "grow-not-deferred", "#11267 d57056ba26",                                                       \
    "with mutators running, growth frees the old stack during mark", "A1 A2 A3 C1 C6")                                \
  X(kSpanNotListed, "span-not-listed", "7c13860cd0", "a new span is never put on the pool list", "A4 A5 A6 E2")       \
  X(kOutCountInverted, "out-count-inverted", "7c13860cd0", "the count of slots out runs the wrong way",               \
    "A4 B1 B2 E2 assertion")                                                                                          \
  X(kLargeInCache, "large-in-cache", "7c13860cd0", "a large stack goes into an order's cache", "B1 B2 B3 B4 B7 E1")   \
  X(kFreelistKept, "freelist-kept", "7c13860cd0", "a span leaves for the heap with its free list", "A7 B3")           \
  X(kCacheUnbounded, "cache-unbounded", "f82db7d9e4", "the cache's cap test is dropped", "B4 E7")                     \
  X(kMarkerUsesFlushedCache, "marker-uses-flushed-cache", "e9445547b6",                                               \
    "a marker uses a cache between flush and gc-end", "B5 B4")                                                        \
  X(kNeedsZeroLost, "needs-zero-lost", "1f4d2e79b0", "a stack span returns without needs-zero", "A9")                 \
  X(kMergedSizeAccounted, "merged-size-accounted", "01a7d39df1", "bytes are subtracted after the span merged",        \
    "E1 E4")                                                                                                          \
  X(kShrinkIgnoresGuard, "shrink-ignores-guard", "7387121ddb",                                                        \
    "shrink allowed when used + guard > half: the neighbour is overwritten", "D3 B3 G1")                              \
  X(kStaleSpanLimit, "stale-span-limit", "9741f0275c #74288", "limit and slot size from a previous life of the span", \
    "A7 A8")                                                                                                          \
  X(kRootKindMissed, "root-kind-missed", "#18174 #58432", "selectdone is not adjusted by the copy", "D1 D2 A3")       \
  X(kPublishBeforeCopy, "publish-before-copy", "#17007 b902a63ade",                                                   \
    "the adjusted elem is published, and usable, before the slot was copied", "D2 D5 D6 F8")                          \
  X(kDeadStackBypass, "dead-stack-bypass", "92eb1e1600",                                                              \
    "a dead goroutine's stack is freed at once in mark, its records still held", "A1 A2 A3 D1")                       \
  X(kStatusNotRestored, "status-not-restored", "8ca3372d7b", "a shrunk goroutine stays marked as copying", "D5")      \
  X(kClaimKeptWhenRefused, "claim-kept-when-refused", "-",                                                            \
    "a goroutine for whose growth there is no memory stays marked as copying", "D5")                                  \
  X(kDoubleHalving, "double-halving", "#10941", "one goroutine is shrunk twice in a cycle", "D9 D3 F8")               \
  X(kShrinkSkippedWhileHeld, "shrink-skipped-while-held", "-",                                                        \
    "a marker skips a shrink while stacks are deferred: what a program sees depends on the policy", "G2")             \
  X(kElemYield, "elem-yield", "#13169 e410a527b2",                                                                    \
    "a sender yields between reading elem and writing through it, unannounced; a shrink moves the stack", "D6 F8")    \
  X(kStaleStatusCas, "stale-status-cas", "#9186 2b62e1eaec", "a status is read once and compared with for ever",      \
    "F4 D5 F8")                                                                                                       \
  X(kControlWordReadTwice, "control-word-read-twice", "71559a6ffd",                                                   \
    "the status that was judged and the status that is claimed are two reads", "D10 D5 F8")                           \
  X(kJudgedBeforeClaim, "judged-before-claim", "-",                                                                   \
    "a shrink goes by what the goroutine used before it was claimed: it may have run since", "D3 F8")                 \
  X(kParkingFlagLate, "parking-flag-late", "#40641 eb3c6a93c3",                                                       \
    "a goroutine counts as waiting before it says that it must not be moved yet", "D10 D6 F8")                        \
  X(kPreemptedInCachePush, "preempted-in-cache-push", "#15853 6a86dbe75f",                                            \
    "the processor is read again between linking a stack and storing the head", "B1 B4 E2 F2 F8")                     \
  X(kCacheUsedWhileFlushed, "cache-used-while-flushed", "d6d7170de4",                                                 \
    "a cache is flushed by a marker while its processor runs", "A2 A3 B1 B2 B3 B4 B5 C2 E2 F5 assertion F8")          \
  X(kFreeBeforeMetadata, "free-before-metadata", "#11617 cc8f544198",                                                 \
    "a span is freed, and then its metadata is cleared", "A1 A6 A7 B7 F8")                                            \
  X(kStatePublishedEarly, "state-published-early", "#35541 c53b2bdb35",                                               \
    "a span's state is visible before its metadata", "A8")                                                            \
  X(kStateStoredRelaxed, "state-stored-relaxed", "#35541 c53b2bdb35",                                                 \
    "a span's state is stored last, but without release order: another processor may see it before the rest", "A8")   \
  X(kTouchMergedDescriptor, "touch-merged-descriptor", "e604c6e293",                                                  \
    "a descriptor is written after it was merged away", "F6 A6")                                                      \
  X(kLargeNotReusable, "large-not-reusable", "#11466 #13552 0cbf8d13a7",                                              \
    "a large stack that waits for the end of mark can't be used again in the cycle", "C7 E7 A6")                      \
  X(kWrongFrameMap, "wrong-frame-map", "cfb347fc0a", "the youngest frame is adjusted by a map without its pointer",   \
    "D2")                                                                                                             \
  X(kOnePastTheEnd, "one-past-the-end", "3193c71c5b", "elem points one past the end of the frame that it is in",      \
    "D4 D1")                                                                                                          \
  X(kFlushOffByOne, "flush-off-by-one", "#27997", "the last processor's cache is not flushed for the cycle", "B5")    \
  X(kAdoptedByTwo, "adopted-by-two", "-",                                                                             \
    "who takes over a processor whose thread is gone does not claim it: two empty its cache", "F2 F8")                \
  X(kOsAttributeAsymmetric, "os-attribute-asymmetric", "#26142",                                                      \
    "memory given back to the system is not taken back when its span is issued", "E5")                                \
  X(kFreePathBySize, "free-path-by-size", "#7490 1a89e6388c",                                                         \
    "what becomes of a freed block is decided by its size alone: a heap block of a slot's size goes into a cache",    \
    "B1 B2 E3 assertion")                                                                                             \
  X(kSplitKeepsOldList, "split-keeps-old-list", "#7544 8d321625fd",                                                   \
    "the half that an in-place shrink keeps is left on a list of what it was", "A1 A4 A5 A6 B1 E5")                   \
  X(kElemKeptInCachedRecord, "elem-kept-in-cached-record", "b02450da02",                                              \
    "a channel record keeps its elem when it goes back to the cache of records", "D1 A3")                             \
  X(kStaleLinkInCachedRecord, "stale-link-in-cached-record", "#9110",                                                 \
    "a select's record keeps its selectdone when it goes back to the cache of records", "D1 A3")                      \
  X(kPointerBufferedAcrossFree, "pointer-buffered-across-free", "#29362 5372257e60",                                  \
    "pointers that the write barrier buffered are not looked at before the mark ends", "A3")                          \
  X(kGrowthLimitOnDelta, "growth-limit-on-delta", "5daffee17f",                                                       \
    "the largest stack is compared with what a growth adds, not with what comes of it", "D3")                         \
  X(kMarkerNotCounted, "marker-not-counted", "-",                                                                     \
    "a grace does not wait for one of the markers: it never says that it reads", "A2 A3")                             \
  X(kBufferNotCounted, "buffer-not-counted", "-", "a grace does not wait for pointers in write buffers", "A2 A3")     \
  X(kGraceOneEarly, "grace-one-early", "-",                                                                           \
    "what was retired while a grace ran goes with it, and has no grace of its own", "A2 A3")                          \
  X(kReserveKept, "reserve-kept", "-",                                                                                \
    "what one cycle put to use is never forgotten: its empty spans wait for a next growth for ever", "C4 E6")         \
  X(kLastOutByClaim, "last-out-by-claim", "39380e8e01",                                                               \
    "who takes the last stacks of a drain thinks it is the last one out, while they are still in hand", "F7 C3")      \
  X(kQ1NextAfterFree, "Q1", "next-after-free", "a stack is freed before its link is read",                            \
    "C5 B1 C3 A4 E2 F5 assertion")                                                                                    \
  X(kQ2LostPush, "Q2", "lost-push", "one of two pushes at the same time is lost", "C6 C2 C3 F8")                      \
  X(kQ3DrainedTwice, "Q3", "drained-twice", "head not cleared before draining, a second drain sees it",               \
    "C3 C2 C7 B1 A4 E2 F4 F5 assertion")                                                                              \
  X(kQ4HeadNotReset, "Q4", "head-not-reset", "after the drain the head still points to the list", "C3 C2 B1 A4 E2")   \
  X(kQ5DrainWhileMarking, "Q5", "drain-while-marking", "drain before the last marker is done", "A1 A2 A3 C1")         \
  X(kQ6OverDeferral, "Q6", "over-deferral", "grown stacks queued too", "C1")                                          \
  X(kQ7LastNodeSkipped, "Q7", "last-node-skipped", "the drain leaves the last node out", "B1 C2 C3 C4 E2 F4")         \
  X(kQ8WrongSizeInNode, "Q8", "wrong-size-in-node", "the new size is stored in the dead stack",                       \
    "A5 C2 B2 B1 E3 sanitizer")                                                                                       \
  X(kQ9LockHeldIntoFree, "Q9", "lock-held-into-free", "the drain calls free under the lock that free takes", "F1 F4") \
  X(kThreeLockCycle, "three-lock-cycle", "#9174",                                                                     \
    "a drain takes one order's lock after the other and gives none back, in the order of its stacks", "F1")           \
  X(kLockKeptForShare, "lock-kept-for-share", "-",                                                                    \
    "a drain that is to hold a lock for one stack at a time keeps it for its whole share, whoever waits", "C8 F4")    \
  X(kQ10BudgetNeverResumes, "Q10", "budget-never-resumes", "what a budgeted drain left is forgotten", "C3 C8 C2 E2")  \
  X(kQ11LateWriteOverLinks, "Q11", "late-write-over-links", "the dead stack is filled after its links were written",  \
    "A5 C2 assertion")                                                                                                \
  X(kQ12EnqueuedAfterDrain, "Q12", "enqueued-after-drain", "pushed between drain and restart, waits a cycle", "C3 C7")

enum class Defect : uint8_t {
#define X(id, name, reference, what, by) id,
  STACKDRAIN_DEFECT_TABLE(X)
#undef X
};

struct DefectRow {
  std::string_view name;
  std::string_view reference;
  std::string_view what;
  std::string_view reported_by;
};

inline constexpr std::array kDefects = {
#define X(id, name, reference, what, by) DefectRow{name, reference, what, by},
    STACKDRAIN_DEFECT_TABLE(X)
#undef X
};

#if STACKDRAIN_DEFECTS
// The defect that is on, for the whole process; set before a pool is used.
inline Defect planted_defect = Defect::kNone;
// How often its site was come by: the scoreboard tells a defect that was not reached from one that was not seen.
inline std::atomic<uint64_t> planted_reached{0};
inline bool planted(Defect defect) {
  if (planted_defect != defect) return false;
  planted_reached.fetch_add(1, std::memory_order_relaxed);
  return true;
}
#else
constexpr bool planted(Defect) {
  return false;
}
#endif

}  // namespace stackdrain
