// Random requests to page tables, and which errors they deserve.
#pragma once

#include "page_model.h"

#define GIB_PAGES (1ul << 18)


enum kind { MAP, UNMAP, PROTECT, KINDS };

struct request {
    enum kind kind;
    uint64_t va, pa, size;
    pte_t flags;
};

static bool kernel_alone;   // it may then be mapped anywhere

/* All errors that a request deserves; one bit each. */
static unsigned errors_of(const struct model *model,
                          const struct request *r)
{
    const uint64_t first = model->is_kernel ? 0 : 128ul << 30;
    const uint64_t end = model->is_kernel ? 256ul << 30 : 255ul << 30;
    const uint64_t top = 1ul << 56;
    const pte_t kind = r->flags & 0xe;
    unsigned errors = 0;

    if ((r->va | r->size | (r->kind == MAP ? r->pa : 0)) % PAGE_SIZE != 0)
        errors |= 1u << ERR_ALIGN;
    if (r->size == 0 || r->va < first || r->va >= end ||
        r->size > end - r->va ||
        (r->kind == MAP && (r->pa > top || r->size > top - r->pa)))
        errors |= 1u << ERR_RANGE;
    if (r->kind != UNMAP &&
        ((r->flags & ~(model->is_kernel ? 0x3eul : 0x1eul)) != 0 ||
         (kind != 2 && kind != 6 && kind != 8 && kind != 10)))
        errors |= 1u << ERR_PERMISSION;
    if ((errors & (1u << ERR_ALIGN | 1u << ERR_RANGE)) != 0)
        return errors;
    uint64_t pages = r->size / PAGE_SIZE;
    uint64_t mapped = model_mapped(model, r->va / PAGE_SIZE, pages);
    if (r->kind == MAP && mapped != 0)
        errors |= 1u << ERR_EXISTS;
    if (r->kind != MAP && mapped != pages)
        errors |= 1u << ERR_ABSENT;
    return errors;
}

static pte_t random_flags(const struct model *model)
{
    static const pte_t kinds[] = { PTE_R, PTE_X, PTE_R | PTE_X,
                                   PTE_R | PTE_W };
    pte_t flags = kinds[random_below(4)];

    if (random_below(2) == 0)
        flags |= PTE_U;
    if (random_below(model->is_kernel ? 2 : 40) == 0)
        flags |= PTE_G;     // which is refused where it is not the kernel's
    if (random_below(20) == 0)
        flags = random_below(2) == 0 ? random_below(32) << 1
                                     : random_number();
    return flags;
}

/* A page near the places where entries of the larger tables begin. */
static uint64_t random_page(const struct model *model)
{
    static const unsigned user[] = { 128, 129, 131, 253, 254 },
                          alone[] = { 0, 1, 2, 127, 128, 254, 255 },
                          shared[] = { 0, 2, 255 };
    uint64_t gib = !model->is_kernel ? user[random_below(5)] :
                   kernel_alone ? alone[random_below(7)]
                                : shared[random_below(3)];
    uint64_t block = random_below(3) == 0 ? random_below(512)
                                          : random_below(3) * 255;
    uint64_t page = random_below(2) == 0 ? 0 : random_below(512);

    if (random_below(4) == 0)
        return (gib + 1) * GIB_PAGES - 1 - random_below(3);
    return gib * GIB_PAGES + block * 512 + page;
}

static uint64_t random_count(void)
{
    switch (random_below(8)) {
    case 0: return 512;
    case 1: return 512 * (1 + random_below(8)) + random_below(5) - 2;
    case 2: return GIB_PAGES * (1 + random_below(3));
    case 3: return random_below(16) == 0 ? GIB_PAGES * random_below(128)
                                         : 1 + random_below(2000);
    default: return 1 + random_below(20);
    }
}

/* All or a part of what is mapped, or a little more than that. */
static void aim_at_mapped(const struct model *model, uint64_t *start,
                          uint64_t *count)
{
    const struct pages *p =
        &model->pages[random_below((unsigned)model->count)];

    *start = p->start;
    *count = p->count;
    switch (random_below(6)) {
    case 0: break;
    case 1: *count += random_below(3) - 1ul; break;
    case 2: *start += random_word() % p->count, *count = 1; break;
    case 3: *count = 1 + random_word() % p->count; break;
    default:
        *start += random_word() % p->count;
        if (random_below(2) == 0)
            *start = *start / 512 * 512;
        if (*start < p->start)
            *start = p->start;
        *count = 1 + random_word() % (end_of(p) - *start);
    }
}

