// Physical memory for the host: ranges of it anywhere below 2^64, what of it
// is taken, and where the host keeps its contents. The allocator under test is
// included at the end of this file, so that its tables can be looked at.
#pragma once

#include "random.h"

#include <sanitizer/asan_interface.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

/* The conversions of the book are identities; here they go by a table. */
#define paddr_pointer book_paddr_pointer
#define pointer_paddr book_pointer_paddr
#include "kernel/mm/address.h"
#undef paddr_pointer
#undef pointer_paddr

static void *paddr_pointer(paddr_t address);
static paddr_t pointer_paddr(const void *pointer);

#ifndef DEBUG
#define DEBUG 1
#endif
#define memset rv_memset
#include "kernel/mm/frame.c"
#undef memset

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition))                                                   \
            FAIL("%s:%d: not so: %s", __FILE__, __LINE__, #condition);      \
    } while (0)

#define TOP (1ul << 52)             // frames below 2^64
#define LAST_PAGE (UINT64_MAX - PAGE_SIZE + 1)
#define HOST_FRAMES (1ul << 23)     // of address space, not of memory
#define TAKENS 18
#define POISONED 16ul               // frames at each end of a taken range

typedef unsigned __int128 wide;

/* Frame numbers; end is behind the last. */
struct frames {
    uint64_t start, end;
};

/* Frames that the host has at `host`. */
struct window {
    struct frames frames;
    char *host;
};

static struct range memory[MACHINE_RANGES], taken[TAKENS];
static size_t memories, takens;
static struct window windows[MACHINE_RANGES];
static size_t window_count;
static char *host_memory;

/* What a run may meet in addition to the usual. */
static struct {
    bool empty;     // taken ranges of no size
    bool zero;      // memory from address zero on
    bool top;       // ranges in the last page or beyond the last address
    bool twice;     // memory that more than one range names
} peculiar;

/* The whole frames of a range, or none, as if its end has no number. Nobody
 * is given frame 0. */
static struct frames inside(struct range range)
{
    wide end = ((wide)range.start + range.size) / PAGE_SIZE;
    wide start = ((wide)range.start + PAGE_SIZE - 1) / PAGE_SIZE;

    if (start == 0)
        start = 1;
    if (start >= end || (wide)range.start + range.size > UINT64_MAX)
        return (struct frames){ 0, 0 };
    return (struct frames){ (uint64_t)start, (uint64_t)end };
}

/* The frames of which a range has a byte. */
static struct frames around(struct range range)
{
    wide end = ((wide)range.start + range.size + PAGE_SIZE - 1) / PAGE_SIZE;

    if (range.size == 0)
        return (struct frames){ 0, 0 };
    return (struct frames){ range.start / PAGE_SIZE,
                            end > TOP ? TOP : (uint64_t)end };
}

static bool is_in(uint64_t frame, struct frames frames)
{
    return frames.start <= frame && frame < frames.end;
}

static bool is_taken(uint64_t frame)
{
    for (size_t i = 0; i < takens; i++)
        if (is_in(frame, around(taken[i])))
            return true;
    return false;
}

/* Is it a frame that somebody could be given? */
static bool is_ours(uint64_t frame)
{
    for (size_t i = 0; i < memories; i++)
        if (is_in(frame, inside(memory[i])))
            return !is_taken(frame);
    return false;
}

static void *paddr_pointer(paddr_t address)
{
    for (size_t i = 0; i < window_count; i++)
        if (is_in(address.value / PAGE_SIZE, windows[i].frames))
            return windows[i].host +
                   (address.value - windows[i].frames.start * PAGE_SIZE);
    FAIL("there is no memory at %#lx", address.value);
}

