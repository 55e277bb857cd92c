// What page tables stand on, for the host: frames anywhere below 2^56, each of
// which may be refused; fences, satp and the console in C. The tables under
// test are included in the middle, and so are looked at from outside only.
#pragma once

#include "random.h"

#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

/* Memory is not mapped one to one here: whoever takes a physical address for
 * a pointer will not get far. */
#define paddr_pointer book_paddr_pointer
#define pointer_paddr book_pointer_paddr
#include "kernel/mm/address.h"
#undef paddr_pointer
#undef pointer_paddr

#include "kernel/arch/csr.h"
#include "kernel/mm/page.h"

static void *paddr_pointer(paddr_t address);
static void note_csr(const char *name, uint64_t number);
static void note_asm(const char *text, uint64_t va, uint64_t asid);

/* Assembly as text. What its operands are called is part of the text, and
 * their values are those that have these names where it stands. */
static const vaddr_t va;        // for a fence that is about no page
#undef csr_write
#define csr_write(csr, number) note_csr(#csr, number)
#define volatile(...) note_asm(#__VA_ARGS__, va.value, table->asid)
#define __asm__
#include "kernel/mm/page.c"
#undef __asm__
#undef volatile

#define FENCE_ALL "\"sfence.vma\" : : : \"memory\""
#define FENCE_TREE                                                          \
    "\"sfence.vma zero, %0\" : : \"r\"((uint64_t)table->asid) : \"memory\""
#define FENCE_PAGE                                                          \
    "\"sfence.vma %0, %1\" : : "                                            \
    "\"r\"(va.value), \"r\"((uint64_t)table->asid) : \"memory\""

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition))                                                   \
            FAIL("%s:%d: not so: %s", __FILE__, __LINE__, #condition);      \
    } while (0)

#define FRAMES 2048u
#define NEVER 0u

static char *arena;             // where the frames are
static uint64_t arena_start;    // the physical address of that
static bool used[FRAMES];
static unsigned frames_used;
static unsigned refuse;         // the how-manieth request from now; or NEVER
static unsigned asked, refused; // since an operation began

static uint64_t satp;
static char printed[1 << 16];
static size_t printed_length;

static void *paddr_pointer(paddr_t address)
{
    uint64_t offset = address.value - arena_start;

    if (offset >= FRAMES * PAGE_SIZE || !used[offset / PAGE_SIZE])
        FAIL("%#lx is not the address of a table", address.value);
    return arena + offset;
}

/* A free frame, as likely one as the other, full of junk unless it is to be
 * zero. */
enum error frame_alloc(size_t count, unsigned flags, paddr_t *result)
{
    unsigned n = random_below(FRAMES);

    CHECK(count == 1 && (flags & ~(unsigned)FRAME_ZERO) == 0);
    asked++;
    if (frames_used == FRAMES || (refuse != NEVER && --refuse == 0)) {
        refused++;
        return ERR_MEMORY;
    }
    while (used[n])
        n = (n + 1) % FRAMES;
    used[n] = true;
    frames_used++;
    ASAN_UNPOISON_MEMORY_REGION(arena + n * PAGE_SIZE, PAGE_SIZE);
    memset(arena + n * PAGE_SIZE, flags & FRAME_ZERO ? 0 : 0x5b, PAGE_SIZE);
    *result = paddr(arena_start + n * PAGE_SIZE);
    return OK;
}

void frame_free(paddr_t start, size_t count)
{
    uint64_t n = (start.value - arena_start) / PAGE_SIZE;

    CHECK(count == 1 && start.value % PAGE_SIZE == 0);
    if (n >= FRAMES || !used[n])
        FAIL("%#lx is given back and is not a table", start.value);
    used[n] = false;
    frames_used--;
    ASAN_POISON_MEMORY_REGION(arena + n * PAGE_SIZE, PAGE_SIZE);
}

void printk(const char *fmt, ...)
{
    va_list arguments;
    size_t room = sizeof printed - printed_length;

    va_start(arguments, fmt);
    printed_length += (size_t)vsnprintf(printed + printed_length, room, fmt,
                                        arguments);
    va_end(arguments);
    CHECK(printed_length < sizeof printed);
}

static void note_csr(const char *name, uint64_t number)
{
    CHECK(strcmp(name, "satp") == 0);
    satp = number;
}

/* All frames are free, and lie somewhere else. */
static void world_begin(void)
{
    uint64_t places = ((1ul << 56) - FRAMES * PAGE_SIZE) / PAGE_SIZE;

    if (arena == NULL)
        arena = mmap(NULL, FRAMES * PAGE_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(arena != MAP_FAILED);
    switch (random_below(4)) {
    case 0: arena_start = 0; break;
    case 1: arena_start = places * PAGE_SIZE; break;
    case 2: arena_start = 0x80000000; break;
    default: arena_start = random_word() % places * PAGE_SIZE;
    }
    memset(used, 0, sizeof used);
    frames_used = 0;
    refuse = NEVER;
    ASAN_POISON_MEMORY_REGION(arena, FRAMES * PAGE_SIZE);
}
