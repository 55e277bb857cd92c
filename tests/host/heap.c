// The heap against a model that knows what each slab should hold: objects of
// all sizes, on several accounts, freed in any order, with frames that run out
// at any moment.
//
//   heap SEED OPERATIONS
#include "heap_world.h"

#define OBJECTS 4000
#define POOLS 5
#define LARGEST_SIZE 100000
#define NOISE (2 * LARGEST_SIZE)

/* An object in use; it is filled with the noise from `noise` on. */
struct model_object {
    char *address;
    size_t size;
    unsigned pool, noise;
};

/* A slab, by the number of its first frame. */
struct model_slab {
    unsigned used;
    bool is_one;
    uint8_t class;
};

struct model_class {
    size_t slabs, empty, used;
};

struct model_pool {
    size_t bytes, peak, objects;
    uint64_t allocations;
};

static struct pool accounts[POOLS] = {
    POOL("ZERO"), POOL("ONE "), POOL("TWO "), POOL("THRE"), POOL("FOUR"),
};
static struct model_pool model_pools[POOLS];
static struct model_class model_classes[CLASSES];
static struct model_slab model_slabs[FRAMES];
static struct model_object objects[OBJECTS];
static size_t object_count, frames_of_large;
static bool in_use[FRAMES * PAGE_SIZE / 16];    // an object begins here
static unsigned char noise[NOISE];
static unsigned failure;    // of the allocation that is to fail, or 0

/* What is being done at the moment, for some thousand operations. */
static struct {
    unsigned goal, sizes, usual, order, left;
} phase;

static void new_phase(void)
{
    static const unsigned goals[] = { 0, 1, 20, 300, 1500, OBJECTS };
    static const unsigned refusals[] = { 0, 0, 0, 30, 3, 1 };

    phase.goal = goals[random_below(6)];
    phase.sizes = random_below(6);
    phase.usual = 1 + random_below(2100);
    phase.order = random_below(4);
    phase.left = 200 + random_below(4000);
    refuse = refusals[random_below(6)];
}

static size_t random_size(void)
{
    switch (phase.sizes) {
    case 0: return phase.usual;
    case 1: return 1 + random_below(LARGEST_SIZE);
    case 2: return 1 + random_below(64);
    case 3: return class_sizes[random_below(CLASSES)] + 2 - random_below(20);
    case 4: return 1 + random_below(1u << random_below(17));
    default: return 1 + random_below(2100);
    }
}

static size_t reserved_frames(void)
{
    size_t frames = frames_of_large;

    for (size_t n = 0; n < CLASSES; n++)
        frames += model_classes[n].slabs * class_frames(n);
    return frames;
}

/* The accounts and the frames are what the model says. */
static void check_books(void)
{
    CHECK(!locked);
    CHECK(frames_held == reserved_frames());
    for (unsigned i = 0; i < POOLS; i++) {
        const struct model_pool *right = &model_pools[i];
        CHECK(accounts[i].bytes == right->bytes);
        CHECK(accounts[i].peak == right->peak);
        CHECK(accounts[i].objects == right->objects);
        CHECK(accounts[i].allocations == right->allocations);
    }
}

static size_t frame_number(const void *pointer)
{
    size_t offset = (uintptr_t)pointer - (uintptr_t)arena;

    CHECK(offset < FRAMES * PAGE_SIZE);
    return offset / PAGE_SIZE;
}

/* The slab that an object of class n is in; a new one if it may be. */
static struct model_slab *slab_at(size_t n, const char *object)
{
    size_t frames = class_frames(n);
    size_t first = frame_number(object) / frames * frames;
    size_t offset = (size_t)(object - arena) - first * PAGE_SIZE;
    struct model_slab *slab = &model_slabs[first];

