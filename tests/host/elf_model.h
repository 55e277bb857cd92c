// A second reader of ELF files, made from the specification alone: a byte at a
// time, with sums that cannot wrap, and all that is wrong instead of the first.
#pragma once

#include "kernel/elf.h"

#include <stdbool.h>
#include <string.h>

#define MODEL_SEGMENTS 64
#define FIRST_BYTE ((wide)1 << 37)                      // 128 GiB
#define END_BYTE (((wide)3 << 36) - ((wide)1 << 20))    // 192 GiB - 1 MiB

typedef unsigned __int128 wide;

struct model_segment {
    wide offset, address, file, memory;
    bool reads, writes, executes;
};

struct model {
    unsigned wrong;                 // 1 << error, for each that applies
    uint64_t entry;
    unsigned count;
    struct model_segment segments[MODEL_SEGMENTS];
};

static uint64_t number_at(const uint8_t *p, unsigned bytes)
{
    uint64_t number = 0;

    while (bytes-- > 0)
        number = number * 256 + p[bytes];
    return number;
}

static void model_complain(struct model *model, bool wrong, enum error error)
{
    if (wrong)
        model->wrong |= 1u << error;
}

/* gABI, chapter 4, ELF Header; psABI, File Header. */
static void model_header(struct model *model, const uint8_t *p)
{
    static const uint8_t magic[] = { 0x7f, 'E', 'L', 'F' };
    uint64_t flags = number_at(p + 48, 4);

    model_complain(model, memcmp(p, magic, 4) != 0, ERR_CORRUPT);
    model_complain(model, p[4] != 2 || p[5] != 1 || p[7] != 0, ERR_MACHINE);
    model_complain(model, p[6] != 1 || p[8] != 0, ERR_VERSION);
    model_complain(model, number_at(p + 16, 2) != 2, ERR_TYPE);
    model_complain(model, number_at(p + 18, 2) != 243, ERR_MACHINE);
    model_complain(model, number_at(p + 20, 4) != 1, ERR_VERSION);
    model_complain(model, (flags >> 1 & 3) == 3 || (flags >> 3 & 1) == 1 ||
                   (flags >> 4 & 1) == 1, ERR_MACHINE);
    model_complain(model, flags >> 5 != 0, ERR_VERSION);
    model_complain(model, number_at(p + 52, 2) != 64, ERR_CORRUPT);
    model_complain(model, number_at(p + 54, 2) != 56, ERR_CORRUPT);
}

static bool meets(wide start, wide end, wide other, wide other_end)
{
    return start < other_end && other < end;
}

/* Of any two segments the first in the table is to be the lower one. */
static void model_pair(struct model *model, const struct model_segment *a,
                       const struct model_segment *b)
{
    wide a_end = a->address + a->memory, b_end = b->address + b->memory;

    model_complain(model, a->address > b->address ||
                   meets(a->address, a_end, b->address, b_end), ERR_CORRUPT);
    model_complain(model, meets(a->address / 4096, (a_end + 4095) / 4096,
                                b->address / 4096, (b_end + 4095) / 4096),
                   ERR_ALIGN);
}

static void model_add(struct model *model, const uint8_t *p, wide size)
{
    uint64_t flags = number_at(p + 4, 4);
    struct model_segment segment = {
        .offset = number_at(p + 8, 8), .address = number_at(p + 16, 8),
        .file = number_at(p + 32, 8), .memory = number_at(p + 40, 8),
        .reads = flags >> 2 & 1, .writes = flags >> 1 & 1,
        .executes = flags & 1,
    };

    model_complain(model, segment.file > segment.memory, ERR_CORRUPT);
    if (segment.memory == 0)
        return;
    model_complain(model, segment.offset + segment.file > size, ERR_CORRUPT);
    model_complain(model, segment.address < FIRST_BYTE ||
                   segment.address + segment.memory > END_BYTE, ERR_RANGE);
    model_complain(model, !segment.reads ||
                   (segment.writes && segment.executes), ERR_PERMISSION);
    for (unsigned i = 0; i < model->count; i++)
        model_pair(model, &model->segments[i], &segment);
    model->segments[model->count++] = segment;
}

static bool model_can_begin(const struct model *model)
{
    for (unsigned i = 0; i < model->count; i++) {
        const struct model_segment *segment = &model->segments[i];
        if (segment->executes && model->entry >= segment->address &&
            model->entry < segment->address + segment->memory)
            return true;
    }
    return false;
}

/* gABI, chapter 5, Program Header. */
static void model_table(struct model *model, const uint8_t *image, wide size)
{
    wide at = number_at(image + 32, 8);
    unsigned count = (unsigned)number_at(image + 56, 2);

    model_complain(model, count == 0, ERR_ABSENT);
    model_complain(model, count > 64, ERR_LIMIT);
    model_complain(model, at < 64 || at + (wide)count * 56 > size, ERR_CORRUPT);
    if (count > 64 || at + (wide)count * 56 > size)
        return;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *p = image + at + i * 56;
        uint64_t type = number_at(p, 4);
        model_complain(model, type == 2 || type == 3, ERR_TYPE);
        if (type == 1)
            model_add(model, p, size);
    }
    model_complain(model, model->count > 8, ERR_LIMIT);
    model_complain(model, model->count == 0, ERR_ABSENT);
}

static void model_read(struct model *model, const uint8_t *image, size_t size)
{
    memset(model, 0, sizeof *model);
    model_complain(model, size < 64, ERR_CORRUPT);
    if (size < 64)
        return;
    model->entry = number_at(image + 24, 8);
    model_header(model, image);
    model_table(model, image, size);
    model_complain(model, model->entry % 2 != 0, ERR_ALIGN);
    model_complain(model, model->count > 0 && !model_can_begin(model),
                   ERR_RANGE);
}
