// Mistakes of those who use the heap, each made in all ways that there are:
// every one must end in a panic that names the object.
//
//   heap_misuse NAME     a mistake of the table at the end
#include "heap_world.h"

#define LARGEST_SIZE 100000
#define WRONG_LINKS 12

static struct pool account = POOL("TEST"), other = POOL("OTHR");
static _Alignas(16384) char elsewhere[32 * PAGE_SIZE];

/* Does it panic? The heap is of no use then, before start_again(). */
static bool free_panics(struct pool *pool, void *object, size_t size)
{
    panic_wanted = true;
    if (setjmp(caught) != 0)
        return true;
    heap_free(pool, object, size);
    return panic_wanted = false;
}

static bool allocation_panics(size_t size)
{
    panic_wanted = true;
    if (setjmp(caught) != 0)
        return true;
    (void)heap_alloc(&account, size);
    return panic_wanted = false;
}

static void start_again(void)
{
    start_heap();
    account = (struct pool)POOL("TEST");
    other = (struct pool)POOL("OTHR");
}

/* Has the panic said exactly this? */
__attribute__((format(printf, 1, 2)))
static void check_said(const char *fmt, ...)
{
    char wanted[200];
    va_list arguments;

    va_start(arguments, fmt);
    vsnprintf(wanted, sizeof wanted, fmt, arguments);
    va_end(arguments);
    if (strcmp(panic_message, wanted) != 0)
        FAIL("said \"%s\", not \"%s\"", panic_message, wanted);
    start_again();
}

static void check_not_an_object(const void *object, size_t n)
{
    check_said("%p is not an object of %lu bytes", object, class_sizes[n]);
}

static void check_said_frames(const void *object, size_t size)
{
    check_said("frames %#lx (%lu of them) given back", (uintptr_t)object,
               taken_by(size) / PAGE_SIZE);
}

/* The most that may be asked of class n. */
static size_t most_of(size_t n)
{
    return class_sizes[n] - (DEBUG ? 16 : 0);
}

static char *get(size_t size)
{
    char *object = heap_alloc(&account, size);

    CHECK(object != NULL);
    return object;
}

/* Fill objects that are neighbours with what looks like a fence, so that it
 * is not the fence that finds out. */
static void get_fenced(char **all, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        all[i] = get(size);
        memset(all[i], FENCED, size);
    }
}

/* No byte that was asked for is a trap. */
static void every_byte_is_ones_own(void)
{
    for (size_t size = 1; size <= 5000; size++) {
        char *object = get(size), *another = get(size);
        memset(object, (int)size, size);
        memset(another, (int)size + 1, size);
        heap_free(&account, object, size);
        heap_free(&account, another, size);
    }
    CHECK(account.bytes == 0 && account.objects == 0);
}

static void overrun(size_t size, size_t offset, int value)
{
    char *object = get(size);

    memset(object, value, size);
    object[offset] = (char)value;
    CHECK(free_panics(&account, object, size));
    check_said("%p, of %lu bytes, was written behind its end", object, size);
}

static void a_byte_behind_the_end(void)
{
    for (size_t size = 1; size <= 3000; size++)
        overrun(size, size, (int)(size % 200));
    for (size_t size = 3001; size <= LARGEST_SIZE; size += 997)
        overrun(size, size, 0);
}

static void any_byte_behind_the_end(void)
{
    for (size_t n = 0; n < CLASSES; n++)
        for (size_t asked = most_of(n); asked > most_of(n) - 15; asked--)
            for (size_t i = asked; i < class_sizes[n]; i++)
                overrun(asked, i, 0);
    for (size_t i = 5000; i < 8192; i++)
        overrun(5000, i, 0);
}

/* The object that was written to comes back, or another of its slab. */
static void a_write_after_the_end(void)
{
    for (size_t n = 0; n < CLASSES; n++)
        for (size_t offset = 8; offset < class_sizes[n]; offset++) {
            char *stays = get(most_of(n)), *object = get(most_of(n));
            heap_free(&account, object, most_of(n));
            object[offset] ^= 1;
            size_t left = class_capacity(n);
            while (!allocation_panics(most_of(n)))
                CHECK(--left > 0);
            CHECK(stays != object);
            check_said("%p was written to after it had been freed", object);
        }
}

/* The first word of a free object leads to the next one. */
static void write_to_link(size_t n, unsigned kind)
{
    char *stays = get(most_of(n)), *object = get(most_of(n));
    size_t bytes = class_frames(n) * PAGE_SIZE, left = class_capacity(n);
    char *slab = object - (uintptr_t)object % bytes;
    char *const wrong[WRONG_LINKS] = {
        stays, (char *)1, elsewhere, slab, slab + HEADER - 16, object + 16,
        slab + bytes, slab - bytes + HEADER, slab + bytes + HEADER,
        slab + HEADER + class_sizes[n] * class_capacity(n),
        (char *)0xfdfdfdfdfdfdfdfd, (char *)0xdfdfdfdfdfdfdfdf,
    };

    heap_free(&account, object, most_of(n));
    memcpy(object, &wrong[kind], sizeof wrong[0]);
    while (!allocation_panics(most_of(n)))
        CHECK(--left > 0);
    start_again();
}