    CHECK(offset >= HEADER && (offset - HEADER) % class_sizes[n] == 0);
    CHECK((offset - HEADER) / class_sizes[n] < class_capacity(n));
    CHECK(run_length[first] == frames);
    if (frames_asked > 0 && !slab->is_one) {
        *slab = (struct model_slab){ .is_one = true, .class = (uint8_t)n };
        model_classes[n].slabs++;
        model_classes[n].empty++;
    }
    CHECK(slab->is_one && slab->class == n);
    return slab;
}

static void add_to_slab(size_t n, const char *object)
{
    struct model_class *class = &model_classes[n];
    bool has_room = class->slabs * class_capacity(n) > class->used;

    CHECK((frames_asked > 0) == !has_room);
    struct model_slab *slab = slab_at(n, object);
    class->used++;
    if (slab->used++ == 0)
        class->empty--;
}

static void remove_from_slab(size_t n, const char *object)
{
    size_t frames = class_frames(n);
    struct model_class *class = &model_classes[n];

    class->used--;
    if (--model_slabs[frame_number(object) / frames * frames].used == 0)
        class->empty++;
    CHECK(runs_returned == (class->empty == 2));
    if (runs_returned == 0)
        return;
    struct model_slab *gone =
        &model_slabs[frame_number(paddr_pointer(last_returned))];
    CHECK(gone->is_one && gone->class == n && gone->used == 0);
    gone->is_one = false;
    class->slabs--;
    class->empty--;
}

/* An object was there for the asking: enter it into all books. */
static void enter(char *address, size_t size, unsigned pool)
{
    size_t n = class_of(size), taken = taken_by(size);
    struct model_pool *account = &model_pools[pool];

    CHECK((uintptr_t)address % 16 == 0);
    if (n == CLASSES) {
        CHECK(frames_asked > 0);
        CHECK(run_length[frame_number(address)] == taken / PAGE_SIZE);
        frames_of_large += taken / PAGE_SIZE;
    } else {
        add_to_slab(n, address);
    }
    CHECK(!in_use[(address - arena) / 16]);
    in_use[(address - arena) / 16] = true;
    account->objects++;
    account->allocations++;
    account->bytes += taken;
    if (account->peak < account->bytes)
        account->peak = account->bytes;
    unsigned from = random_below(LARGEST_SIZE);
    memcpy(address, noise + from, size);
    objects[object_count++] = (struct model_object){
        address, size, pool, from,
    };
}

static size_t reserves(void)
{
    size_t empty = 0;

    for (size_t n = 0; n < CLASSES; n++)
        empty += model_classes[n].empty;
    return empty;
}

/* Empty slabs must be gone; returns how many there were. */
static size_t forget_reserves(void)
{
    size_t gone = 0;

    if (reserves() == 0)
        return 0;
    for (size_t frame = 0; frame < FRAMES; frame++) {
        struct model_slab *slab = &model_slabs[frame];
        if (!slab->is_one || slab->used > 0)
            continue;
        slab->is_one = false;
        model_classes[slab->class].slabs--;
        model_classes[slab->class].empty--;
        gone++;
    }
    return gone;
}

/* When frames are refused, the reserves go, and frames are asked for once
 * more; nothing else may change. */
static char *allocate_somehow(unsigned pool, size_t size)
{
    unsigned attempts = reserves() > 0 ? 2 : 1;

    forget_calls();
    char *address = heap_alloc(&accounts[pool], size);
    if (frames_asked > 0)
        CHECK(frames_asked == frames_refused + (address != NULL));
    CHECK(frames_refused <= attempts);
    CHECK(address != NULL || frames_refused == attempts ||
          frames_asked == 0);
    CHECK(runs_returned == (frames_refused > 0 ? forget_reserves() : 0));
    return address;
}

static void allocate(void)
{
    size_t size = random_size();
    unsigned pool = random_below(POOLS);
    char *address = allocate_somehow(pool, size);
    bool on_purpose = failure != 0 && --failure == 0;

    CHECK(heap_failure_pending() == (failure != 0));
    CHECK((address == NULL) == (on_purpose || (frames_asked > 0 &&
                                frames_asked == frames_refused)));
    if (on_purpose)
        CHECK(frames_asked == 0);
    if (address != NULL)
        enter(address, size, pool);
}

