// Symbols and backtraces, on random tables and damaged chains of frames.
#include "kernel/backtrace.h"

#include "kernel/arch/hart.h"
#include "kernel/symbols.h"
#include "random.h"

#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <string.h>

#define SYMBOLS_MAX 64
#define NAMES_MAX (SYMBOLS_MAX * 8)
#define STACK_SIZE 4096
#define TASK_STACK_SIZE (4 * 4096)      // STACK_SIZE of kernel/task/stack.h

/* What the linker script of the kernel provides. */
__asm__(".pushsection .data\n .balign 16\n"
        ".globl text_start, text_end, trap_return, boot_stack, boot_stack_top\n"
        ".globl symbols, symbols_end\n"
        "text_start: .skip 2048\n"
        "trap_return: .skip 2048\n"
        "text_end: .skip 256\n"
        "boot_stack: .skip 4096\n"
        "boot_stack_top: .skip 256\n"
        "symbols: .skip 4 + 64 * 8 + 64 * 8\n"
        "symbols_end: .skip 256\n"
        ".popsection\n");

extern char text_start[], text_end[], trap_return[];
extern char boot_stack[], boot_stack_top[];
extern uint32_t symbols[], symbols_end[];

static _Alignas(16) char fault_area[256 + FAULT_STACK_SIZE + 256];
static char *const fault_stack = fault_area + 256;
static _Alignas(16) char task_area[256 + TASK_STACK_SIZE + 256];
static char *const task_stack = task_area + 256;

static struct hart hart;

struct hart *this_hart(void)
{
    return &hart;
}

/* Printing is not what is tested here. */
void printk(const char *fmt, ...)
{
    (void)fmt;
}

static uintptr_t random_text(void)
{
    return (uintptr_t)text_start + random_below(4096);
}

/* Make a table of random functions, at least one of them at the start. */
static unsigned make_table(void)
{
    unsigned count = 1 + random_below(SYMBOLS_MAX);
    char *names = (char *)(symbols + 1 + 2 * count);
    uint32_t start = 0;

    symbols[0] = count;
    for (unsigned i = 0; i < count; i++) {
        symbols[1 + 2 * i] = start;
        symbols[2 + 2 * i] = 8 * i;
        snprintf(names + 8 * i, 8, "f%u", i);
        start += 1 + random_below(4096 / SYMBOLS_MAX);
    }
    return count;
}

/* The same answer, found by looking at every entry. */
static unsigned find_slowly(uint32_t wanted, unsigned count)
{
    unsigned found = 0;

    for (unsigned i = 0; i < count; i++)
        if (symbols[1 + 2 * i] <= wanted)
            found = i;
    return found;
}

static void look_up_symbols(void)
{
    unsigned count = make_table();

    for (int i = 0; i < 16; i++) {
        uintptr_t offset = 0, address = random_text();
        uint32_t wanted = (uint32_t)(address - (uintptr_t)text_start);
        unsigned index = find_slowly(wanted, count);
        const char *name = symbol_find(address, &offset);
        char right[8];

        snprintf(right, sizeof right, "f%u", index);
        if (name == NULL || strcmp(name, right) != 0 ||
            offset != wanted - symbols[1 + 2 * index])
            FAIL("text + %#x is %s + %#lx, want %s", wanted, name, offset,
                 right);
    }
    uintptr_t offset;
    if (symbol_find((uintptr_t)text_end, &offset) != NULL ||
        symbol_find((uintptr_t)text_start - 1, &offset) != NULL)
        FAIL("something outside the text has a name");
}

/* A word as it may stand in a damaged frame. */
static uintptr_t random_link(void)
{
    char *const stacks[] = { boot_stack, boot_stack, fault_stack, task_stack };
    static const unsigned sizes[] = { STACK_SIZE, STACK_SIZE, FAULT_STACK_SIZE,
                                      TASK_STACK_SIZE };
    unsigned which = random_below(4), size = sizes[which];
    uintptr_t stack = (uintptr_t)stacks[which];

    switch (random_below(8)) {
    case 0: return random_number();
    case 1: return stack + size - random_below(4) * 8;
    case 2: return stack + random_below(40) * 8;
    case 3: return stack + random_below(size);
    case 4: return random_text();
    case 5: return (uintptr_t)trap_return;
    default: return stack + random_below(size / 8) * 8;
    }
}

static void fill_stack(char *stack, size_t size)
{
    uintptr_t *words = (uintptr_t *)(void *)stack;

    for (size_t i = 0; i < size / sizeof *words; i++)
        words[i] = random_below(2) == 0 ? random_link() : random_text();
}

/* Only the three stacks may be read: the bytes around them are poisoned. */
static void walk_damaged_chains(void)
{
    fill_stack(boot_stack, STACK_SIZE);
    fill_stack(fault_stack, FAULT_STACK_SIZE);
    fill_stack(task_stack, TASK_STACK_SIZE);
    for (int i = 0; i < 64; i++) {
        struct call call = { .pc = random_link(), .fp = random_link(),
                             .ra = random_below(2) == 0 ? 0 : random_link() };
        for (int depth = 0; depth < 40 && call_up(&call); depth++)
            ;
    }
}

/* A chain that is whole is walked to its end. */
static void walk_a_good_chain(void)
{
    uintptr_t *words = (uintptr_t *)(void *)boot_stack;
    uintptr_t returns[16];
    size_t depth = 1 + random_below(15), at = 2;
    struct call call = { .pc = (uintptr_t)text_start + 2,
                         .fp = (uintptr_t)(words + at) };

    for (size_t i = 0; i < depth; i++) {
        size_t next = at + 2 + random_below(20);
        returns[i] = (uintptr_t)text_start + 2 + random_below(2000);
        words[at - 1] = returns[i];
        words[at - 2] = (uintptr_t)(words + next);
        at = next;
    }
    words[at - 1] = words[at - 2] = 0;
    for (size_t i = 0; i < depth; i++)
        if (!call_up(&call) || call.pc != returns[i])
            FAIL("step %zu of %zu leads to %#lx, want %#lx", i, depth, call.pc,
                 returns[i]);
    if (call_up(&call))
        FAIL("the walk goes on after the end");
}

static void one_round(void)
{
    look_up_symbols();
    walk_damaged_chains();
    walk_a_good_chain();
}

int main(int count, char **arguments)
{
    hart.fault_stack = (uintptr_t)(fault_stack + FAULT_STACK_SIZE);
    hart.kernel_stack = (uintptr_t)(task_stack + TASK_STACK_SIZE);
    ASAN_POISON_MEMORY_REGION(text_start, 4096 + 256);
    ASAN_POISON_MEMORY_REGION(boot_stack_top, 256);
    ASAN_POISON_MEMORY_REGION(symbols_end, 256);
    ASAN_POISON_MEMORY_REGION(fault_area, 256);
    ASAN_POISON_MEMORY_REGION(fault_stack + FAULT_STACK_SIZE, 256);
    ASAN_POISON_MEMORY_REGION(task_area, 256);
    ASAN_POISON_MEMORY_REGION(task_stack + TASK_STACK_SIZE, 256);
    return count == 3 ? random_rounds(arguments, one_round) : 2;
}