static void a_write_to_a_link(void)
{
    for (size_t n = 0; n < CLASSES; n++)
        for (unsigned kind = 0; kind < WRONG_LINKS; kind++)
            write_to_link(n, kind);
}

static void freed_twice_in_all_ways(size_t n, unsigned between)
{
    size_t size = most_of(n);
    char *stays = get(size), *object = get(size), *more[6];

    for (unsigned i = 0; i < between; i++)
        more[i] = get(size);
    heap_free(&account, object, size);
    for (unsigned i = 0; i < between; i++)
        heap_free(&account, more[i], size);
    CHECK(stays != object && free_panics(&account, object, size));
    check_said("%p is freed twice", object);
}

static void freed_twice(void)
{
    for (size_t n = 0; n < CLASSES; n++)
        for (unsigned between = 0; between <= 6; between++)
            freed_twice_in_all_ways(n, between);
    for (size_t size = 3000; size <= LARGEST_SIZE; size += 1000) {
        char *object = get(size);
        heap_free(&account, object, size);
        CHECK(free_panics(&account, object, size));
        check_said_frames(object, size);
    }
}

/* Somebody has written into it so that the fence is whole again. */
static void freed_twice_with_a_fence(void)
{
    for (size_t n = 0; n < CLASSES; n++) {
        char *all[4];
        get_fenced(all, 4, most_of(n));
        for (unsigned i = 0; i < 3; i++)
            heap_free(&account, all[i], most_of(n));
        memset(all[0] + 8, FENCED, class_sizes[n] - 8);
        CHECK(free_panics(&account, all[0], most_of(n)));
        check_said("%p is freed twice", all[0]);
    }
}

/* In a slab with nothing in use, release builds notice it as well. */
static void freed_twice_and_the_slab_is_empty(void)
{
    for (size_t n = 0; n < CLASSES; n++) {
        char *object = get(most_of(n));
        heap_free(&account, object, most_of(n));
        memset(object + 8, FENCED, class_sizes[n] - 8);
        CHECK(free_panics(&account, object, most_of(n)));
        check_not_an_object(object, n);
    }
}

static void freed_after_its_slab(void)
{
    for (size_t n = 0; n < CLASSES; n++) {
        char *object = get(most_of(n));
        heap_free(&account, object, most_of(n));
        heap_trim();
        CHECK(frames_held == 0);
        memset(object, FENCED, class_sizes[n]);
        CHECK(free_panics(&account, object, most_of(n)));
        check_not_an_object(object, n);
    }
}

/* Free with a size of another class, or another number of frames. */
static void size_of_another_class(void)
{
    static const size_t large[] = { 5000, 10000, 20000, LARGEST_SIZE };

    for (size_t a = 0; a < CLASSES + 4; a++)
        for (size_t b = 0; b < CLASSES + 4; b++) {
            size_t right = a < CLASSES ? most_of(a) : large[a - CLASSES];
            size_t wrong = b < CLASSES ? most_of(b) : large[b - CLASSES];
            char *all[4];
            if (a == b)
                continue;
            get_fenced(all, 4, right);
            CHECK(free_panics(&account, all[1], wrong));
            if (b < CLASSES)
                check_not_an_object(all[1], b);
            else
                check_said_frames(all[1], wrong);
        }
}

/* An account that has less than is given back, in bytes or in objects. */
static void account_of_somebody_else(void)
{
    for (size_t size = 1; size <= LARGEST_SIZE; size += 1 + size / 8) {
        char *object = get(size);
        CHECK(free_panics(&other, object, size));
        check_said("pool OTHR gets back more than it gave");
        object = get(size);
        CHECK(heap_alloc(&other, 1) != NULL);
        if (taken_by(size) == taken_by(1)) {
            heap_free(&other, object, size);
            CHECK(account.objects == 1 && other.objects == 0);
            start_again();
            continue;
        }
        CHECK(free_panics(&other, object, size));
        check_said("pool OTHR gets back more than it gave");
    }
}

static void middle_of_an_object(void)
{
    for (size_t n = 0; n < CLASSES; n++)
        for (size_t offset = 1; offset < class_sizes[n]; offset++) {
            char *all[4];
            get_fenced(all, 4, most_of(n));
            CHECK(free_panics(&account, all[1] + offset, most_of(n)));
            check_not_an_object(all[1] + offset, n);
        }
    for (size_t offset = 1; offset < 5 * PAGE_SIZE; offset += 7) {
        char *object = get(5 * PAGE_SIZE);
        memset(object, FENCED, 5 * PAGE_SIZE);
        CHECK(free_panics(&account, object + offset, 5000));
        check_said_frames(object + offset, 5000);
    }
}