/* The part of the address space around a page that the tree may change:
 * where others have a part of the kernel's, it may not change its root. */
static uint64_t end_of_ours(const struct model *model, uint64_t page)
{
    uint64_t gib = page / GIB_PAGES;

    if (!model->is_kernel)
        return gib >= 128 && gib < 255 ? 255 * GIB_PAGES : 0;
    if (kernel_alone)
        return PAGES;
    return gib == 0 || gib == 2 || gib == 255 ? (gib + 1) * GIB_PAGES : 0;
}

/* Is it about whole pages of the lower half, whatever they are? */
static bool is_sound(const struct model *model, const struct request *r)
{
    return (errors_of(model, r) &
            (1u << ERR_ALIGN | 1u << ERR_RANGE)) == 0;
}

/* The kernel may not change what others have a copy of. A request that would
 * is made one that is out of line. */
static void stay_inside(const struct model *model, struct request *r)
{
    uint64_t end = end_of_ours(model, r->va / PAGE_SIZE) * PAGE_SIZE;

    if (is_sound(model, r) && (r->va > end || r->size > end - r->va))
        r->va |= 1;
}

/* A frame for a page; the more their last bits agree, the larger leaves can
 * be. If they do not, the range must not be large. */
static uint64_t random_frame(uint64_t start, uint64_t *count)
{
    uint64_t frame = random_word() >> (20 + random_below(44)) >> 18 << 18;
    unsigned bits = random_below(4) * 9;

    if (*count > 8 * GIB_PAGES)
        bits = 27;
    frame |= start & (GIB_PAGES - 1);
    if (bits < 18)
        frame ^= random_word() % GIB_PAGES >> bits << bits;
    if (frame > (1ul << 44) - *count || random_below(40) == 0)
        frame = ((1ul << 44) - *count) >> bits << bits;
    return frame;
}

static void random_nonsense(struct request *r)
{
    uint64_t *fields[] = { &r->va, &r->pa, &r->size };
    uint64_t *field = fields[random_below(3)];
    const uint64_t borders[] = { 128ul << 30, 255ul << 30, 256ul << 30 };

    switch (random_below(5)) {
    case 0: *field += 1 + random_word() % (PAGE_SIZE - 1); break;
    case 1: r->size = random_below(2) * (PAGE_SIZE - r->va); break;
    case 2:
        r->va = borders[random_below(3)] + (3ul - random_below(6)) * PAGE_SIZE;
        r->size = (1 + random_below(4)) * PAGE_SIZE;
        break;
    case 3:
        r->pa = random_below(4) == 0 ? random_number() & ~(PAGE_SIZE - 1)
                                     : (1ul << 56) - random_below(4) * PAGE_SIZE;
        r->size = (1 + random_below(4)) * PAGE_SIZE;
        break;
    default:
        if (random_below(2) == 0)
            r->va = random_number();
        else
            r->size = random_number() & ~(PAGE_SIZE - 1);
    }
}

/* Millions of small leaves would take long and prove nothing more. */
static void keep_small(struct request *r)
{
    uint64_t apart = r->va ^ r->pa;

    if (r->kind == MAP && r->size > 1ul << 24 && apart % (1ul << 21) != 0)
        r->size &= (1ul << 24) - 1;
    if (r->kind == MAP && r->size > 1ul << 33 && apart % (1ul << 30) != 0)
        r->size &= (1ul << 33) - 1;
}

static struct request random_request(const struct model *model)
{
    enum kind kind = random_below(KINDS);
    uint64_t start = random_page(model), count = random_count(), frame;

    if (model->count > 0 && random_below(kind == MAP ? 4 : 8) != 0)
        aim_at_mapped(model, &start, &count);
    if (kind == MAP && random_below(2) == 0)
        start = random_page(model), count = random_count();
    if (start + count > end_of_ours(model, start) &&
        start < end_of_ours(model, start))
        count = end_of_ours(model, start) - start;
    frame = random_frame(start, &count);
    struct request r = { kind, start * PAGE_SIZE, frame * PAGE_SIZE,
                         count * PAGE_SIZE, random_flags(model) };
    if (random_below(16) == 0)
        random_nonsense(&r);
    stay_inside(model, &r);
    if (is_sound(model, &r))
        keep_small(&r);
    return r;
}
