// What page tables promise, in the naive way: a list of stretches of pages that
// are mapped, in order; and what a tree says, read entry by entry with numbers
// from the specification.
#pragma once

#include "page_world.h"

#define PAGES (1ul << 26)           // of the lower half
#define MANY 6000

/* Pages [start, start + count) lead to frames from `frame` on. */
struct pages {
    uint64_t start, count, frame;
    pte_t flags;
};

struct model {
    struct page_table table;
    bool is_kernel;                 // then the tree is kernel_table
    size_t count;
    struct pages pages[MANY];
};

/* What was seen on a walk through a tree. */
struct view {
    size_t count, tables, leaves, empty_tables;
    struct pages pages[MANY];
    bool largest;                   // are all leaves as large as can be?
};

static struct page_table *table_of(struct model *model)
{
    return model->is_kernel ? &kernel_table : &model->table;
}

static uint64_t end_of(const struct pages *pages)
{
    return pages->start + pages->count;
}

/* The stretch with a page, or NULL. */
static const struct pages *model_find(const struct model *model,
                                      uint64_t page)
{
    for (size_t i = 0; i < model->count; i++)
        if (page - model->pages[i].start < model->pages[i].count)
            return &model->pages[i];
    return NULL;
}

/* How many of the pages are mapped? */
static uint64_t model_mapped(const struct model *model, uint64_t start,
                             uint64_t count)
{
    uint64_t mapped = 0;

    for (size_t i = 0; i < model->count; i++) {
        const struct pages *p = &model->pages[i];
        uint64_t from = p->start > start ? p->start : start;
        uint64_t to = end_of(p) < start + count ? end_of(p)
                                                : start + count;
        mapped += from < to ? to - from : 0;
    }
    return mapped;
}

static void model_insert(struct model *model, struct pages pages)
{
    size_t i = model->count++;

    CHECK(model->count < MANY);
    for (; i > 0 && model->pages[i - 1].start > pages.start; i--)
        model->pages[i] = model->pages[i - 1];
    model->pages[i] = pages;
}

/* A boundary between stretches at this page, if it is inside of one. */
static void model_cut(struct model *model, uint64_t page)
{
    for (size_t i = 0; i < model->count; i++) {
        struct pages *p = &model->pages[i], rest = *p;
        if (page <= p->start || page >= end_of(p))
            continue;
        p->count = page - p->start;
        rest.start = page;
        rest.count -= p->count;
        rest.frame += p->count;
        model_insert(model, rest);
        return;
    }
}

/* Forget pages, or, if there are flags, give them these. */
static void model_change(struct model *model, uint64_t start,
                         uint64_t count, pte_t flags)
{
    size_t kept = 0;

    model_cut(model, start);
    model_cut(model, start + count);
    for (size_t i = 0; i < model->count; i++) {
        struct pages *p = &model->pages[i];
        if (p->start >= start && p->start < start + count) {
            if (flags == 0)
                continue;
            p->flags = flags;
        }
        model->pages[kept++] = *p;
    }
    model->count = kept;
}

/* Add a stretch; what continues the last one becomes a part of it. */
static void join(struct pages *list, size_t *count, struct pages next)
{
    struct pages *last = *count > 0 ? &list[*count - 1] : NULL;

    if (last != NULL && end_of(last) == next.start &&
        last->frame + last->count == next.frame &&
        last->flags == next.flags) {
        last->count += next.count;
        return;
    }
    CHECK(*count < MANY);
    list[(*count)++] = next;
}

/* A table seen by the hardware: at this level, from this page on. */
static void look(struct view *view, uint64_t table, int level,
                 uint64_t start, unsigned first, unsigned end)
{
    const uint64_t *entries = paddr_pointer(paddr(table));
    uint64_t span = 1ul << 9 * level, found = 0;

    for (unsigned i = first; i < end; i++) {
        uint64_t entry = entries[i], page = start + i * span;
        uint64_t frame = entry >> 10, kind = entry & 0xf;
        if (entry == 0)
            continue;
        found++;
        if ((entry & 1) == 0 || entry >> 54 != 0 || (entry & 0x300) != 0)
            FAIL("level %d, page %#lx: bad entry %#lx", level, page, entry);
        if (kind == 1) {    // a table
            if (level == 0 || (entry & 0xff) != 1)
                FAIL("level %d, page %#lx: bad table %#lx", level, page,
                     entry);
            view->tables++;
            look(view, frame << 12, level - 1, page, 0, 512);
            continue;
        }
        if (frame % span != 0 || (kind & 6) == 4 || (kind & 12) == 12 ||
            (entry & 0xc0) != 0xc0)
            FAIL("level %d, page %#lx: bad leaf %#lx", level, page, entry);
        view->leaves++;
        join(view->pages, &view->count,
             (struct pages){ page, span, frame, entry & 0x3e });
    }
    view->empty_tables += found == 0 && level < 2;
}

