// Regions against an array of pages: random additions and removals, also
// senseless ones, with memory and quota that are refused at every point.
//
//   region SEED OPERATIONS        each looked at afterwards
//   region SEED REGIONS depth     print the greatest height, for several orders
#include "kernel/ipc/object.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/region.h"
#include "kernel/task/quota.h"

#include "random.h"

#include <string.h>

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition))                                                   \
            FAIL("%s:%d: not so: %s", __FILE__, __LINE__, #condition);      \
    } while (0)

#define PAGES 80            // of the model
#define OBJECTS 3
#define PAGE(n) (base + (uint64_t)(n) * PAGE_SIZE)

/* A page of the model. Pages of one mapping of an object have its number, and
 * a page without an object has the number OWN. */
struct page {
    unsigned mapping;       // FREE, OWN or more
    unsigned object, flags;
    uint64_t offset;
};

enum { FREE, OWN };

static struct page model[PAGES + 1];
static struct regions regions;
static uint64_t base;       // the address of the model's first page
static struct object objects[OBJECTS];
static unsigned references[OBJECTS], mappings;
static size_t regions_out, charged;   // in use; bytes
static unsigned fail_in;    // 1: the next that asks is refused; 0: nobody
static bool locked;

/* What the code stands on. */

static bool refused(void)
{
    return fail_in != 0 && --fail_in == 0;
}

void *heap_alloc(struct pool *pool, size_t size)
{
    (void)pool;
    CHECK(locked && size == sizeof(struct region));
    if (refused())
        return NULL;
    regions_out++;
    return memset(malloc(size), 0xa5, size);
}

void heap_free(struct pool *pool, void *object, size_t size)
{
    (void)pool;
    CHECK(object != NULL && size == sizeof(struct region));
    regions_out--;
    free(object);
}

enum error quota_charge(struct quota *quota, size_t bytes)
{
    CHECK(quota == (void *)&charged);
    if (refused())
        return ERR_LIMIT;
    charged += bytes;
    return OK;
}

void quota_release(struct quota *quota, size_t bytes)
{
    CHECK(quota == (void *)&charged && bytes <= charged);
    charged -= bytes;
}

void object_get(struct object *object)
{
    CHECK(references[object - objects] > 0);
    references[object - objects]++;
}

void object_put(struct object *object)
{
    CHECK(!locked && references[object - objects] > 0);
    references[object - objects]--;
}

/* The tree. */

static unsigned count;

static uint64_t check_tree(const struct region *root,
                           const struct region *parent, uint64_t below)
{
    uint64_t gap = 0;
    unsigned height[2] = { 0, 0 };

    if (root == NULL)
        return below;
    CHECK(root->parent == parent);
    count++;
    below = check_tree(root->child[0], root, below);
    CHECK(root->start >= below && root->end > root->start);
    CHECK(root->hole == root->start - below);
    uint64_t last = check_tree(root->child[1], root, root->end);
    for (unsigned side = 0; side < 2; side++) {
        const struct region *child = root->child[side];
        if (child == NULL)
            continue;
        height[side] = child->height;
        gap = child->gap > gap ? child->gap : gap;
    }
    CHECK(height[0] <= height[1] + 1 && height[1] <= height[0] + 1);
    CHECK(root->height == 1 + (height[0] > height[1] ? height[0] : height[1]));
    CHECK(root->gap == (root->hole > gap ? root->hole : gap));
    return last;
}

/* The model. */

/* Do these pages belong to one region, of which b follows a? */
static bool one_region(const struct page *a, const struct page *b)
{
    return a->mapping == b->mapping && a->mapping != FREE &&
           a->flags == b->flags;
}

static unsigned end_of(unsigned page)
{
    while (page + 1 < PAGES && one_region(&model[page], &model[page + 1]))
        page++;
    return page + 1;
}

static void check_region(const struct region *region, unsigned page,
                         unsigned held[OBJECTS])
{
    const struct page *right = &model[page];

    CHECK(region != NULL && region->start == PAGE(page));
    CHECK(region->end == PAGE(end_of(page)));
    CHECK(region->flags == right->flags);
    CHECK((region->object == NULL) == (right->mapping == OWN));
    if (region->object == NULL)
        return;
    CHECK(region->object == &objects[right->object]);
    CHECK(region->offset == right->offset);
    held[right->object]++;
}

static void check_all(void)
{
    unsigned held[OBJECTS] = { 1, 1, 1 }, page = 0, right = 0;
    uint64_t address = base;

    count = 0;
    (void)check_tree(regions.root, NULL, 0);
    for (; page < PAGES; page = model[page].mapping ? end_of(page) : page + 1) {
        uint64_t inside = PAGE(page) + random_below(PAGE_SIZE);
        if (model[page].mapping == FREE) {
            CHECK(regions_find(&regions, inside) == NULL);
            continue;
        }
        struct region *region = regions_from(&regions, address);
        check_region(region, page, held);
        CHECK(regions_find(&regions, region->start) == region);
        CHECK(regions_find(&regions, region->end - 1) == region);
        address = region->end;
        right++;
    }
    CHECK(regions_from(&regions, address) == NULL);
    CHECK(regions_from(&regions, 0) == regions_from(&regions, base));
    CHECK(count == right);
    CHECK(regions_out == count + (regions.spare != NULL));
    CHECK(charged == regions_out * sizeof(struct region));
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK(references[i] == held[i]);
}

