// What the heap stands on, for the host: frames that are counted and may be
// refused, a lock that is watched, a panic that can be caught. The heap under
// test is included in the middle, so that it can be started afresh.
#pragma once

#include "random.h"

#include <sanitizer/asan_interface.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#ifndef DEBUG
#define DEBUG 1
#endif
#include "kernel/mm/heap.c"

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition))                                                   \
            FAIL("%s:%d: not so: %s", __FILE__, __LINE__, #condition);      \
    } while (0)

#define FRAMES 16384        // 64 MiB
#define HEADER 48           // bytes of a slab before its first object
#define CLASSES (sizeof class_sizes / sizeof class_sizes[0])

static const size_t class_sizes[] = {
    32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048,
};

static char *arena;                 // where the frames are
static unsigned run_length[FRAMES]; // of the run that begins here, or 0
static bool frame_used[FRAMES];
static size_t frames_held;
static bool poison_free_frames;     // let ASan watch them
static unsigned refuse;             // one request of so many; 0: none

/* What the heap did with frames since the last forget_calls(). */
static unsigned frames_asked, frames_refused, runs_returned;
static paddr_t last_returned;

static struct cache fresh_caches[sizeof caches / sizeof caches[0]];
static bool locked, panic_wanted;
static jmp_buf caught;
static char panic_message[200];

void panic_at(const char *file, int line, const char *fmt, ...)
{
    va_list arguments;

    va_start(arguments, fmt);
    vsnprintf(panic_message, sizeof panic_message, fmt, arguments);
    va_end(arguments);
    if (!panic_wanted)
        FAIL("%s:%d: panic: %s", file, line, panic_message);
    panic_wanted = false;
    longjmp(caught, 1);
}

void spin_lock(struct spinlock *taken)
{
    CHECK(taken == &lock && !locked);
    locked = true;
}

void spin_unlock(struct spinlock *released)
{
    CHECK(released == &lock && locked);
    locked = false;
}

bool spin_held(const struct spinlock *held)
{
    return held == &lock && locked;
}

/* A place for a run, aligned as it must be: the first from a random one on. */
static size_t find_place(size_t count)
{
    size_t align = 1;

    while (align < count)
        align *= 2;
    size_t places = FRAMES / align, first = random_below((unsigned)places);
    for (size_t i = 0; i < places; i++) {
        size_t frame = (first + i) % places * align, n = 0;
        while (n < count && !frame_used[frame + n])
            n++;
        if (n == count)
            return frame;
    }
    return FRAMES;
}

enum error frame_alloc(size_t count, unsigned flags, paddr_t *result)
{
    CHECK(flags == 0);
    frames_asked++;
    if (count == 0 || count > FRAMES)
        return frames_refused++, ERR_RANGE;
    if (refuse != 0 && random_below(refuse) == 0)
        return frames_refused++, ERR_MEMORY;
    size_t frame = find_place(count);
    if (frame == FRAMES)
        return frames_refused++, ERR_MEMORY;
    run_length[frame] = (unsigned)count;
    memset(&frame_used[frame], true, count);
    frames_held += count;
    char *start = arena + frame * PAGE_SIZE;
    if (poison_free_frames) {
        ASAN_UNPOISON_MEMORY_REGION(start, count * PAGE_SIZE);
        memset(start, (int)random_below(256), count * PAGE_SIZE);
    }
    *result = pointer_paddr(start);
    return OK;
}

enum error frame_check(paddr_t run, size_t count)
{
    size_t offset = run.value - (uintptr_t)arena;
    size_t frame = offset / PAGE_SIZE;

    if (offset % PAGE_SIZE != 0)
        return ERR_ALIGN;
    if (frame >= FRAMES || count == 0)
        return ERR_RANGE;
    return run_length[frame] == count ? OK : ERR_OWNER;
}

void frame_free(paddr_t run, size_t count)
{
    size_t offset = run.value - (uintptr_t)arena;
    size_t frame = offset / PAGE_SIZE;

    if (frame_check(run, count) != OK)
        panic("frames %#lx (%lu of them) given back", run.value, count);
    if (DEBUG)
        memset(paddr_pointer(run), 0xdf, count * PAGE_SIZE);
    if (poison_free_frames)
        ASAN_POISON_MEMORY_REGION(arena + offset, count * PAGE_SIZE);
    run_length[frame] = 0;
    memset(&frame_used[frame], false, count);
    frames_held -= count;
    runs_returned++;
    last_returned = run;
}

static void forget_calls(void)
{
    frames_asked = frames_refused = runs_returned = 0;
}

/* All frames are free, and no pool was ever used. */
static void start_heap(void)
{
    panic_wanted = locked = false;
    refuse = 0;
    for (size_t frame = 0; frames_held > 0; frame++) {
        frames_held -= run_length[frame];
        memset(&frame_used[frame], false, run_length[frame]);
        run_length[frame] = 0;
    }
    memcpy(caches, fresh_caches, sizeof caches);
    list_init(&pools);
    heap_fail_at(0);
    heap_init();
    forget_calls();
}

static void make_world(void)
{
    size_t align = 64 * PAGE_SIZE, bytes = FRAMES * PAGE_SIZE;
    char *space = mmap(NULL, bytes + 2 * align, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    CHECK(space != MAP_FAILED);
    arena = space + align - (uintptr_t)space % align;
    if (poison_free_frames)
        ASAN_POISON_MEMORY_REGION(arena - PAGE_SIZE, bytes + 2 * PAGE_SIZE);
    memcpy(fresh_caches, caches, sizeof caches);
    start_heap();
}

/* The class that an object comes from; CLASSES: whole frames. */
static size_t class_of(size_t size)
{
    size_t n = 0;

    while (n < CLASSES && class_sizes[n] < size + (DEBUG ? 16 : 0))
        n++;
    return n;
}

static size_t class_frames(size_t n)
{
    return class_sizes[n] < 512 ? 1 : 4;
}

static size_t class_capacity(size_t n)
{
    return (class_frames(n) * PAGE_SIZE - HEADER) / class_sizes[n];
}

/* What an object takes, rounding included. */
static size_t taken_by(size_t size)
{
    size_t n = class_of(size), with = size + (DEBUG ? 16 : 0);

    return n < CLASSES ? class_sizes[n]
                       : with + (PAGE_SIZE - with % PAGE_SIZE) % PAGE_SIZE;
}
