#include "fuzz/fiber.h"

#include "target/base.h"

#if STACKDRAIN_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STACKDRAIN_TSAN 1
#endif
#endif
#ifndef STACKDRAIN_TSAN
#define STACKDRAIN_TSAN 0
#endif
#if STACKDRAIN_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

// stackdrain_switch(save, to): keeps the callee's registers on the stack it leaves, and takes those of the one it
// goes to. Other machines go the long way, through the C library.
#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.type stackdrain_switch, @function
stackdrain_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size stackdrain_switch, .-stackdrain_switch
)");
extern "C" void stackdrain_switch(void** save, void* to) asm("stackdrain_switch");
#endif

namespace stackdrain {
namespace {

// Where a new fiber begins; set by the switch that enters it.
FiberSet* entered = nullptr;
size_t entered_fiber = 0;

[[noreturn]] void begin() {
  entered->enter(entered_fiber);
  STACKDRAIN_CHECK(false, "a fiber's body never returns");
  std::abort();
}

#if !defined(__x86_64__)
std::array<ucontext_t, FiberSet::kFibers + 1> saved;
#endif

}  // namespace

void FiberSet::restart(size_t fiber) {
  Context& context = contexts_[fiber];
  context.begun = false;
  context.fake_stack = nullptr;
#if STACKDRAIN_TSAN
  if (context.thread != nullptr) __tsan_destroy_fiber(context.thread);
  context.thread = nullptr;
#endif
  // What was in the middle of something has left its poison.
  asan_unpoison(reinterpret_cast<uintptr_t>(stacks_[fiber].data()), kStackBytes);
}

void FiberSet::prepare(size_t fiber) {
  Context& context = contexts_[fiber];
  context.begun = true;
  context.bottom = stacks_[fiber].data();
  context.bytes = kStackBytes;
#if STACKDRAIN_TSAN
  if (context.thread == nullptr) context.thread = __tsan_create_fiber(0);
#endif
#if defined(__x86_64__)
  // As a call leaves it: the return address on top of an aligned stack, below it six registers.
  constexpr size_t kRegisters = 6;
  auto* top = reinterpret_cast<uintptr_t*>(stacks_[fiber].data() + kStackBytes);
  *--top = 0;  // begin()'s own return address: there is none
  *--top = reinterpret_cast<uintptr_t>(&begin);
  for (size_t i = 0; i < kRegisters; ++i) *--top = 0;
  context.sp = top;
#else
  ucontext_t& made = saved[fiber];
  getcontext(&made);
  made.uc_stack.ss_sp = stacks_[fiber].data();
  made.uc_stack.ss_size = kStackBytes;
  made.uc_link = nullptr;
  makecontext(&made, begin, 0);
#endif
}

void FiberSet::go(size_t from, size_t to) {
  if (to != kOutside && !contexts_[to].begun) prepare(to);
  came_from_ = from;
  entered = this;
  entered_fiber = to;
  [[maybe_unused]] Context& old = contexts_[from];
  [[maybe_unused]] Context& next = contexts_[to];
#if STACKDRAIN_ASAN
  __sanitizer_start_switch_fiber(&old.fake_stack, next.bottom, next.bytes);
#endif
#if STACKDRAIN_TSAN
  if (from == kOutside) old.thread = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(next.thread, 0);
#endif
#if defined(__x86_64__)
  stackdrain_switch(&old.sp, next.sp);
#else
  swapcontext(&saved[from], &saved[to]);
#endif
  arrived(from);
}

void FiberSet::arrived([[maybe_unused]] size_t at) {
#if STACKDRAIN_ASAN
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(contexts_[at].fake_stack, &bottom, &bytes);
  if (came_from_ == kOutside) {  // the thread's own stack: nobody else says where it is
    contexts_[kOutside].bottom = bottom;
    contexts_[kOutside].bytes = bytes;
  }
#endif
}

void FiberSet::enter(size_t fiber) {
  arrived(fiber);
  body_(self_, fiber);
}

}  // namespace stackdrain