static paddr_t pointer_paddr(const void *pointer)
{
    for (size_t i = 0; i < window_count; i++) {
        const struct frames *frames = &windows[i].frames;
        uint64_t offset = (uint64_t)((const char *)pointer - windows[i].host);
        if (offset < (frames->end - frames->start) * PAGE_SIZE)
            return paddr(frames->start * PAGE_SIZE + offset);
    }
    FAIL("%p is no memory of the machine", pointer);
}

/* Forget the last machine. */
static void close_windows(void)
{
    for (size_t i = 0; i < window_count; i++) {
        size_t frames = windows[i].frames.end - windows[i].frames.start;
        size_t some = frames < 2 * POISONED ? frames : 2 * POISONED;
        ASAN_UNPOISON_MEMORY_REGION(windows[i].host, some * PAGE_SIZE);
        madvise(windows[i].host, frames * PAGE_SIZE, MADV_DONTNEED);
    }
    window_count = 0;
}

/* Give the host's memory to what the ranges have a part of; ranges that
 * touch or overlap share a window. */
static void open_windows(void)
{
    struct frames all[MACHINE_RANGES];
    size_t count = 0, used = 0;

    for (size_t i = 0; i < memories; i++) {
        struct frames frames = around(memory[i]);
        if (inside(memory[i]).end == 0)
            continue;
        for (size_t n = 0; n < count;) {
            if (frames.start > all[n].end || all[n].start > frames.end) {
                n++;
                continue;
            }
            if (all[n].start < frames.start)
                frames.start = all[n].start;
            if (all[n].end > frames.end)
                frames.end = all[n].end;
            all[n] = all[--count];
            n = 0;
        }
        all[count++] = frames;
    }
    for (size_t i = 0; i < count; i++) {
        windows[window_count++] = (struct window){
            all[i], host_memory + used * PAGE_SIZE,
        };
        used += all[i].end - all[i].start + 1;  // and one to fall into
    }
    CHECK(used <= HOST_FRAMES);
}

/* Nobody but its owner may touch a frame that is not ours. */
static void poison_taken(bool poisoned)
{
    for (size_t w = 0; w < window_count; w++)
        for (size_t i = 0; i < takens + 2; i++) {
            struct frames all = windows[w].frames;
            struct frames at = i < takens ? around(taken[i]) :
                               i == takens ?
                               (struct frames){ all.start, all.start + 1 } :
                               (struct frames){ all.end - 1, all.end };
            for (uint64_t n = 0; n < 2 * POISONED; n++) {
                uint64_t frame = n < POISONED ? at.start + n
                                              : at.end - 1 - (n - POISONED);
                if (!is_in(frame, at) || !is_in(frame, all) ||
                    is_ours(frame))
                    continue;
                char *host = paddr_pointer(paddr(frame * PAGE_SIZE));
                if (poisoned)
                    ASAN_POISON_MEMORY_REGION(host, PAGE_SIZE);
                else
                    ASAN_UNPOISON_MEMORY_REGION(host, PAGE_SIZE);
            }
        }
}

/* How many pages of the machine the host has had to find memory for. */
static size_t pages_touched(void)
{
    static unsigned char resident[HOST_FRAMES];
    size_t touched = 0;

    for (size_t i = 0; i < window_count; i++) {
        size_t frames = windows[i].frames.end - windows[i].frames.start;
        CHECK(mincore(windows[i].host, frames * PAGE_SIZE, resident) == 0);
        for (size_t n = 0; n < frames; n++)
            touched += resident[n] & 1;
    }
    return touched;
}

/* An address or a size as they stand in device trees. */
static uint64_t random_bytes(void)
{
    uint64_t frames = random_below(1u << random_below(13));

    switch (random_below(8)) {
    case 0: return 0;
    case 1: return random_below(3 * PAGE_SIZE);
    case 2: return frames * PAGE_SIZE + random_below(PAGE_SIZE);
    case 3: return PAGE_SIZE;
    default: return frames * PAGE_SIZE;
    }
}

