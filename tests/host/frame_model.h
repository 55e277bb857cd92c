// What the allocator promises, in the naive way: an entry for each frame that
// says whose it is, and runs that are found by counting free frames.
#pragma once

#include "frame_world.h"

#define LIVE_MAX 5000       // runs in use at a time
#define NOBODY 0u           // owner of a free frame; others: run's index + 1
#define NEVER UINT32_MAX    // owner of a frame that is not ours to give
#define MOST (1ul << 18)    // frames of the longest run

struct model_run {
    uint64_t start;
    size_t count;
    uint64_t secret;        // what its owner has written follows from this
};

/* free_in[k][i]: free frames in the i-th aligned block of 2^k. */
struct model_zone {
    struct frames frames, tables;
    uint32_t *owner;
    uint32_t *free_in[ORDERS];
};

static struct model_zone model_zones[MACHINE_RANGES];
static size_t model_zone_count;
static struct model_run live[LIVE_MAX];
static size_t live_count;
static struct frame_stats model;
static size_t full[ORDERS];     // aligned blocks all of which is free

/* The first aligned block of an order that has a frame of the zone. */
static uint64_t model_base(const struct model_zone *zone, unsigned order)
{
    return zone->frames.start >> order;
}

static uint64_t model_end(const struct model_zone *zone, unsigned order)
{
    return ((zone->frames.end - 1) >> order) + 1;
}

static struct model_zone *model_zone_of(uint64_t frame)
{
    for (size_t i = 0; i < model_zone_count; i++)
        if (is_in(frame, model_zones[i].frames))
            return &model_zones[i];
    return NULL;
}

/* Free frames in an aligned block; 0 where there is no block. */
static uint32_t model_free_in(const struct model_zone *zone, unsigned order,
                              uint64_t block)
{
    if (block < model_base(zone, order) || block >= model_end(zone, order))
        return 0;
    return zone->free_in[order][block - model_base(zone, order)];
}

static void model_count(struct model_zone *zone, unsigned order,
                        uint64_t block, uint32_t now)
{
    uint32_t *count = &zone->free_in[order][block - model_base(zone, order)];

    full[order] -= *count == 1u << order;
    full[order] += now == 1u << order;
    *count = now;
}

/* Write down to whom these frames belong from now on. */
static void model_give(struct model_zone *zone, struct frames to,
                       uint32_t owner)
{
    for (uint64_t n = to.start; n < to.end; n++) {
        uint32_t *was = &zone->owner[n - zone->frames.start];
        CHECK((*was == NOBODY) != (owner == NOBODY));
        *was = owner;
        model_count(zone, 0, n, owner == NOBODY);
    }
    for (unsigned k = 1; k < ORDERS; k++)
        for (uint64_t b = to.start >> k; b <= (to.end - 1) >> k; b++)
            model_count(zone, k, b, model_free_in(zone, k - 1, 2 * b) +
                        model_free_in(zone, k - 1, 2 * b + 1));
    uint64_t count = to.end - to.start;
    model.free += owner == NOBODY ? count : -count;
}

/* Pieces that free memory is in if everything is joined that can be: of two
 * full halves there is one whole. */
static size_t model_blocks(void)
{
    size_t blocks = full[0];

    for (unsigned k = 1; k < ORDERS; k++)
        blocks -= full[k];
    return blocks;
}

