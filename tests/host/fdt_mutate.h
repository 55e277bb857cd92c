// Device trees of machines, and what can happen to them on the way.
#pragma once

#include "random.h"

#include <stdbool.h>
#include <string.h>

#define SEEDS_MAX 256
#define BLOB_MAX 32768

static struct seed {
    uint8_t *blob;
    uint32_t size;
    bool sound;
} seeds[SEEDS_MAX];
static unsigned seed_count, sound_count;

/* The tree that is being changed. */
static _Alignas(8) uint8_t tree[BLOB_MAX];
static uint32_t tree_size;

static uint32_t get(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | p[2] << 8 | p[3];
}

static void put(uint8_t *p, uint32_t number)
{
    for (int i = 3; i >= 0; i--, number >>= 8)
        p[i] = (uint8_t)number;
}

enum { TOTAL = 4, STRUCTURE = 8, STRINGS = 12, RESERVED = 16,
       STRINGS_SIZE = 32, STRUCTURE_SIZE = 36 };

/* The size of the reservation block, with the entry that ends it. */
static uint32_t reserved_size(const uint8_t *blob)
{
    static const uint8_t last[16];
    uint32_t size = 0;

    while (memcmp(blob + get(blob + RESERVED) + size, last, 16) != 0)
        size += 16;
    return size + 16;
}

/* Append a block of a seed to the tree, and note where it went. */
static void lay_down(const uint8_t *blob, unsigned field, uint32_t size,
                     unsigned alignment)
{
    while (tree_size % alignment != 0)
        tree[tree_size++] = (uint8_t)random_word();
    memcpy(tree + tree_size, blob + get(blob + field), size);
    put(tree + field, tree_size);
    tree_size += size;
}

/* Nearly always the right one. */
static unsigned any_alignment(unsigned right)
{
    return random_below(50) == 0 ? 1 : right;
}

/* Begin with a copy of a seed, its blocks in any order and as close to each
 * other as can be, so that each of them stands at the end of some blob. */
static void lay_out(const struct seed *seed)
{
    const uint8_t *blob = seed->blob;
    unsigned first = random_below(3), turn = 1 + random_below(2);

    memcpy(tree, blob, 40);
    tree_size = 40;
    for (unsigned i = 0; i < 3; i++)
        switch ((first + i * turn) % 3) {
        case 0:
            lay_down(blob, RESERVED, reserved_size(blob), any_alignment(8));
            break;
        case 1:
            lay_down(blob, STRUCTURE, get(blob + STRUCTURE_SIZE),
                     any_alignment(4));
            break;
        case 2: lay_down(blob, STRINGS, get(blob + STRINGS_SIZE), 1); break;
        }
    put(tree + TOTAL, tree_size);
}

/* A seed, mostly a sound one; small ones more often, as they take less time. */
static const struct seed *any_seed(void)
{
    if (random_below(16) == 0)
        return &seeds[random_below(seed_count)];
    unsigned least = random_below(sound_count);
    for (int i = 0; i < 3; i++) {
        unsigned other = random_below(sound_count);
        if (other < least)
            least = other;
    }
    return &seeds[least];
}

/* A number that is likely to hurt. */
static uint32_t edge(uint32_t old)
{
    switch (random_below(6)) {
    case 0: return random_below(24);
    case 1: return old + random_below(17) - 8;
    case 2: return tree_size + random_below(17) - 8;
    case 3: return 0u - random_below(20);
    case 4: return (uint32_t)random_number();
    default: return 0u - get(tree + 8 + 4 * random_below(3)) +
                    random_below(64);
    }
}

/* The structure as it is said to be, if it is in the blob at all. */
static bool find_structure(uint32_t *start, uint32_t *size)
{
    *start = get(tree + STRUCTURE);
    *size = get(tree + STRUCTURE_SIZE);
    return *start % 4 == 0 && *start <= tree_size && *size >= 4 &&
           *size <= tree_size - *start;
}

/* The place of a token, or of what looks like one; 0: there is none. With
 * a kind, of a token of this kind. */
static uint32_t any_token(uint32_t kind)
{
    uint32_t start, size, words;

    if (!find_structure(&start, &size))
        return 0;
    words = size / 4;
    uint32_t from = random_below(words);
    for (uint32_t i = 0; i < words; i++) {
        uint32_t at = start + (from + i) % words * 4;
        uint32_t token = get(tree + at);
        if (kind != 0 ? token == kind : token == 9 || token - 1 < 4)
            return at;
    }
    return 0;
}

static void flip_a_bit(void)
{
    tree[random_below(tree_size)] ^= (uint8_t)(1 << random_below(8));
}

static void change_a_byte(void)
{
    tree[random_below(tree_size)] = (uint8_t)random_number();
}

static void change_a_word(void)
{
    uint8_t *p = tree + random_below(tree_size / 4) * 4;

    put(p, edge(get(p)));
}

static void change_the_header(void)
{
    uint8_t *p = tree + random_below(10) * 4;

    put(p, edge(get(p)));
}

/* The length of a property, or the offset of its name. */
static void change_a_property(void)
{
    uint32_t at = any_token(3);

    if (at == 0 || at + 12 > tree_size)
        return;
    uint8_t *p = tree + at + 4 + 4 * random_below(2);
    put(p, edge(get(p)));
}

