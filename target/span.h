// Span: a run of pages with one state, and its 64-byte descriptor.
//
//              allocate(Stack)             free (only while no mark runs: A1)
//    Free ──────────────────────▶ Stack ─────────────────────▶ Free
//     │  ▲   allocate(InUse)                     free
//     │  └────────────────────── InUse ◀───────────────────── Free
//     └──────── merged into a neighbour ───────▶ Dead (descriptor goes back to the descriptor list)
//
// Never Stack <-> InUse. All fields belong to the page heap's lock, except what a small-stack span's order lock owns
// while it is in state Stack: free_list, given_units, out, and its place on the order's list. What RESOLVE reads
// without a lock is in span_words.h.
#pragma once

#include <cstdint>

#include "target/any_pool.h"
#include "target/base.h"
#include "target/shared.h"
#include "target/span_words.h"

namespace stackdrain {

struct alignas(64) Span : SpanWords<StdAtomics> {
  Span* next = nullptr;  // on the list named by `list`
  Span* prev = nullptr;
  uintptr_t free_list = 0;  // first free slot; links lie in the slots' first words
  uintptr_t limit = 0;      // end of the last slot; of a Free span idle_since, where PoolParams::idle_clock is given
  uint32_t slot_bytes = 0;
  uint16_t capacity = 0;
  uint16_t out = 0;          // slots that are not free
  uint16_t given_units = 0;  // free slots that are on no free_list: bit n is the slot at n * kMinStackBytes
  uint8_t order = kNoOrder;
  SpanList list = SpanList::kNone;
  bool needs_zero = false;
  bool released = false;  // the memory was given back to the system; it reads as zero

  bool has_free_slot() const { return free_list != 0 || given_units != 0; }
};
static_assert(sizeof(Span) == 64 || sizeof(Span) == 128);

class SpanChain;

// Doubly linked list of spans with a head; each span is on at most one (A5).
class SpanLinks {
 public:
  Span* front() const {
    shared_read(head_);
    return head_;
  }
  bool empty() const { return head_ == nullptr; }
  void push_front(Span* span, SpanList list) {
    shared_write(head_);
    span->next = head_;
    span->prev = nullptr;
    if (head_ != nullptr) head_->prev = span;
    head_ = span;
    span->list = list;
  }
  void remove(Span* span) {
    shared_write(head_);
    if (span->prev != nullptr) {
      span->prev->next = span->next;
    } else {
      head_ = span->next;
    }
    if (span->next != nullptr) span->next->prev = span->prev;
    span->next = span->prev = nullptr;
    span->list = SpanList::kNone;
  }
  void clear() { head_ = nullptr; }
  // Takes over all of `chain`, which is not empty, before what is here.
  void splice_front(SpanChain& chain);

 private:
  Span* head_ = nullptr;
};

// The same, filled aside by one thread and then spliced into a list in O(1).
class SpanChain {
 public:
  bool empty() const { return links_.empty(); }
  void push_front(Span* span, SpanList list) {
    if (empty()) last_ = span;
    links_.push_front(span, list);
  }

 private:
  friend class SpanLinks;
  SpanLinks links_;
  Span* last_ = nullptr;
};

inline void SpanLinks::splice_front(SpanChain& chain) {
  chain.last_->next = head_;
  if (head_ != nullptr) head_->prev = chain.last_;
  head_ = chain.links_.front();
  chain.links_.clear();
}

}  // namespace stackdrain