static bool is_free(unsigned page, unsigned pages)
{
    for (unsigned i = 0; i < pages; i++)
        if (model[page + i].mapping != FREE)
            return false;
    return true;
}

static bool is_used(unsigned page, unsigned pages)
{
    for (unsigned i = 0; i < pages; i++)
        if (model[page + i].mapping == FREE)
            return false;
    return true;
}

/* Addresses for a range of pages, and how often nothing makes sense. */

static enum error spoil(uint64_t *start, uint64_t *end)
{
    switch (random_below(40)) {
    case 0: *start += 1 + random_below(PAGE_SIZE - 1); return ERR_ALIGN;
    case 1: *end -= 1 + random_below(PAGE_SIZE - 1); return ERR_ALIGN;
    case 2: *end = *start; return ERR_RANGE;
    case 3: *end = *start / 2 & -PAGE_SIZE; return ERR_RANGE;
    default: return OK;
    }
}

static void refuse_some(void)
{
    fail_in = random_below(3) == 0 ? 1 + random_below(2) : 0;
}

/* Was somebody refused, and was that the answer? */
static bool was_refused(enum error error, bool refusing)
{
    bool it_was = refusing && fail_in == 0;

    fail_in = 0;
    CHECK(it_was == (error == ERR_MEMORY || error == ERR_LIMIT));
    return it_was;
}

static enum error right_answer_to_add(struct region *like, unsigned page,
                                      unsigned pages)
{
    enum error right = spoil(&like->start, &like->end);

    if (right == OK && random_below(40) == 0) {
        like->offset += 1 + random_below(PAGE_SIZE - 1);
        return ERR_ALIGN;
    }
    return right == OK && !is_free(page, pages) ? ERR_EXISTS : right;
}

static void enter_in_model(const struct region *like, unsigned page,
                           unsigned pages)
{
    unsigned mapping = like->object != NULL ? OWN + 1 + mappings++ : OWN;

    for (unsigned i = 0; i < pages; i++)
        model[page + i] = (struct page){
            .mapping = mapping, .flags = like->flags,
            .object = like->object ? (unsigned)(like->object - objects) : 0,
            .offset = like->offset + i * PAGE_SIZE,
        };
}

static void add(unsigned page, unsigned pages)
{
    static const unsigned flags[] = { PTE_R, PTE_R | PTE_W, PTE_R | PTE_X };
    unsigned object = random_below(2 * OBJECTS);
    struct region like;

    memset(&like, 0xa5, sizeof like);
    like.start = PAGE(page);
    like.end = PAGE(page + pages);
    like.flags = flags[random_below(16) % 3 % (1 + random_below(3))];
    like.object = object < OBJECTS ? &objects[object] : NULL;
    like.offset = random_below(100) * PAGE_SIZE;
    enum error right = right_answer_to_add(&like, page, pages);
    refuse_some();
    bool refusing = fail_in != 0;
    locked = true;
    if (random_below(4) == 0) {
        enum error error = regions_reserve(&regions);
        CHECK((error == OK) == (regions.spare != NULL));
        if (was_refused(error, refusing))
            return;
        fail_in = 1;    // from now on it must not fail
        refusing = false;
    }
    enum error error = regions_add(&regions, &like);
    locked = false;
    if (was_refused(error, refusing) && right == OK)
        return;
    CHECK(error == right);
    if (error != OK)
        return;
    if (like.object != NULL)
        references[object]++;
    enter_in_model(&like, page, pages);
}

static void put_row(struct region *gone)
{
    locked = false;
    regions_put(&regions, gone);
}

/* A hole in the middle of something, for which one more region is needed. */
static bool in_the_middle(unsigned page, unsigned pages)
{
    return page > 0 && page + pages < PAGES &&
           one_region(&model[page - 1], &model[page]) &&
           end_of(page) > page + pages;
}

static void take_away(unsigned page, unsigned pages)
{
    uint64_t start = PAGE(page), end = PAGE(page + pages);
    struct region *gone = NULL;
    enum error right = spoil(&start, &end);

    if (right == OK && !is_used(page, pages))
        right = ERR_ABSENT;
    bool middle = right == OK && in_the_middle(page, pages);
    refuse_some();
    bool refusing = fail_in != 0;
    locked = true;
    enum error error = random_below(2) == 0 ? OK :
                       regions_can_remove(&regions, start, end);
    if (error == OK)
        error = regions_remove(&regions, start, end, &gone);
    locked = false;
    if (was_refused(error, refusing)) {
        CHECK(middle && gone == NULL);
        return;
    }
    CHECK(error == right);
    if (error == OK)
        memset(&model[page], 0, pages * sizeof model[0]);
    put_row(gone);
}