static void change_a_token(void)
{
    static const uint8_t tokens[] = { 1, 2, 3, 4, 9 };
    uint32_t at = any_token(0);

    if (at != 0)
        put(tree + at, tokens[random_below(sizeof tokens)]);
}

static void swap_tokens(void)
{
    uint32_t a = any_token(0), b = any_token(0);

    if (a == 0 || b == 0)
        return;
    uint32_t kept = get(tree + a);
    put(tree + a, get(tree + b));
    put(tree + b, kept);
}

/* Delete the end of a string. */
static void join_strings(void)
{
    uint32_t at = random_below(tree_size);
    const uint8_t *nul = memchr(tree + at, '\0', tree_size - at);

    if (nul != NULL)
        tree[nul - tree] = 'x';
}

static void copy_a_block(void)
{
    uint32_t grain = random_below(4) == 0 ? 1 : 4;
    uint32_t from = random_below(tree_size) / grain * grain;
    uint32_t to = random_below(tree_size) / grain * grain;
    uint32_t most = tree_size - (from > to ? from : to);

    memmove(tree + to, tree + from, random_below(most < 64 ? most : 64));
}

static void cut_the_end(void)
{
    tree_size -= random_below(random_below(2) == 0 ? 8 : tree_size);
    if (tree_size >= 40 && random_below(2) == 0)
        put(tree + TOTAL, tree_size);
}

static void extend_the_end(void)
{
    for (unsigned n = random_below(24); n > 0 && tree_size < BLOB_MAX; n--)
        tree[tree_size++] = (uint8_t)random_word();
}

/* The structure becomes longer or shorter at a place in it. */
static void move_blocks(uint32_t place, uint32_t difference)
{
    for (unsigned field = STRUCTURE; field <= RESERVED; field += 4)
        if (get(tree + field) > place)
            put(tree + field, get(tree + field) + difference);
    put(tree + STRUCTURE_SIZE, get(tree + STRUCTURE_SIZE) + difference);
    tree_size += difference;
    put(tree + TOTAL, tree_size);
}

/* Where the node that begins at a token ends, or 0. */
static uint32_t end_of_node(uint32_t at, uint32_t end)
{
    int depth = 0;

    while (at + 4 <= end) {
        uint32_t token = get(tree + at);
        if (token == 3 && at + 8 <= end && get(tree + at + 4) < end - at)
            at += 8 + (get(tree + at + 4) + 3) / 4 * 4;
        else if (token == 1) {
            depth++;
            while (at + 8 <= end && memchr(tree + at + 4, '\0', 4) == NULL)
                at += 4;
            at += 4;
        } else if (token == 2)
            depth--;
        at += 4;
        if (token == 2 && depth == 0)
            return at;
    }
    return 0;
}

/* A piece that is likely to be a whole node or property. */
static bool find_piece(uint32_t *at, uint32_t *size)
{
    uint32_t start, length, kind = random_below(2) == 0 ? 1 : 3;

    if (!find_structure(&start, &length) || (*at = any_token(kind)) == 0)
        return false;
    uint32_t end = start + length;
    if (kind == 1) {
        uint32_t to = end_of_node(*at, end);
        *size = to - *at;
        return to != 0;
    }
    *size = *at + 8 <= end ? get(tree + *at + 4) : end;
    if (*size >= end - *at)
        return false;
    *size = 12 + (*size + 3) / 4 * 4;
    return *at + *size <= end;
}

/* Some machines have more of something than others. */
static void repeat_a_piece(void)
{
    uint32_t at, size, times = random_below(24) == 0 ? 70 : 1;

    if (!find_piece(&at, &size))
        return;
    for (; times > 0 && tree_size + size <= BLOB_MAX; times--) {
        memmove(tree + at + size, tree + at, tree_size - at);
        move_blocks(at, size);
    }
}

static void remove_a_piece(void)
{
    uint32_t at, size;

    if (!find_piece(&at, &size))
        return;
    memmove(tree + at, tree + at + size, tree_size - at - size);
    move_blocks(at, 0u - size);
}

/* A node becomes the only child of a new one. */
static void wrap_a_node(void)
{
    uint32_t start, length, at = any_token(1);

    if (at == 0 || !find_structure(&start, &length) ||
        tree_size + 12 > BLOB_MAX)
        return;
    uint32_t end = end_of_node(at, start + length);
    if (end == 0)
        return;
    memmove(tree + end + 12, tree + end, tree_size - end);
    memmove(tree + at + 8, tree + at, end - at);
    put(tree + at, 1);
    put(tree + at + 4, 0);
    put(tree + end + 8, 2);
    move_blocks(at, 12);
}

/* Change the tree once. */
static void mutate(void)
{
    static void (*const changes[])(void) = {
        flip_a_bit, change_a_byte, change_a_word, change_a_word,
        change_the_header, change_a_property, change_a_property,
        change_a_token, swap_tokens, join_strings, copy_a_block,
        cut_the_end, extend_the_end, repeat_a_piece, repeat_a_piece,
        remove_a_piece, wrap_a_node,
    };

    if (tree_size >= 40)
        changes[random_below(sizeof changes / sizeof changes[0])]();
}
