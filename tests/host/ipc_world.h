// What channels stand on, for the host: a heap that counts and may fail, a lock
// that is watched, tasks that never wait. One task runs at a time: the test
// says which.
#pragma once

#include "random.h"

#include "kernel/ipc/ipc.h"
#include "kernel/ipc/watch.h"

#include <stdarg.h>
#include <string.h>

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition))                                                   \
            FAIL("%s:%d: not so: %s", __FILE__, __LINE__, #condition);      \
    } while (0)

struct spinlock scheduler_lock = SPINLOCK("scheduler");

static struct hart the_hart;
static size_t charged;          // bytes that are allocated, but for quotas
static size_t quotas;           // how many of these there are
static unsigned fail_in;        // the n-th allocation from now; 0: none
static bool has_failed;

struct hart *this_hart(void)
{
    return &the_hart;
}

void panic_at(const char *file, int line, const char *fmt, ...)
{
    va_list arguments;

    va_start(arguments, fmt);
    printf("%s:%d: panic: ", file, line);
    vprintf(fmt, arguments);
    va_end(arguments);
    FAIL(" ");
}

void spin_lock(struct spinlock *lock)
{
    CHECK(lock == &scheduler_lock && lock->taken == 0);
    lock->taken = 1;
}

void spin_unlock(struct spinlock *lock)
{
    CHECK(lock == &scheduler_lock && lock->taken == 1);
    lock->taken = 0;
}

void scheduler_unlock(void)
{
    spin_unlock(&scheduler_lock);
}

void scheduler_wake(struct task *task)
{
    FAIL("task %u is woken, and nobody waits", task->pid);
}

void scheduler_wait(uint64_t until, struct task *next)
{
    (void)next;
    FAIL("somebody waits until %lu", (unsigned long)until);
}

static bool is_quota(const struct pool *pool)
{
    return strcmp(pool->tag, "QUOT") == 0;
}

void *heap_alloc(struct pool *pool, size_t size)
{
    CHECK(size > 0);
    if (fail_in > 0 && --fail_in == 0) {
        has_failed = true;
        return NULL;
    }
    if (is_quota(pool))
        quotas++;
    else
        charged += size;
    pool->bytes += size;
    void *object = malloc(size);
    return memset(object, (int)random_below(256), size);
}

void heap_free(struct pool *pool, void *object, size_t size)
{
    CHECK(object != NULL && pool->bytes >= size);
    if (is_quota(pool))
        quotas--;
    else
        charged -= size;
    pool->bytes -= size;
    memset(object, 0xdf, size);
    free(object);
}
