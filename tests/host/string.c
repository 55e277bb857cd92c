// The memory and string functions against the C library's, on random bytes.
#include "random.h"

#include <string.h>

/* Ours; the build renames them so that they do not replace the library's. */
void *rv_memcpy(void *restrict to, const void *restrict from, size_t n);
void *rv_memmove(void *to, const void *from, size_t n);
void *rv_memset(void *to, int byte, size_t n);
int rv_memcmp(const void *a, const void *b, size_t n);
size_t rv_strlen(const char *s);
int rv_strcmp(const char *a, const char *b);
size_t rv_strnlen(const char *s, size_t most);

#define AREA 160

static unsigned char ours[AREA], theirs[AREA];

static int sign(int number)
{
    return (number > 0) - (number < 0);
}

/* Fill both areas with the same bytes, few of them different ones. */
static void fill(void)
{
    unsigned kinds = 1 + random_below(255);

    for (int i = 0; i < AREA; i++)
        ours[i] = theirs[i] = (unsigned char)random_below(kinds);
}

static void expect_same(const char *what)
{
    if (memcmp(ours, theirs, AREA) != 0)
        FAIL("%s wrote something else than the library's", what);
}

static void try_copies(void)
{
    size_t half = AREA / 2, n = random_below(half);
    size_t from = random_below(half - n + 1);
    size_t to = half + random_below(half - n + 1);

    fill();
    if (rv_memcpy(ours + to, ours + from, n) != ours + to)
        FAIL("memcpy does not return its first argument");
    memcpy(theirs + to, theirs + from, n);
    expect_same("memcpy");
}

static void try_moves(void)
{
    size_t n = random_below(AREA);
    size_t from = random_below(AREA - n + 1), to = random_below(AREA - n + 1);

    fill();
    if (rv_memmove(ours + to, ours + from, n) != ours + to)
        FAIL("memmove does not return its first argument");
    memmove(theirs + to, theirs + from, n);
    expect_same("memmove");
}

static void try_sets(void)
{
    size_t n = random_below(AREA), at = random_below(AREA - n + 1);
    int byte = (int)random_number();

    fill();
    if (rv_memset(ours + at, byte, n) != ours + at)
        FAIL("memset does not return its first argument");
    memset(theirs + at, byte, n);
    expect_same("memset");
}

static void try_comparisons(void)
{
    size_t n = random_below(AREA);

    fill();
    if (random_below(2) == 0)
        theirs[random_below(AREA)] = (unsigned char)random_below(256);
    if (sign(rv_memcmp(ours, theirs, n)) != sign(memcmp(ours, theirs, n)))
        FAIL("memcmp of %zu bytes is wrong", n);
    ours[AREA - 1] = theirs[AREA - 1] = 0;
    if (sign(rv_strcmp((char *)ours, (char *)theirs)) !=
        sign(strcmp((char *)ours, (char *)theirs)))
        FAIL("strcmp is wrong");
}

/* Strings in blocks of their exact size: a byte too far is found. */
static void try_lengths(void)
{
    size_t length = random_below(40), most = random_below(50);
    char *text = malloc(length + 1);

    memset(text, 'x', length);
    text[length] = '\0';
    if (rv_strlen(text) != length)
        FAIL("strlen of %zu bytes is wrong", length);
    if (rv_strnlen(text, most) != strnlen(text, most))
        FAIL("strnlen of %zu bytes, at most %zu, is wrong", length, most);
    text[length] = 'x';
    if (rv_strnlen(text, length) != length)
        FAIL("strnlen stops before the end");
    free(text);
}

static void one_round(void)
{
    try_copies();
    try_moves();
    try_sets();
    try_comparisons();
    try_lengths();
}

int main(int count, char **arguments)
{
    return count == 3 ? random_rounds(arguments, one_round) : 2;
}
