// The allocator of frames against a naive model: on machines with memory in
// all sorts of places, random operations, mistakes of callers among them.
//
//   frame SEED OPERATIONS         random machines, until there were so many
//   frame SEED OPERATIONS NAME    with something peculiar, named at the end
#include "frame_model.h"

#define STALE 64
#define BYTES_FILLED (1ul << 16)    // of a longer run, at each end
#define SAMPLES 8                   // frames of a run that are looked at

static jmp_buf caught;
static bool panics_wanted, locked;
static char panic_message[200];
static struct model_run stale[STALE];
static struct model_run *intruder;  // what another hart frees meanwhile
static unsigned intruder_waits;     // until the lock is taken so many times
static long left;                   // operations

void panic_at(const char *file, int line, const char *fmt, ...)
{
    va_list arguments;

    va_start(arguments, fmt);
    vsnprintf(panic_message, sizeof panic_message, fmt, arguments);
    va_end(arguments);
    if (!panics_wanted)
        FAIL("%s:%d: panic: %s", file, line, panic_message);
    longjmp(caught, 1);
}

void spin_lock(struct spinlock *taken_lock)
{
    CHECK(taken_lock == &lock && !locked);
    if (intruder != NULL && --intruder_waits == 0) {
        struct model_run run = *intruder;
        intruder = NULL;
        frame_free(paddr(run.start * PAGE_SIZE), run.count);
    }
    locked = true;
}

void spin_unlock(struct spinlock *released)
{
    CHECK(released == &lock && locked);
    locked = false;
}

/* Filling a whole GiB would take long and prove nothing more. */
void *rv_memset(void *to, int byte, size_t n)
{
    CHECK(n == 0 || (char *)paddr_pointer(pointer_paddr(to)) + n - 1 ==
          (char *)paddr_pointer(paddr(pointer_paddr(to).value + n - 1)));
    size_t some = n < BYTES_FILLED ? n : BYTES_FILLED;
    memset(to, byte, some);
    memset((char *)to + n - some, byte, some);
    return to;
}

/* The i-th of the frames of a run that are looked at: all, or its ends. */
static uint64_t *sample(const struct model_run *run, size_t i)
{
    size_t n = i < SAMPLES ? i : run->count - 1 - (i - SAMPLES);

    return paddr_pointer(paddr((run->start + n) * PAGE_SIZE));
}

static size_t samples(const struct model_run *run)
{
    return run->count < 2 * SAMPLES ? run->count : 2 * SAMPLES;
}

/* Words of a frame that its owner uses: the ends and one between. */
static const size_t WORDS[] = { 0, 1, 211, 511 };

static void owner_writes(const struct model_run *run)
{
    for (size_t i = 0; i < samples(run); i++)
        for (size_t w = 0; w < 4; w++)
            sample(run, i)[WORDS[w]] = run->secret * (i + 1) + w;
}

static void owner_reads(const struct model_run *run)
{
    for (size_t i = 0; i < samples(run); i++)
        for (size_t w = 0; w < 4; w++)
            if (sample(run, i)[WORDS[w]] != run->secret * (i + 1) + w)
                FAIL("frame %#lx + %zu in use has lost what it contained",
                     run->start, i);
}

static void expect_zeros(const struct model_run *run)
{
    static const char zeros[PAGE_SIZE];

    for (size_t i = 0; i < samples(run); i++)
        if (memcmp(sample(run, i), zeros, PAGE_SIZE) != 0)
            FAIL("a frame at %#lx is not zero", run->start);
}

static void expect_stats(void)
{
    struct frame_stats stats;

    frame_stats(&stats);
    CHECK(!locked);
    model.blocks = model_blocks();
    if (memcmp(&stats, &model, sizeof stats) != 0)
        FAIL("%zu of %zu frames free in %zu blocks, want %zu of %zu in %zu",
             stats.free, stats.total, stats.blocks, model.free, model.total,
             model.blocks);
}

static unsigned rounded_up(size_t count)
{
    unsigned order = 0;

    while (order < ORDERS && 1ul << order < count)
        order++;
    return order;
}

static size_t random_count(void)
{
    switch (random_below(16)) {
    case 0: return (1ul << random_below(19)) + random_below(3) - 1;
    case 1: return random_below(1u << random_below(19)) + 1;
    case 2: case 3: return 1 + random_below(600);
    case 4: case 5: case 6: return 1 + random_below(16);
    default: return 1;
    }
}

/* Allocate, and compare with what the model says of such runs. */
static bool allocate(size_t count, unsigned flags)
{
    unsigned order = rounded_up(count);
    paddr_t at = paddr(54321);
    enum error error = frame_alloc(count, flags, &at), right = OK;

    CHECK(!locked);
    if (count == 0 || count > MOST)
        right = ERR_RANGE;
    else if (full[order] == 0)
        right = ERR_MEMORY;
    if (error != right)
        FAIL("%zu frames: %s, want: %s", count, error_text(error),
             error_text(right));
    if (error != OK) {
        CHECK(at.value == 54321);
        return false;
    }
    struct model_run run = { at.value / PAGE_SIZE, count, random_word() };
    CHECK(run.start != 0 && at.value % (PAGE_SIZE << order) == 0);
    CHECK(model_is_free(run.start, count));
    if (flags & FRAME_ZERO)
        expect_zeros(&run);
    owner_writes(&run);
    model_give(model_zone_of(run.start),
               (struct frames){ run.start, run.start + count },
               (uint32_t)live_count + 1);
    live[live_count++] = run;
    return true;
}

