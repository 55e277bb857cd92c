// Random choices that a seed repeats, and the report of a failure.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t random_state;

/* Marsaglia's xorshift, 64 bits. */
static inline uint64_t random_word(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* A number from 0 to end - 1. */
static inline unsigned random_below(unsigned end)
{
    return (unsigned)((random_word() >> 16) % end);
}

/* A number as programs meet them: small, extreme, or anything. */
static inline uint64_t random_number(void)
{
    static const uint64_t edges[] = {
        0, 1, 7, 8, 9, 10, 127, 128, 255, 256, 32767, 32768, 65535, INT32_MAX,
        (uint64_t)INT32_MAX + 1, UINT32_MAX, (uint64_t)UINT32_MAX + 1,
        INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX, UINT64_MAX - 1,
    };

    if (random_below(3) == 0)
        return edges[random_below(sizeof edges / sizeof edges[0])];
    return random_word() >> random_below(64);
}

/* The main loop of a program: PROGRAM SEED ROUNDS. Calls round that many
 * times; a round that fails does not return. */
static inline int random_rounds(char **arguments, void (*round)(void))
{
    random_state = strtoull(arguments[1], NULL, 10) * 2 + 1;
    for (long n = strtol(arguments[2], NULL, 10); n > 0; n--)
        round();
    return 0;
}

#define FAIL(...)                                                           \
    do {                                                                    \
        printf(__VA_ARGS__);                                                \
        printf("\n");                                                       \
        exit(1);                                                            \
    } while (0)
