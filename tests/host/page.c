// Page tables against a naive model: random requests, senseless ones among
// them, on several trees, with frames that run out at every point; and a TLB
// that remembers whatever it may.
//
//   page SEED REQUESTS            random worlds, until there were so many
//   page SEED REQUESTS NAME       a case of its own, see the table at the end
#include "page_requests.h"

#define TREES 4             // the first is the kernel's
#define SAMPLES 8
/* What a processor has seen on its way to a page, and may still believe. */
struct sample {
    uint64_t page, entry[3];
    int depth;              // the last entry of these
};

static struct model models[TREES];
static struct sample samples[SAMPLES];
static const struct page_table *sampled;
static long left;           // requests

static bool is_table(uint64_t entry)
{
    return (entry & 0xf) == 1;
}

/* Walk down from the entry that is remembered at this depth. */
static void walk_on(struct sample *sample, int depth, uint64_t table)
{
    for (;; depth++) {
        unsigned index = sample->page >> 9 * (2 - depth) & 511;
        const uint64_t *entries = paddr_pointer(paddr(table));
        sample->entry[depth] = entries[index];
        sample->depth = depth;
        if (!is_table(entries[index]))
            return;
        table = entries[index] >> 10 << 12;
    }
}

/* The frame and the flags to which a sample leads, or 0. */
static uint64_t outcome(const struct sample *sample)
{
    uint64_t entry = sample->entry[sample->depth];
    uint64_t span = 1ul << 9 * (2 - sample->depth);

    return entry == 0 ? 0 : entry + (sample->page % span << 10);
}

/* A fence for one page is about leaves only (privileged specification,
 * 4.2.1); a table that is new in the way may remain unknown. */
static void look_again(struct sample *sample, bool everything)
{
    struct sample now = *sample;

    walk_on(&now, 0, sampled->root.value);
    if (everything || now.depth == sample->depth)
        *sample = now;
}

static void note_asm(const char *text, uint64_t va, uint64_t asid)
{
    bool all = strcmp(text, FENCE_ALL) == 0;
    bool tree = strcmp(text, FENCE_TREE) == 0;

    if (!all && !tree && strcmp(text, FENCE_PAGE) != 0)
        FAIL("assembly that this test does not know: %s", text);
    for (size_t i = 0; i < SAMPLES; i++) {
        struct sample *s = &samples[i];
        bool global = s->entry[s->depth] >> 5 & 1;
        if (all || (asid == sampled->asid && !global &&
                    (tree || va / PAGE_SIZE == s->page)))
            look_again(s, all || tree);
    }
}

/* The hardware has just looked at pages in and around the request. */
static void remember(const struct model *model, const struct request *r)
{
    sampled = model->is_kernel ? &kernel_table : &model->table;
    for (size_t i = 0; i < SAMPLES; i++) {
        uint64_t page = r->va / PAGE_SIZE, size = r->size / PAGE_SIZE;
        switch (i) {
        case 0: break;
        case 1: page += size - 1; break;
        case 2: page += size; break;
        case 3: page -= 1; break;
        default: page += random_word() % (size + 16);
        }
        samples[i].page = page % PAGES;
        walk_on(&samples[i], 0, sampled->root.value);
    }
}

static void expect_no_stale_entries(void)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        struct sample now = samples[i];
        walk_on(&now, 0, sampled->root.value);
        if (outcome(&now) != outcome(&samples[i]))
            FAIL("the TLB may have %#lx for page %#lx, and it is %#lx",
                 outcome(&samples[i]), now.page, outcome(&now));
    }
}

/* In the kernel's part all trees say what the kernel's does. */
static void check_find(struct model *model, uint64_t va)
{
    const struct page_table *table = table_of(model);
    bool ours = model->is_kernel ||
                (va >= 128ul << 30 && va < 255ul << 30);
    model = ours ? model : &models[0];
    const struct pages *right = model_find(model, va / PAGE_SIZE);
    struct page_entry e = { .size = 0 };
    bool found = page_find(table, vaddr(va), &e);

    if (va >= 256ul << 30)
        right = NULL;       // it has more bits than the tables know
    CHECK(found == (right != NULL));
    CHECK(e.size == 1ul << 12 || e.size == 1ul << 21 || e.size == 1ul << 30);
    uint64_t first = va / e.size * (e.size / PAGE_SIZE);
    if (!found) {
        CHECK(va >= 256ul << 30 || model_mapped(model, first, e.size / PAGE_SIZE) == 0);
        return;
    }
    CHECK(e.flags == right->flags);
    CHECK(e.address.value == (right->frame << 12) + va -
          (right->start << 12));
    CHECK(model_mapped(model, first, e.size / PAGE_SIZE) ==
          e.size / PAGE_SIZE);
}

