// Trees in which something has been changed, for all of the parser. What it
// says of them must agree with a second reading; each lies in a block of
// exactly its size, so that a byte too far is found.
//
//   fdt SEED FIRST COUNT FOLDER TREE…   change trees, in COUNT cases beginning
//                                       with FIRST; one that fails is left in
//                                       FOLDER
//   fdt --again TREE…                   try such cases again
#define CASE_NAME "fdt"
#define CASE_SUFFIX "dtb"
#define CASE_VARIABLE "TREE"
#include "case.h"
#include "fdt_check.h"
#include "fdt_mutate.h"

#include <sys/time.h>

#define STEPS_A_BYTE 100    // that machine_read may take
#define SECONDS_A_TREE 5    // of the processor

static uint64_t accepted;
static uint64_t steps_left = UINT64_MAX, steps_allowed;

void __sanitizer_cov_trace_pc(void);

__attribute__((noinline)) static void too_many_steps(void)
{
    steps_left = UINT64_MAX;
    FAIL("%zu bytes take more than %lu steps", limit, steps_allowed);
}

/* Called at each branch of the parser, if it was compiled so that steps are
 * counted. That makes it twice as slow, so not every run does it. */
__attribute__((no_sanitize("address", "undefined")))
void __sanitizer_cov_trace_pc(void)
{
    if (__builtin_expect(steps_left-- == 0, 0))
        too_many_steps();
}

/* All that can be asked of a blob. What is behind the size that it gives
 * itself is out of bounds, too. */
static void check_blob(void)
{
    struct fdt fdt;
    enum error right = model_open(blob, limit);

    if (limit >= 40 && get(blob + TOTAL) < limit && get(blob + TOTAL) >= 40)
        ASAN_POISON_MEMORY_REGION(blob + get(blob + TOTAL),
                                  limit - get(blob + TOTAL));
    CHECK(fdt_open(&fdt, blob + 1 + number % 7, limit) == ERR_ALIGN);
    enum error error = fdt_open(&fdt, blob, limit);
    if (error != right)
        FAIL("fdt_open returns %d, want %d", error, right);
    if (error == OK) {
        check_walk(&fdt);
        check_reservations(&fdt);
        accepted++;
    }
    steps_allowed = steps_left = STEPS_A_BYTE * (limit + 64);
    error = machine_read(blob, limit, number % 3);
    steps_allowed -= steps_left;
    steps_left = UINT64_MAX;
    if (right == OK)
        check_machine(error);
    else {
        CHECK(error == right);
        check_empty_machine();
    }
    ASAN_UNPOISON_MEMORY_REGION(blob, limit);
}

static void one_case(void)
{
    choose();
    lay_out(any_seed());
    do
        mutate();
    while (random_below(2) == 0);
    uint8_t *copy = malloc(tree_size);
    memcpy(copy, tree, tree_size);
    blob = copy;
    limit = tree_size;
    check_blob();
    blob = NULL;
    free(copy);
}

/* The clock is the processor's, and is not late if the computer is busy. */
static void too_late(int signal)
{
    static uint64_t last;
    static int seconds;

    (void)signal;
    seconds = number == last ? seconds + 1 : 0;
    last = number;
    if (seconds == SECONDS_A_TREE) {
        printf("%zu bytes take more than %d s\n", limit, seconds);
        keep_case();
        _Exit(1);
    }
}

/* Sound trees first, and of these the small ones. */
static int by_use(const void *a, const void *b)
{
    const struct seed *first = a, *second = b;

    if (first->sound != second->sound)
        return second->sound - first->sound;
    return (first->size > second->size) - (first->size < second->size);
}

/* Read a tree into a block of its size. */
static struct seed read_tree(const char *name)
{
    FILE *file = fopen(name, "rb");
    struct seed read = { .blob = malloc(BLOB_MAX) };

    if (file == NULL)
        FAIL("cannot open %s", name);
    read.size = (uint32_t)fread(read.blob, 1, BLOB_MAX, file);
    fclose(file);
    read.blob = realloc(read.blob, read.size);
    read.sound = model_open(read.blob, read.size) == OK;
    return read;
}

static int try_again(int count, char **names)
{
    for (int i = 0; i < count; i++) {
        struct seed read = read_tree(names[i]);
        blob = read.blob;
        limit = read.size;
        accepted = 0;
        check_blob();
        printf("%s, %lu steps\n", accepted > 0 ? "accepted" : "refused",
               steps_allowed);
        blob = NULL;
        free(read.blob);
    }
    return 0;
}

static void try_cases(uint64_t count)
{
    struct itimerval second = { { 1, 0 }, { 1, 0 } };

    signal(SIGVTALRM, too_late);
    setitimer(ITIMER_VIRTUAL, &second, NULL);
    for (uint64_t end = number + count; number < end; number++)
        one_case();
    if (count >= 1000 && accepted < count / 6)
        FAIL("only %lu of %lu trees were accepted", accepted, count);
}

int main(int count, char **arguments)
{
    if (count > 2 && strcmp(arguments[1], "--again") == 0)
        return try_again(count - 2, arguments + 2);
    if (count < 6)
        return 2;
    for (int i = 5; i < count && seed_count < SEEDS_MAX; i++) {
        seeds[seed_count++] = read_tree(arguments[i]);
        sound_count += seeds[seed_count - 1].sound;
    }
    qsort(seeds, seed_count, sizeof seeds[0], by_use);
    seed = strtoull(arguments[1], NULL, 10);
    number = strtoull(arguments[2], NULL, 10);
    folder = arguments[4];
    watch_cases();
    try_cases(strtoull(arguments[3], NULL, 10));
    return 0;
}
