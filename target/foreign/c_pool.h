/* A pool in C, or in whatever can fill a table of C functions: what the suite calls of it.
 *
 * The pool's header declares a table, `extern const struct stackdrain_c_pool mine;`, and its code defines it;
 * stackdrain_add_pool(mine mine.h stackdrain::CPool<mine> SOURCES mine.c) does the rest (c_pool_adapter.h). A library
 * made elsewhere joins by LIBRARIES in the place of SOURCES. This header is C99 and C++, and wants nothing else.
 *
 *   create ──▶ allocate / release ───────────────▶ destroy      a pool is made anew for each program
 *                │ begin_mark ─▶ retire … ─▶ end_mark ─▶ drain … until it answers 0
 *
 * Which calls may come at once: none, unless `thread_safe`; and begin_mark and end_mark never beside another.
 */
#ifndef STACKDRAIN_TARGET_FOREIGN_C_POOL_H
#define STACKDRAIN_TARGET_FOREIGN_C_POOL_H

#include <stddef.h>

struct stackdrain_c_pool {
  /* sizeof(struct stackdrain_c_pool) where the table was compiled: members may be added behind, none will change. */
  size_t table_bytes;
  /* Not 0: allocate, release, retire and drain may be called by several threads at once. */
  int thread_safe;

  void* (*create)(void);       /* NULL: no memory */
  void (*destroy)(void* pool); /* gives back what the pool took from the system, whatever is live */
  /* A stack's low end: of exactly `bytes`, a power of two from 2 KiB; 16-byte aligned. NULL: no memory. */
  void* (*allocate)(void* pool, size_t bytes);
  void (*release)(void* pool, void* stack, size_t bytes); /* no pointer into it is left */

  /* All four, of a pool that puts off by itself; or all NULL, and the suite puts off for it. */
  void (*begin_mark)(void* pool, int concurrent); /* concurrent: mutators run meanwhile */
  /* Given up while a mark runs: somebody may hold a pointer into it, until end_mark at the least. */
  void (*retire)(void* pool, void* stack, size_t bytes);
  void (*end_mark)(void* pool); /* in the pause */
  /* After the restart: frees about `budget` stacks (0: as many as it likes) of what end_mark left. How many; 0: none is
   * left. */
  size_t (*drain)(void* pool, size_t budget);
};

#endif