/* All of them in one zone, and free? */
static bool model_is_free(uint64_t start, size_t count)
{
    const struct model_zone *zone = model_zone_of(start);

    if (zone == NULL || zone->frames.end - start < count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (zone->owner[start - zone->frames.start + i] != NOBODY)
            return false;
    return true;
}

static const struct model_run *model_run_at(uint64_t start)
{
    const struct model_zone *zone = model_zone_of(start);

    if (zone == NULL)
        return NULL;
    uint32_t owner = zone->owner[start - zone->frames.start];
    return owner == NOBODY || owner == NEVER || live[owner - 1].start != start
           ? NULL : &live[owner - 1];
}

/* May frame_check answer so? */
static bool model_allows(paddr_t at, size_t count, enum error answer)
{
    uint64_t start = at.value / PAGE_SIZE;
    const struct model_run *run = model_run_at(start);

    if (at.value % PAGE_SIZE != 0)
        return answer == ERR_ALIGN;
    if (count == 0 || count > MOST || model_zone_of(start) == NULL)
        return answer == ERR_RANGE;
    return answer == (run != NULL && run->count == count ? OK : ERR_OWNER);
}

static void model_forget(void)
{
    for (size_t i = 0; i < model_zone_count; i++) {
        free(model_zones[i].owner);
        for (unsigned k = 0; k < ORDERS; k++)
            free(model_zones[i].free_in[k]);
    }
    memset(full, 0, sizeof full);
    model_zone_count = live_count = 0;
    model = (struct frame_stats){ 0, 0, 0 };
}

/* The next stretch of frames of a zone that are ours, from `from` on. */
static struct frames model_gap(struct frames zone, uint64_t from)
{
    struct frames gap = { from, zone.end };

    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < takens; i++)
            if (is_in(gap.start, around(taken[i]))) {
                gap.start = around(taken[i]).end;
                moved = true;
            }
    }
    for (size_t i = 0; i < takens; i++) {
        struct frames other = around(taken[i]);
        if (other.start < other.end && other.start > gap.start &&
            other.start < gap.end)
            gap.end = other.start;
    }
    return gap;
}

/* Where the allocator has put the tables of a zone is its own choice, as long
 * as it is in the first gap that has room for them and a frame more. */
static struct frames model_tables(struct frames all, size_t index)
{
    uint64_t count = all.end - all.start, sections = (count + 511) / 512;
    uint64_t bytes = sections * 512 + (sections + 7) / 8;
    uint64_t size = (bytes + PAGE_SIZE - 1) / PAGE_SIZE;
    struct frames gap = model_gap(all, all.start);

    while (gap.start < gap.end && gap.end - gap.start <= size)
        gap = model_gap(all, gap.end);
    if (gap.start >= gap.end)
        return (struct frames){ 0, 0 };
    CHECK(index < zone_count);
    CHECK(zones[index].first == all.start && zones[index].count == count);
    paddr_t at = pointer_paddr(zones[index].states);
    CHECK(at.value % PAGE_SIZE == 0);
    uint64_t start = at.value / PAGE_SIZE;
    CHECK(start == gap.start);
    CHECK(zones[index].written == zones[index].states + sections * 512);
    for (uint64_t n = start; n < start + size; n++)
        CHECK(is_ours(n));
    return (struct frames){ start, start + size };
}

/* Has an earlier range brought one of these frames? */
static bool model_has(struct frames frames)
{
    for (size_t i = 0; i < model_zone_count; i++)
        if (frames.start < model_zones[i].frames.end &&
            model_zones[i].frames.start < frames.end)
            return true;
    return false;
}

/* What becomes of a range: its frames belong to nobody ever, or are free. Of
 * two that overlap, only the first counts. */
static void model_add_zone(struct range range)
{
    struct frames all = inside(range), tables, gap;

    if (all.start == all.end || model_has(all))
        return;
    tables = model_tables(all, model_zone_count);
    if (tables.start == tables.end)
        return;
    struct model_zone *zone = &model_zones[model_zone_count++];
    zone->frames = all;
    zone->tables = tables;
    zone->owner = malloc((all.end - all.start) * sizeof *zone->owner);
    memset(zone->owner, 0xff, (all.end - all.start) * sizeof *zone->owner);
    for (unsigned k = 0; k < ORDERS; k++)
        zone->free_in[k] = calloc(model_end(zone, k) - model_base(zone, k),
                                  sizeof *zone->free_in[k]);
    for (gap = model_gap(all, tables.end); gap.start < gap.end;
         gap = model_gap(all, gap.end)) {
        model.total += gap.end - gap.start;
        model_give(zone, gap, NOBODY);
    }
}

static void model_init(void)
{
    model_forget();
    for (size_t i = 0; i < memories; i++)
        model_add_zone(memory[i]);
    model.blocks = model_blocks();
    CHECK(model_zone_count == zone_count);
}