/* Which object goes: any, the youngest, the oldest, or a neighbour. */
static size_t choose(void)
{
    static size_t last;

    switch (phase.order) {
    case 0: return object_count - 1;
    case 1: return 0;
    case 2: return last = (last + 1) % object_count;
    default: return random_below((unsigned)object_count);
    }
}

static void release(size_t i)
{
    struct model_object object = objects[i];
    size_t n = class_of(object.size), taken = taken_by(object.size);

    if (phase.order == 1)
        memmove(&objects[i], &objects[i + 1],
                (object_count - i - 1) * sizeof objects[0]);
    else
        objects[i] = objects[object_count - 1];
    object_count--;
    CHECK(memcmp(object.address, noise + object.noise, object.size) == 0);
    forget_calls();
    heap_free(&accounts[object.pool], object.address, object.size);
    CHECK(frames_asked == 0);
    in_use[(object.address - arena) / 16] = false;
    model_pools[object.pool].objects--;
    model_pools[object.pool].bytes -= taken;
    if (n < CLASSES) {
        remove_from_slab(n, object.address);
    } else {
        CHECK(runs_returned == 1);
        frames_of_large -= taken / PAGE_SIZE;
    }
}

static void trim(void)
{
    forget_calls();
    heap_trim();
    CHECK(runs_returned == forget_reserves() && frames_asked == 0);
}

/* Requests that can only be refused. */
static void ask_for_too_much(void)
{
    static const size_t sizes[] = {
        0, SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 16,
        SIZE_MAX - 4095, SIZE_MAX - 4096, SIZE_MAX - 4111, SIZE_MAX - 4112,
        SIZE_MAX / 2 + 2, SIZE_MAX / 2 + 1, SIZE_MAX / 2, SIZE_MAX / 4,
        FRAMES * PAGE_SIZE + 1,
    };
    unsigned was = failure;

    heap_fail_at(0);
    size_t n = random_below(sizeof sizes / sizeof sizes[0]);
    CHECK(allocate_somehow(random_below(POOLS), sizes[n]) == NULL);
    heap_free(&accounts[random_below(POOLS)], NULL, sizes[n]);
    heap_fail_at(was);
}

static bool shown[POOLS];

static void note_pool(const struct pool *pool)
{
    CHECK(locked);
    CHECK(pool >= accounts && pool < accounts + POOLS);
    CHECK(!shown[pool - accounts]);
    shown[pool - accounts] = true;
}

/* Each pool that was ever used is shown once, and no other. */
static void look_at_pools(void)
{
    memset(shown, false, sizeof shown);
    heap_each_pool(note_pool);
    for (unsigned i = 0; i < POOLS; i++)
        CHECK(shown[i] == (model_pools[i].allocations > 0));
}

static void operate(void)
{
    unsigned die = random_below(1000);

    if (phase.left-- == 0)
        new_phase();
    if (die == 0)
        trim();
    else if (die == 1)
        ask_for_too_much();
    else if (die == 2)
        look_at_pools();
    else if (die == 3 && DEBUG)
        heap_fail_at(failure = random_below(20));
    else if (object_count == 0 || (object_count < phase.goal && die < 700) ||
             (object_count < OBJECTS && die < 300))
        allocate();
    else
        release(choose());
    check_books();
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    poison_free_frames = true;
    make_world();
    random_state = 1;
    for (size_t i = 0; i < NOISE; i++)
        noise[i] = (unsigned char)random_below(256);
    random_rounds(arguments, operate);
    while (object_count > 0) {
        release(choose());
        check_books();
    }
    trim();
    CHECK(frames_held == 0);
    return 0;
}