/* The run has been freed: the model learns of it. */
static void forget_run(size_t index)
{
    struct model_run run = live[index];
    struct model_zone *zone = model_zone_of(run.start);

    model_give(zone, (struct frames){ run.start, run.start + run.count },
               NOBODY);
    live[index] = live[--live_count];
    if (index < live_count)
        for (size_t n = 0; n < live[index].count; n++) {
            struct model_zone *other = model_zone_of(live[index].start);
            other->owner[live[index].start - other->frames.start + n] =
                (uint32_t)index + 1;
        }
    stale[random_below(STALE)] = run;
}

/* In debug builds nothing remains of the first frame but the links of the
 * list. */
static void expect_pattern(const struct model_run *run)
{
    for (size_t n = 16; DEBUG && n < PAGE_SIZE; n++)
        CHECK(((unsigned char *)sample(run, 0))[n] == 0xdf);
}

static void give_back(size_t index)
{
    struct model_run run = live[index];

    owner_reads(&run);
    CHECK(frame_check(paddr(run.start * PAGE_SIZE), run.count) == OK);
    frame_free(paddr(run.start * PAGE_SIZE), run.count);
    CHECK(!locked);
    if (random_below(8) == 0)
        expect_pattern(&run);
    forget_run(index);
}

/* The frames of a run's first piece, the largest power of two in it. */
static size_t first_piece(size_t count)
{
    while ((count & (count - 1)) != 0)
        count &= count - 1;
    return count;
}

/* The length of the run that begins where this one ends, or 0. */
static size_t count_behind(const struct model_run *run)
{
    const struct model_run *next = model_run_at(run->start + run->count);

    return next == NULL ? 0 : next->count;
}

/* A run that its caller might think it owns. */
static void random_claim(paddr_t *at, size_t *count)
{
    const struct model_run *run = &stale[random_below(STALE)];
    uint64_t start = run->start;
    const struct range *range = &memory[random_below((unsigned)memories)];

    if (live_count > 0 && random_below(4) != 0)
        run = &live[random_below((unsigned)live_count)];
    start = run->start;
    *count = run->count;
    switch (random_below(14)) {
    case 0: *count += random_below(5) - 2ul; break;
    case 1: start += random_below(5) - 2ul; break;
    case 2: start += *count / 2, *count -= *count / 2; break;
    case 3: *count = 1ul << random_below(rounded_up(*count) + 1); break;
    case 4: *count = random_number(); break;
    case 5: start = random_word() % TOP; break;
    case 6: start = range->start / PAGE_SIZE + random_below(4); break;
    case 7:
        start = range->start / PAGE_SIZE +
                random_word() % (range->size / PAGE_SIZE + 1);
        *count = random_count();
        break;
    case 8: *count += random_below(64); break;
    case 9: start += first_piece(*count), *count -= first_piece(*count); break;
    case 10: *count &= *count - 1; break;       // without its last piece
    case 11: *count += count_behind(run); break;
    }
    *at = paddr(start * PAGE_SIZE);
    if (random_below(8) == 0)
        at->value += random_word() % PAGE_SIZE;
}

static bool free_panics(paddr_t at, size_t count)
{
    panics_wanted = true;
    if (setjmp(caught) != 0) {
        panics_wanted = false;
        return true;
    }
    frame_free(at, count);
    panics_wanted = false;
    return false;
}

/* Has the panic named the frames and the error? */
static void check_said(paddr_t at, size_t count, enum error error)
{
    char wanted[200];

    snprintf(wanted, sizeof wanted, "frames %#lx (%lu of them) given back: %s",
             at.value, count, error_text(error));
    if (locked || strcmp(panic_message, wanted) != 0)
        FAIL("said \"%s\", want \"%s\"", panic_message, wanted);
}

/* Ask about a run; if it is none, freeing it is a panic that changes
 * nothing. */
static void claim(paddr_t at, size_t count)
{
    enum error error = frame_check(at, count);

    CHECK(!locked);
    if (!model_allows(at, count, error))
        FAIL("frame_check of %zu at %#lx: %s", count, at.value,
             error_text(error));
    if (error == OK || random_below(2) == 0)
        return;
    if (!free_panics(at, count))
        FAIL("%zu frames at %#lx were given back: %s", count, at.value,
             error_text(error));
    check_said(at, count, error);
    expect_stats();
}

