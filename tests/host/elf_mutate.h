// Programs, and what can be wrong with them.
#pragma once

#include "elf_model.h"
#include "random.h"

#define SEEDS_MAX 64
#define FILE_MAX 65536

static struct seed {
    uint8_t *bytes;
    size_t size;
} seeds[SEEDS_MAX];
static unsigned seed_count;

/* The file that is being changed. */
static uint8_t file[FILE_MAX];
static size_t file_size;

/* Where a number stands, and how long it is. */
struct field {
    uint8_t at, bytes;
};

static const struct field header_fields[] = {
    { 0, 4 }, { 4, 1 }, { 5, 1 }, { 6, 1 }, { 7, 1 }, { 8, 1 }, { 16, 2 },
    { 18, 2 }, { 20, 4 }, { 24, 8 }, { 24, 8 }, { 32, 8 }, { 32, 8 }, { 40, 8 },
    { 48, 4 }, { 48, 4 }, { 52, 2 }, { 54, 2 }, { 56, 2 }, { 56, 2 },
};
static const struct field entry_fields[] = {
    { 0, 4 }, { 4, 4 }, { 8, 8 }, { 16, 8 }, { 32, 8 }, { 40, 8 }, { 48, 8 },
};

#define ANY(array) (array)[random_below(sizeof (array) / sizeof (array)[0])]

static void put_number(uint8_t *p, unsigned bytes, uint64_t number)
{
    for (unsigned i = 0; i < bytes; i++, number >>= 8)
        p[i] = (uint8_t)number;
}

/* Program headers that are in the file as it is now. */
static unsigned entries(void)
{
    uint64_t at, count;

    if (file_size < 64)
        return 0;
    at = number_at(file + 32, 8);
    count = number_at(file + 56, 2);
    if (at > file_size)
        return 0;
    return (unsigned)(count < (file_size - at) / 56 ? count
                                                    : (file_size - at) / 56);
}

/* One of them, or NULL. */
static uint8_t *any_entry(void)
{
    unsigned count = entries();

    return count == 0 ? NULL
                      : file + number_at(file + 32, 8) + random_below(count) * 56;
}

/* A number that some check compares something with. */
static uint64_t border(void)
{
    const uint8_t *p = any_entry();

    switch (random_below(8)) {
    case 0: return file_size;
    case 1: return (uint64_t)FIRST_BYTE;
    case 2: return (uint64_t)END_BYTE;
    case 3: return 0;
    case 4: return p == NULL ? 56 : number_at(p + 16, 8);
    case 5: return p == NULL ? 64 : number_at(p + 16, 8) + number_at(p + 40, 8);
    case 6: return p == NULL ? 1 : file_size - number_at(p + 8, 8);
    default: return p == NULL ? 2 : (uint64_t)END_BYTE - number_at(p + 16, 8);
    }
}

/* A number that is likely to hurt. */
static uint64_t edge(uint64_t old)
{
    switch (random_below(7)) {
    case 0: return random_below(10);
    case 1: return old + random_below(17) - 8;
    case 2: return old ^ 1ul << random_below(64);
    case 3: return border() + random_below(5) - 2;
    case 4: return border() - border() + random_below(5) - 2;
    case 5: return (border() + 4095) / 4096 * 4096 + random_below(3) - 1;
    default: return random_number();
    }
}

static void change_field(uint8_t *p, struct field field)
{
    put_number(p + field.at, field.bytes,
               edge(number_at(p + field.at, field.bytes)));
}

static void change_the_header(void)
{
    if (file_size >= 64)
        change_field(file, ANY(header_fields));
}

static void change_an_entry(void)
{
    uint8_t *p = any_entry();

    if (p != NULL)
        change_field(p, ANY(entry_fields));
}

/* Two numbers that belong together, so that only their sum is wrong. */
static void move_a_segment(void)
{
    uint8_t *p = any_entry();

    if (p == NULL)
        return;
    uint64_t size = edge(number_at(p + 40, 8));
    put_number(p + 40, 8, size);
    put_number(p + 32, 8, random_below(2) == 0 ? size : random_below(9));
    if (random_below(2) == 0)
        put_number(p + 8, 8, border() - size + random_below(3) - 1);
    else
        put_number(p + 16, 8, border() - size + random_below(3) - 1);
}

static void change_permissions(void)
{
    uint8_t *p = any_entry();

    if (p != NULL)
        put_number(p + 4, 4, random_below(8));
}

static void empty_a_segment(void)
{
    uint8_t *p = any_entry();

    if (p != NULL) {
        put_number(p + 32, 8, random_below(8) == 0);
        put_number(p + 40, 8, 0);
    }
}

static void swap_entries(void)
{
    uint8_t *a = any_entry(), *b = any_entry(), kept[56];

    if (a == NULL)
        return;
    memcpy(kept, a, 56);
    memmove(a, b, 56);
    memcpy(b, kept, 56);
}

/* The table goes to the end of the file, with some more entries that may
 * be segments, each above the one before. */
static void extend_the_table(void)
{
    unsigned count = entries(), more = random_below(random_below(8) == 0 ? 70 : 9);

    if (count == 0 || file_size + (count + more) * 56 > FILE_MAX)
        return;
    uint8_t *to = file + file_size;
    memmove(to, file + number_at(file + 32, 8), count * 56);
    for (unsigned i = count; i < count + more; i++) {
        uint8_t *p = to + i * 56;
        memcpy(p, p - 56, 56);
        if (random_below(3) == 0)
            put_number(p, 4, 4);
        put_number(p + 16, 8, number_at(p + 16, 8) + 4096);
        put_number(p + 40, 8, random_below(4097));
        put_number(p + 32, 8, 0);
    }
    put_number(file + 32, 8, file_size);
    put_number(file + 56, 2, count + more);
    file_size += (count + more) * 56;
}

static void flip_a_bit(void)
{
    size_t end = random_below(2) == 0 || file_size < 400 ? file_size : 400;

    if (end > 0)
        file[random_below((unsigned)end)] ^= (uint8_t)(1 << random_below(8));
}

static void cut_the_end(void)
{
    unsigned most = (unsigned)file_size + 1;

    file_size -= random_below(random_below(2) == 0 && most > 9 ? 9 : most);
}

/* Change the file once. */
static void mutate(void)
{
    static void (*const changes[])(void) = {
        change_the_header, change_the_header, change_an_entry, change_an_entry,
        change_an_entry, change_an_entry, move_a_segment, move_a_segment,
        change_permissions, empty_a_segment, swap_entries, extend_the_table,
        flip_a_bit, cut_the_end,
    };

    ANY(changes)();
}
