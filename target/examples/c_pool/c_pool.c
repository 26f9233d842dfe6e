#include "c_pool.h"

#include <pthread.h>
#include <stdlib.h>

enum { kSizes = 64 };

/* The lowest words of a stack that is not live. */
struct link {
  struct link* next;
  size_t bytes;
};

/* Each block that malloc gave, to be freed with the pool. */
struct block {
  struct block* next;
};

struct pool {
  pthread_mutex_t mutex;
  struct link* free[kSizes]; /* by the logarithm of the size */
  struct link* waiting;      /* retired in this mark */
  struct link* draining;     /* retired in a mark that is over */
  struct block* blocks;
};

static int logarithm(size_t bytes) {
  int log = 0;
  while (bytes >>= 1) ++log;
  return log;
}

static void push(struct link** list, void* stack, size_t bytes) {
  struct link* link = stack;
  link->bytes = bytes;
  link->next = *list;
  *list = link;
}

static void* create(void) {
  struct pool* pool = calloc(1, sizeof *pool);
  if (pool != NULL && pthread_mutex_init(&pool->mutex, NULL) != 0) {
    free(pool);
    return NULL;
  }
  return pool;
}

static void destroy(void* self) {
  struct pool* pool = self;
  while (pool->blocks != NULL) {
    struct block* block = pool->blocks;
    pool->blocks = block->next;
    free(block);
  }
  pthread_mutex_destroy(&pool->mutex);
  free(pool);
}

/* A block's own link stands before the stack, in 16 bytes, so that the stack stays aligned to as much. */
static void* take_from_system(struct pool* pool, size_t bytes) {
  struct block* block = malloc(16 + bytes);
  if (block == NULL) return NULL;
  block->next = pool->blocks;
  pool->blocks = block;
  return (char*)block + 16;
}

static void* allocate(void* self, size_t bytes) {
  struct pool* pool = self;
  void* stack;
  pthread_mutex_lock(&pool->mutex);
  struct link** list = &pool->free[logarithm(bytes)];
  stack = *list;
  if (stack != NULL) {
    *list = (*list)->next;
  } else {
    stack = take_from_system(pool, bytes);
  }
  pthread_mutex_unlock(&pool->mutex);
  return stack;
}

static void release(void* self, void* stack, size_t bytes) {
  struct pool* pool = self;
  pthread_mutex_lock(&pool->mutex);
  push(&pool->free[logarithm(bytes)], stack, bytes);
  pthread_mutex_unlock(&pool->mutex);
}

static void begin_mark(void* self, int concurrent) {
  (void)self;
  (void)concurrent;
}

static void retire(void* self, void* stack, size_t bytes) {
  struct pool* pool = self;
  pthread_mutex_lock(&pool->mutex);
  push(&pool->waiting, stack, bytes);
  pthread_mutex_unlock(&pool->mutex);
}

static size_t drain_locked(struct pool* pool, size_t budget) {
  size_t freed = 0;
  while (pool->draining != NULL && (budget == 0 || freed < budget)) {
    struct link* link = pool->draining;
    pool->draining = link->next;
    push(&pool->free[logarithm(link->bytes)], link, link->bytes);
    ++freed;
  }
  return freed;
}

/* The pause hands the list over; it is walked after the restart. What is left of the mark before goes first. */
static void end_mark(void* self) {
  struct pool* pool = self;
  pthread_mutex_lock(&pool->mutex);
  drain_locked(pool, 0);
  pool->draining = pool->waiting;
  pool->waiting = NULL;
  pthread_mutex_unlock(&pool->mutex);
}

static size_t drain(void* self, size_t budget) {
  struct pool* pool = self;
  size_t freed;
  pthread_mutex_lock(&pool->mutex);
  freed = drain_locked(pool, budget);
  pthread_mutex_unlock(&pool->mutex);
  return freed;
}

#define TABLE(retires) \
  {sizeof(struct stackdrain_c_pool), 1, create, destroy, allocate, release, begin_mark, retires, end_mark, drain}

const struct stackdrain_c_pool c_pool = TABLE(retire);
const struct stackdrain_c_pool early_c_pool = TABLE(release);