/* Where the first range of memory begins. */
static uint64_t random_beginning(void)
{
    switch (random_below(6)) {
    case 0: return peculiar.zero ? 0 : PAGE_SIZE;
    case 1: return PAGE_SIZE + random_bytes();
    case 2: return LAST_PAGE - random_bytes() - random_bytes();
    case 3: return random_word() % (1ul << 56) & ~(PAGE_SIZE - 1);
    default: return 0x80000000;
    }
}

/* Name a part of a range twice, in a range before or behind it. */
static void name_twice(void)
{
    struct range in = memory[random_below((unsigned)memories)];
    uint64_t start = in.start + random_word() % (in.size + 1);
    uint64_t size = random_bytes();

    if (random_below(4) == 0)
        start = in.start - random_bytes();
    if (start > LAST_PAGE)
        start = in.start;
    if ((wide)start + size > UINT64_MAX)
        size = UINT64_MAX - start;
    size_t place = random_below((unsigned)++memories);
    memory[memories - 1] = memory[place];
    memory[place] = (struct range){ start, size };
}

/* Ranges of memory, in any order; if they overlap, something is peculiar. */
static void random_memories(void)
{
    uint64_t at = random_beginning(), gap;

    memories = 0;
    for (size_t n = 1 + random_below(MACHINE_RANGES); n > 0; n--) {
        uint64_t size = random_bytes();
        if ((wide)at + size > UINT64_MAX)
            size = random_below(2) == 0 ? -at : UINT64_MAX - at;
        size_t place = random_below((unsigned)++memories);
        memory[memories - 1] = memory[place];
        memory[place] = (struct range){ at, size };
        gap = random_below(3) == 0 ? 0 : random_below(8) != 0 ?
              random_bytes() : random_word() >> (8 + random_below(30));
        if ((wide)at + size + gap > (peculiar.top ? UINT64_MAX : LAST_PAGE))
            break;
        at += size + gap;
    }
    while (peculiar.twice && memories < MACHINE_RANGES &&
           random_below(3) != 0)
        name_twice();
}

/* Ranges that lie, begin or end in memory, or have nothing to do with it. */
static void random_takens(void)
{
    takens = random_below(4) == 0 ? 0 : random_below(TAKENS + 1);
    for (size_t i = 0; i < takens; i++) {
        const struct range *in = &memory[random_below((unsigned)memories)];
        uint64_t size = random_below(2) == 0 ? random_bytes()
                                             : random_below(9000);
        uint64_t start = in->start + random_word() % (in->size + 1);

        switch (random_below(10)) {
        case 0: start = in->start, size = in->size; break;
        case 1: start = in->start - size / 2; break;
        case 2: start = in->start + in->size - size / 2; break;
        case 3: start = random_number(); break;
        case 4: start = in->start; break;
        case 5: size = 0; break;
        case 6: size = random_below(16) == 0 ? random_number() : size; break;
        default: start &= random_below(2) == 0 ? ~(PAGE_SIZE - 1) : ~0ul;
        }
        if (size == 0 && !peculiar.empty)
            size = 1;
        if ((wide)start + size > UINT64_MAX && !peculiar.top)
            size = UINT64_MAX - start;
        if (start > LAST_PAGE && !peculiar.top)
            start = in->start, size = 1;
        taken[i] = (struct range){ start, size };
    }
}

/* A machine as QEMU makes them; a large one has more than seven GiB. */
static void usual_machine(bool large)
{
    uint64_t size = 1ul << (large ? 33 : 20 + random_below(8));

    size -= random_below(2) * random_below(large ? 1u << 18 : 1u << 7) *
            PAGE_SIZE;
    memory[0] = (struct range){ 0x80000000, size };
    taken[0] = (struct range){ 0x80000000, 0x50000 };
    taken[1] = (struct range){ 0x80200000, 0x1c123 };
    taken[2] = (struct range){ 0x80000000 + size / 4096 * 3700, 0x1234 };
    memories = 1;
    takens = random_below(4);
}