static void check_only(unsigned page, unsigned pages)
{
    uint64_t start = PAGE(page), end = PAGE(page + pages);
    enum error right = spoil(&start, &end);

    if (right == OK && !is_used(page, pages))
        right = ERR_ABSENT;
    CHECK(regions_can_remove(&regions, start, end) == right);
    if (right == OK && in_the_middle(page, pages))
        CHECK(regions.spare != NULL);
}

/* The lowest hole from some page on, before some other. */
static void look_for_hole(unsigned page, unsigned pages)
{
    unsigned high = random_below(PAGES + 1), at = page;
    uint64_t start = 1, low = PAGE(page), end = PAGE(high);
    uint64_t size = pages * PAGE_SIZE;

    while (at + pages <= high && !is_free(at, pages))
        at++;
    enum error right = at + pages <= high ? OK : ERR_MEMORY;
    switch (random_below(60)) {
    case 0: low += 1 + random_below(PAGE_SIZE - 1); right = ERR_ALIGN; break;
    case 1: end -= 1 + random_below(PAGE_SIZE - 1); right = ERR_ALIGN; break;
    case 2: size -= 1 + random_below(PAGE_SIZE - 1); right = ERR_ALIGN; break;
    case 3: size = 0; right = ERR_RANGE; break;
    case 4: size = -(random_below(200) + 1) * PAGE_SIZE; right = ERR_MEMORY;
    }
    CHECK(regions_gap(&regions, size, low, end, &start) == right);
    CHECK(start == (right == OK ? PAGE(at) : 1));
}

/* The end of the address space: all goes, and it begins elsewhere. */
static void begin_anew(void)
{
    static const uint64_t bases[] = {
        0, USER_START, 193 * GIB, -(uint64_t)(PAGES + 1) * PAGE_SIZE,
    };
    struct region *gone = NULL;

    locked = true;
    regions_clear(&regions, &gone);
    locked = false;
    CHECK(regions.root == NULL && regions.spare == NULL);
    put_row(gone);
    memset(model, 0, sizeof model);
    check_all();
    base = bases[random_below(4)];
}

static void one_operation(void)
{
    static unsigned growth = 50, length = 8;
    unsigned pages = 1 + random_below(length);
    unsigned page = random_below(PAGES - pages + 1);

    if (random_below(300) == 0) {
        growth = 20 + random_below(61);
        length = 1 + random_below(20);
    }
    if (random_below(3000) == 0)
        begin_anew();
    if (random_below(8) == 0)
        look_for_hole(page, pages);
    locked = true;
    if (random_below(16) == 0)
        check_only(page, pages);
    locked = false;
    if (random_below(100) < growth)
        add(page, pages);
    else
        take_away(page, pages);
    check_all();
}

/* How deep the tree gets. */

static unsigned greatest;

static void add_single(uint64_t number)
{
    struct region like = {
        .start = number * 2 * PAGE_SIZE, .end = (number * 2 + 1) * PAGE_SIZE,
    };

    CHECK(regions_add(&regions, &like) == OK);
    if (regions.root->height > greatest)
        greatest = regions.root->height;
}

static uint64_t number_of(unsigned order, uint64_t i, uint64_t all)
{
    switch (order) {
    case 0: return i;
    case 1: return all - i;
    case 2: return i % 2 == 0 ? i : 2 * all - i;
    case 3: return i * 7919 % all;
    default: return i % 100 * all + i / 100;
    }
}

/* A part goes again, and what is left must be a tree; a hole is found again
 * where one was made. */
static void thin_out(unsigned order, uint64_t all)
{
    struct region *gone = NULL;
    uint64_t start, hole;

    for (uint64_t i = 0; i < all; i++) {
        if (i % 8 == order)
            continue;
        start = number_of(order, i, all) * 2 * PAGE_SIZE;
        CHECK(regions_remove(&regions, start, start + PAGE_SIZE, &gone) == OK);
        if (start == 0)
            continue;
        CHECK(regions_gap(&regions, 3 * PAGE_SIZE, start - PAGE_SIZE,
                          1ul << 60, &hole) == OK);
        CHECK(hole == start - PAGE_SIZE);
    }
    count = 0;
    (void)check_tree(regions.root, NULL, 0);
    regions_clear(&regions, &gone);
    CHECK(gone == NULL && regions_out == 0);
}

static void print_depths(uint64_t all)
{
    static const char *const names[] = {
        "upwards", "downwards", "from both ends", "scattered", "in rows",
    };

    locked = true;
    for (unsigned order = 0; order < 5; order++) {
        greatest = 0;
        for (uint64_t i = 0; i < all; i++)
            add_single(number_of(order, i, all));
        count = 0;
        (void)check_tree(regions.root, NULL, 0);
        CHECK(count == all);
        printf("%s: %u\n", names[order], greatest);
        thin_out(order, all);
    }
}

int main(int arguments_count, char **arguments)
{
    if (arguments_count < 3)
        return 2;
    regions.quota = (void *)&charged;
    for (unsigned i = 0; i < OBJECTS; i++)
        references[i] = 1;
    if (arguments_count == 4) {
        print_depths(strtoull(arguments[2], NULL, 10));
        return 0;
    }
    random_rounds(arguments, one_operation);
    begin_anew();
    return 0;
}