/* Does a leaf at this page have to be so small? Not if the larger block
 * around it was asked for, and is aligned in memory as it is here. */
static void check_large(uint64_t table, int level, uint64_t start,
                        const struct pages *asked)
{
    const uint64_t *entries = paddr_pointer(paddr(table));
    uint64_t span = 1ul << 9 * level, larger = span << 9;

    for (unsigned i = 0; i < 512; i++) {
        uint64_t page = start + i * span, entry = entries[i];
        if (entry == 0 || (level == 2 && (page < asked->start / span * span ||
                                          page >= end_of(asked))))
            continue;
        if ((entry & 0xf) == 1) {
            check_large(entry >> 10 << 12, level - 1, page, asked);
            continue;
        }
        uint64_t block = page - page % larger;
        if (level < 2 && block >= asked->start &&
            block + larger <= end_of(asked) &&
            (asked->frame - asked->start) % larger == 0)
            FAIL("page %#lx has a leaf of level %d, and fits one of %d",
                 page, level, level + 1);
    }
}

/* Is the tree what the model says, entry by entry and table by table? */
static void check_tree(struct model *model)
{
    static struct view view;
    static struct pages joined[MANY];
    const struct page_table *table = table_of(model);
    const uint64_t *root = paddr_pointer(table->root);
    const uint64_t *kernel = paddr_pointer(kernel_table.root);
    size_t count = 0;

    view.count = view.leaves = view.empty_tables = 0;
    view.tables = 1;
    if (model->is_kernel)
        look(&view, table->root.value, 2, 0, 0, 512);
    else
        look(&view, table->root.value, 2, 0, 128, 255);
    for (unsigned i = 0; i < 512; i++) {
        bool shared = i < 128 || i == 255;
        if ((i >= 256 && root[i] != 0) || (shared && root[i] != kernel[i]))
            FAIL("entry %u of the root is %#lx", i, root[i]);
    }
    for (size_t i = 0; i < model->count; i++)
        join(joined, &count, model->pages[i]);
    for (size_t i = 0; i < count || i < view.count; i++)
        if (count != view.count ||
            memcmp(&joined[i], &view.pages[i], sizeof joined[i]) != 0)
            FAIL("stretch %zu of %zu: pages %#lx + %#lx to %#lx, flags %#lx;"
                 " want of %zu: %#lx + %#lx to %#lx, flags %#lx", i,
                 view.count, view.pages[i].start, view.pages[i].count,
                 view.pages[i].frame, view.pages[i].flags, count,
                 joined[i].start, joined[i].count, joined[i].frame,
                 joined[i].flags);
    if (table->tables != view.tables)
        FAIL("%zu tables are counted, %zu are there", table->tables,
             view.tables);
}

/* What page_table_print has to say: what is mapped in the kernel's part, in
 * the tree's own, and in the kernel's again. */
static void check_print(struct model *model, const struct model *kernel)
{
    static struct pages joined[MANY];
    static char wanted[sizeof printed];
    size_t count = 0, length = 0;

    for (size_t i = 0; !model->is_kernel && i < kernel->count; i++)
        if (kernel->pages[i].start < 128ul << 18)
            join(joined, &count, kernel->pages[i]);
    for (size_t i = 0; i < model->count; i++)
        join(joined, &count, model->pages[i]);
    for (size_t i = 0; !model->is_kernel && i < kernel->count; i++)
        if (kernel->pages[i].start >= 255ul << 18)
            join(joined, &count, kernel->pages[i]);
    for (size_t i = 0; i < count && length < sizeof wanted - 100; i++) {
        const struct pages *p = &joined[i];
        char flags[] = "rwxug";
        for (unsigned bit = 0; bit < 5; bit++)
            if ((p->flags >> (bit + 1) & 1) == 0)
                flags[bit] = '-';
        length += (size_t)sprintf(wanted + length,
                                  "  %#13lx .. %#13lx %8lu KiB  %s\n",
                                  p->start << 12, end_of(p) << 12,
                                  p->count * 4, flags);
    }
    if (length >= sizeof wanted - 100)
        return;
    printed_length = 0;
    printed[0] = '\0';
    page_table_print(table_of(model));
    if (strcmp(printed, length > 0 ? wanted : "") != 0)
        FAIL("printed:\n%swant:\n%s", printed, wanted);
}
