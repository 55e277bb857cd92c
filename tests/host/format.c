// format() against the C library's snprintf, on random formats and arguments.
#include "base/format.h"

#include "random.h"

#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#define LONGEST 1024

static char fmt[256];

static void add(const char *text)
{
    strncat(fmt, text, sizeof fmt - strlen(fmt) - 1);
}

static void add_char(char c)
{
    add((char[]){ c, '\0' });
}

static void add_number(unsigned end)
{
    char digits[16];

    snprintf(digits, sizeof digits, "%u", random_below(end));
    add(digits);
}

static void add_literal(void)
{
    static const char *const literals[] = {
        "", " ", "x=", "%%", "\n", "ä", "}"
    };

    add(literals[random_below(sizeof literals / sizeof literals[0])]);
}

static void add_some_of(const char *flags)
{
    for (; *flags != '\0'; flags++)
        if (random_below(4) == 0)
            add_char(*flags);
}

/* Append a conversion without its letter. Returns which of width (1) and
 * precision (2) are to come from the arguments. */
static int add_spec(const char *flags)
{
    int stars = 0;

    add("%");
    add_some_of(flags);
    switch (random_below(4)) {
    case 0: add("*"); stars |= 1; break;
    case 1: add_number(random_below(20) == 0 ? 600 : 24); break;
    }
    switch (random_below(4)) {
    case 0: add(".*"); stars |= 2; break;
    case 1: add("."); add_number(24); break;
    case 2: add(random_below(4) == 0 ? "." : ""); break;
    }
    return stars;
}

/* Format with both, into buffers of exactly the same size, and compare. The
 * formats are not literals, so the compiler cannot check them, and need not. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void compare(int unused, ...)
{
    size_t size = random_below(2) == 0 ? LONGEST : random_below(40);
    char *ours = malloc(size), *theirs = malloc(size);
    va_list list;

    va_start(list, unused);
    size_t length = vformat(ours, size, fmt, list);
    va_end(list);
    va_start(list, unused);
    size_t wanted = (size_t)vsnprintf(theirs, size, fmt, list);
    va_end(list);
    if (length != wanted)
        FAIL("\"%s\" has length %zu, want %zu", fmt, length, wanted);
    if (size > 0 && strcmp(ours, theirs) != 0)
        FAIL("\"%s\" gives \"%s\", want \"%s\"", fmt, ours, theirs);
    free(ours);
    free(theirs);
}

/* Compare with as many numbers in front of the value as there are stars. */
#define COMPARE_STARS(stars, value)                                         \
    do {                                                                    \
        int width = (int)random_below(48) - 24;                             \
        int precision = (int)random_below(30) - 5;                          \
        switch (stars) {                                                    \
        case 0: compare(0, value); break;                                   \
        case 1: compare(0, width, value); break;                            \
        case 2: compare(0, precision, value); break;                        \
        case 3: compare(0, width, precision, value); break;                 \
        }                                                                   \
    } while (0)

static void compare_integer(void)
{
    static const char *const sizes[] = {
        "hh", "h", "", "l", "ll", "j", "z", "t"
    };
    unsigned which = random_below(8);
    uint64_t value = random_number();

    fmt[0] = '\0';
    add_literal();
    int stars = add_spec("-+ #0");
    add(sizes[which]);
    add_char("diuoxX"[random_below(6)]);
    add_literal();
    if (which < 3)
        COMPARE_STARS(stars, (int)value);
    else
        COMPARE_STARS(stars, (long)value);
}

static void compare_string(void)
{
    size_t length = random_below(24);
    char *text = malloc(length + 1);

    memset(text, 'a', length);
    text[length] = '\0';
    fmt[0] = '\0';
    add_literal();
    int stars = add_spec("-");
    add("s");
    add_literal();
    COMPARE_STARS(stars, text);
    free(text);
}

/* A string with a precision need not end, and must not be read beyond it. */
static void compare_unended_string(void)
{
    unsigned length = random_below(24);
    char *text = malloc(length + 1), *end = text + 1;

    memset(end, 'b', length);
    strcpy(fmt, "[%.*s]");
    compare(0, (int)length, end);
    free(text);
}

static void compare_character(void)
{
    fmt[0] = '\0';
    add("%");
    add_some_of("-");
    add_number(9);
    add("c|%c");
    compare(0, (int)(1 + random_below(255)), (int)(1 + random_below(255)));
}

static void compare_pointer(void)
{
    char ours[64], theirs[64];
    void *pointer = (void *)(uintptr_t)random_number();

    format(ours, sizeof ours, "%p", pointer);
    snprintf(theirs, sizeof theirs, "0x%016lx", (unsigned long)pointer);
    if (strcmp(ours, theirs) != 0)
        FAIL("a pointer gives \"%s\", want \"%s\"", ours, theirs);
}

static void compare_several(void)
{
    fmt[0] = '\0';
    add("%d %-");
    add_number(9);
    add("lu%%%");
    add_number(9);
    add("s|%c%#");
    add_number(20);
    add("llx\n");
    compare(0, (int)random_number(), (unsigned long)random_number(), "text",
            (int)(1 + random_below(255)), (long long)random_number());
}

/* An address that works as any argument: a string that can be read but not
 * written, so that %s works and %n faults; a character that is not a NUL; as a
 * width, large but bounded. */
static const char *any_argument(void)
{
    static char *page;

    if (page == NULL) {
        page = mmap((void *)0x10000, 4096, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (page == MAP_FAILED)
            FAIL("no page at 0x10000");
        strcpy(&page['A'], "text");
        mprotect(page, 4096, PROT_READ);
    }
    return &page['A'];
}

/* More arguments than a nonsensical format can ask for. */
#define SIXTEEN(a) a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a

/* Nonsense must be harmless. */
static void survive_nonsense(void)
{
    static const char letters[] =
        "%%%%-+ #0123456789.**hlzjtLqdiuxXocspnk\xff";
    const char *a = any_argument();
    char text[64];
    size_t n = random_below(20);

    for (size_t i = 0; i < n; i++)
        fmt[i] = letters[random_below(sizeof letters - 1)];
    fmt[n] = '\0';
    size_t length = format(NULL, 0, fmt, SIXTEEN(a));
    if (format(text, sizeof text, fmt, SIXTEEN(a)) != length)
        FAIL("\"%s\" has two lengths", fmt);
    if (strlen(text) != (length < sizeof text ? length : sizeof text - 1))
        FAIL("\"%s\" gives a text of the wrong length", fmt);
}

static void one_round(void)
{
    compare_integer();
    switch (random_below(8)) {
    case 0: compare_string(); break;
    case 1: compare_unended_string(); break;
    case 2: compare_character(); break;
    case 3: compare_pointer(); break;
    case 4: compare_several(); break;
    case 5: survive_nonsense(); break;
    }
}

int main(int count, char **arguments)
{
    return count == 3 ? random_rounds(arguments, one_round) : 2;
}
