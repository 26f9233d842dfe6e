/* A pool of stacks in C that puts off by itself: free lists by size, and a list of what a mark may hold pointers into.
 */
#ifndef C_POOL_H
#define C_POOL_H

#include "target/foreign/c_pool.h"

extern const struct stackdrain_c_pool c_pool;
/* The same with the bug of 2014: what is retired while a mark runs is issued again at once. */
extern const struct stackdrain_c_pool early_c_pool;

#endif