static void header_of_a_slab(void)
{
    for (size_t n = 0; n < CLASSES; n++)
        for (size_t offset = 0; offset < HEADER; offset++) {
            size_t bytes = class_frames(n) * PAGE_SIZE, size = most_of(n);
            char *object = get(size);
            char *slab = object - (uintptr_t)object % bytes;
            memset(object, FENCED, size);
            CHECK(free_panics(&account, slab + offset, size));
            check_not_an_object(slab + offset, n);
        }
}

/* What is left at the end of a slab has no room for an object. */
static void behind_the_last_object(void)
{
    for (size_t n = 0; n < CLASSES; n++) {
        size_t bytes = class_frames(n) * PAGE_SIZE;
        char *object = get(most_of(n));
        char *slab = object - (uintptr_t)object % bytes;
        char *end = slab + HEADER + class_capacity(n) * class_sizes[n];
        CHECK(end < slab + bytes && end + class_sizes[n] > slab + bytes);
        memset(end, FENCED, class_sizes[n]);
        CHECK(free_panics(&account, end, most_of(n)));
        check_not_an_object(end, n);
    }
}

/* The kernel's own data: nothing there, something, or an old header. */
static void memory_that_was_never_the_heaps(void)
{
    char *page = elsewhere + 16 * PAGE_SIZE;

    for (unsigned look = 0; look < 4; look++)
        for (size_t n = 0; n < CLASSES; n++)
            for (size_t i = 0; i < class_capacity(n); i++) {
                char *object = page + HEADER + i * class_sizes[n];
                memset(elsewhere, look == 0 ? 0 : look == 1 ? FENCED : 0xa5,
                       sizeof elsewhere);
                if (look >= 2) {
                    *(struct slab *)page = (struct slab){
                        .cache = &caches[n], .used = look == 2,
                        .magic = SLAB_MAGIC ^ (look == 2),
                    };
                    memset(page + HEADER, FENCED, 16336);
                }
                CHECK(free_panics(&account, object, most_of(n)));
                check_not_an_object(object, n);
            }
    for (size_t frames = 1; frames <= 16; frames++) {
        memset(elsewhere, FENCED, sizeof elsewhere);
        CHECK(free_panics(&account, elsewhere, frames * PAGE_SIZE - 16));
        check_said_frames(elsewhere, frames * PAGE_SIZE - 16);
    }
}

/* Frames that somebody has, but not from the heap. */
static void frames_of_somebody_else(void)
{
    for (size_t n = 0; n < CLASSES; n++) {
        paddr_t run;
        CHECK(frame_alloc(4, 0, &run) == OK);
        char *object = paddr_pointer(run);
        memset(object, FENCED, 4 * PAGE_SIZE);
        CHECK(free_panics(&account, object + HEADER, most_of(n)));
        check_not_an_object(object + HEADER, n);
    }
}

/* The n-th allocation fails, and no other; frees do not count. */
static void the_nth_allocation(void)
{
    for (unsigned n = 0; n <= 60; n++) {
        char *object[50];
        heap_fail_at(n);
        for (unsigned i = 1; i <= 50; i++) {
            CHECK(heap_failure_pending() == (n != 0 && (!DEBUG || i <= n)));
            size_t bytes = account.bytes, frames = frames_held;
            object[i - 1] = heap_alloc(&account, i * i * 4);
            CHECK((object[i - 1] == NULL) == (DEBUG && i == n));
            if (object[i - 1] == NULL)
                CHECK(account.bytes == bytes && frames_held == frames);
            if (i % 3 == 0) {
                heap_free(&account, object[i - 2], (i - 1) * (i - 1) * 4);
                object[i - 2] = NULL;
            }
        }
        CHECK(account.allocations == 50ul - (DEBUG && n > 0 && n <= 50));
        heap_fail_at(0);
        CHECK(!heap_failure_pending());
        for (unsigned i = 1; i <= 50; i++)
            heap_free(&account, object[i - 1], i * i * 4);
        CHECK(account.bytes == 0);
        start_again();
    }
}

static const struct {
    const char *name;
    void (*make)(void);
} mistakes[] = {
    { "none", every_byte_is_ones_own },
    { "a byte behind the end", a_byte_behind_the_end },
    { "any byte behind the end", any_byte_behind_the_end },
    { "a write after the end", a_write_after_the_end },
    { "a write to a link", a_write_to_a_link },
    { "freed twice", freed_twice },
    { "freed twice, with a fence", freed_twice_with_a_fence },
    { "freed twice, in an empty slab", freed_twice_and_the_slab_is_empty },
    { "freed after its slab", freed_after_its_slab },
    { "a size of another class", size_of_another_class },
    { "an account of somebody else", account_of_somebody_else },
    { "the middle of an object", middle_of_an_object },
    { "the header of a slab", header_of_a_slab },
    { "behind the last object", behind_the_last_object },
    { "never the heap's", memory_that_was_never_the_heaps },
    { "frames of somebody else", frames_of_somebody_else },
    { "the n-th allocation", the_nth_allocation },
};

int main(int count, char **arguments)
{
    random_state = 1;
    make_world();
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++)
        if (count == 2 && strcmp(mistakes[i].name, arguments[1]) == 0) {
            mistakes[i].make();
            return 0;
        }
    return 2;
}