static void check_frames(void)
{
    size_t tables = 0;

    for (size_t i = 0; i < TREES; i++)
        if (models[i].is_kernel || models[i].table.tables > 0)
            tables += table_of(&models[i])->tables;
    if (tables != frames_used)
        FAIL("%u frames are in use, and %zu are tables", frames_used,
             tables);
}

static enum error request(struct page_table *table, const struct request *r)
{
    switch (r->kind) {
    case MAP:
        return page_map(table, vaddr(r->va), paddr(r->pa), r->size,
                        r->flags);
    case UNMAP:
        return page_unmap(table, vaddr(r->va), r->size);
    default:
        return page_protect(table, vaddr(r->va), r->size, r->flags);
    }
}

static void model_follows(struct model *model, const struct request *r)
{
    struct pages pages = { r->va / PAGE_SIZE, r->size / PAGE_SIZE,
                           r->pa / PAGE_SIZE, r->flags };

    if (r->kind == MAP)
        model_insert(model, pages);
    else
        model_change(model, pages.start, pages.count,
                     r->kind == UNMAP ? 0 : r->flags);
}

/* Does a stretch begin or end before this page, or is nothing there? */
static bool is_border(const struct model *model, uint64_t page)
{
    const struct pages *p = model_find(model, page);

    return p == NULL || p->start == page;
}

/* The tables that a range needs in an empty tree between two pages: one for
 * each block of this size that it touches and that no leaf can be for. */
static size_t least_tables(const struct pages *range, uint64_t block,
                           uint64_t first, uint64_t end)
{
    size_t tables = 0;

    for (uint64_t at = first; at < end && block > 1; at += block) {
        bool whole = at >= range->start && at + block <= end_of(range) &&
                     (range->frame - range->start) % block == 0;
        if (!whole && at < end_of(range) && at + block > range->start)
            tables += 1 + least_tables(range, block / 512, at, at + block);
    }
    return tables;
}

/* How many tables a request that is granted may need. */
static void check_economy(const struct model *model,
                          const struct request *r, size_t tables_before)
{
    struct pages asked_for = { r->va / PAGE_SIZE, r->size / PAGE_SIZE,
                               r->pa / PAGE_SIZE, r->flags };

    if (r->kind != MAP) {
        unsigned inside = !is_border(model, asked_for.start) +
                          !is_border(model, end_of(&asked_for));
        CHECK(asked <= 2 * inside);
    } else if (tables_before == 1) {
        check_large(sampled->root.value, 2, 0, &asked_for);
        CHECK(asked == least_tables(&asked_for, GIB_PAGES, 0,
                                    512 * GIB_PAGES));
    }
}

/* One attempt. Returns false if it failed for want of a frame. */
static bool attempt(struct model *model, const struct request *r)
{
    struct page_table *table = table_of(model);
    unsigned errors = errors_of(model, r);
    size_t tables = table->tables;

    remember(model, r);
    asked = refused = 0;
    enum error error = request(table, r);
    expect_no_stale_entries();
    if (errors != 0 ? (errors >> error & 1) == 0
                    : error != (refused > 0 ? ERR_MEMORY : OK))
        FAIL("kind %d of %#lx at %#lx to %#lx, flags %#lx: %s, want one of"
             " %#x", r->kind, r->size, r->va, r->pa, r->flags,
             error_text(error), errors);
    if (errors != 0)
        CHECK(asked == 0);
    if (error == OK) {
        check_economy(model, r, tables);
        model_follows(model, r);
    }
    check_tree(model);
    check_frames();
    return error != ERR_MEMORY;
}

#include "page_worlds.h"