static void operate(void)
{
    paddr_t at;
    size_t count = random_count();
    unsigned zero = random_below(count > 4096 ? 256 : 3) == 0;

    if (random_below(1000) == 0)
        count = random_below(2) == 0 ? 0 : MOST + 1 + random_number() / 2;
    switch (random_below(5)) {
    case 0: case 1:
        if (live_count < LIVE_MAX)
            allocate(count, zero ? FRAME_ZERO : 0);
        break;
    case 2: case 3:
        if (live_count > 0)
            give_back(random_below((unsigned)live_count));
        break;
    default:
        random_claim(&at, &count);
        claim(at, count);
    }
    if (random_below(16) == 0)
        expect_stats();
    left--;
}

/* Whoever looks at free memory finds all of it in the lists, once. */
static void check_lists(void)
{
    size_t blocks = 0, frames = 0;

    for (unsigned k = 0; k < ORDERS; k++) {
        CHECK(list_empty(&free_blocks[k]) == !(orders_free >> k & 1));
        for (struct list *link = free_blocks[k].next;
             link != &free_blocks[k]; link = link->next) {
            uint64_t start = pointer_paddr(link).value / PAGE_SIZE;
            CHECK(start % (1ul << k) == 0 && link->next->previous == link);
            CHECK(model_is_free(start, 1ul << k));
            frames += 1ul << k;
            blocks++;
        }
    }
    CHECK(frames == model.free && blocks == model_blocks());
}

/* Memory is full of junk where the allocator is going to put its tables. */
static void fill_with_junk(void)
{
    for (size_t i = 0; i < memories; i++) {
        struct frames all = inside(memory[i]);
        for (struct frames gap = model_gap(all, all.start);
             gap.start < gap.end; gap = model_gap(all, gap.end)) {
            uint64_t n = gap.end - gap.start;
            memset(paddr_pointer(paddr(gap.start * PAGE_SIZE)),
                   random_below(3) == 0 ? FREE | random_below(2)
                                        : USED | random_below(3),
                   (n < 8 ? n : 8) * PAGE_SIZE);
        }
    }
}

static void start_machine(bool junk)
{
    zone_count = orders_free = 0;
    counts = (struct frame_stats){ 0, 0, 0 };
    memset(zones, 0, sizeof zones);
    memset(stale, 0, sizeof stale);
    close_windows();
    open_windows();
    poison_taken(true);
    if (junk)
        fill_with_junk();
    enum error error = frame_init(memory, memories, taken, takens);
    model_init();
    CHECK(error == (model.free > 0 ? OK : ERR_MEMORY));
    expect_stats();
    check_lists();
}

/* Give everything back: memory is as it was. */
static void end_machine(void)
{
    while (live_count > 0)
        give_back(random_below((unsigned)live_count));
    expect_stats();
    CHECK(model.free == model.total);
    check_lists();
    poison_taken(false);
}

/* All of memory can be had, and then nothing. */
static void take_everything(void)
{
    for (size_t count = MOST; count > 0; count /= 2)
        while (live_count < LIVE_MAX && allocate(count, 0))
            ;
    CHECK(live_count == LIVE_MAX || model.free == 0);
    expect_stats();
}

static void random_machine(bool large)
{
    if (large || random_below(4) == 0) {
        usual_machine(large);
    } else {
        random_memories();
        random_takens();
    }
    start_machine(!large);
    if (large)
        CHECK(pages_touched() < 200);
    for (long n = large ? 10000 : random_below(2000); n > 0; n--)
        operate();
    if (random_below(2) == 0)
        take_everything();
    end_machine();
}

static void one_zone(void)
{
    memory[0] = (struct range){ 0x80000000, 0x1000000 };
    memories = 1;
    takens = 0;
}

/* Another hart frees the run before we get the lock, be it for the first
 * time or for another: it is we who hear of it. */
static void freed_meanwhile(void)
{
    for (unsigned locks = 1; intruder == NULL; locks++) {
        one_zone();
        start_machine(true);
        allocate(6, 0);
        paddr_t at = paddr(live[0].start * PAGE_SIZE);
        intruder = &live[0];
        intruder_waits = locks;
        if (free_panics(at, 6))
            check_said(at, 6, ERR_OWNER);
        else if (intruder == NULL)
            FAIL("a run was freed by two");
    }
}

static int run(const char *what)
{
    peculiar.empty = strcmp(what, "empty") == 0;
    peculiar.zero = strcmp(what, "zero") == 0;
    peculiar.top = strcmp(what, "top") == 0;
    peculiar.twice = strcmp(what, "twice") == 0;
    if (strcmp(what, "meanwhile") == 0) {
        freed_meanwhile();
        return 0;
    }
    for (bool large = true; left > 0; large = random_below(200) == 0)
        random_machine(large);
    return 0;
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    random_state = strtoull(arguments[1], NULL, 10) * 2 + 1;
    left = strtol(arguments[2], NULL, 10);
    host_memory = mmap(NULL, HOST_FRAMES * PAGE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(host_memory != MAP_FAILED);
    return run(count > 3 ? arguments[3] : "nothing");
}
