// Deadlines against an array in which the earliest is searched for.
//
// PROGRAM SEED ROUNDS          random operations, each looked at afterwards
// PROGRAM SEED ROUNDS steps    print what a removal costs, in rows of work
#include "kernel/task/deadline.h"

#include "random.h"

#include <string.h>

#define MANY 4096   // when steps are counted
#define FEW 60      // when each is looked at

static struct deadlines set;
static struct deadline all[MANY];
static uint64_t model[MANY];    // when, of those that are in the set
static bool present[MANY];
static unsigned count, seen;

static unsigned number_of(const struct deadline *deadline)
{
    return (unsigned)(deadline - all);
}

/* A row of heaps below a deadline: every pointer, every order. */
static void check_row(struct deadline **pointer, uint64_t least)
{
    for (; *pointer != NULL; pointer = &(*pointer)->next) {
        struct deadline *deadline = *pointer;
        if (deadline < all || deadline >= all + MANY || ++seen > count)
            FAIL("the set has what is not in it, or has it twice");
        if (deadline->pointer != pointer)
            FAIL("%u does not know what points to it", number_of(deadline));
        if (!present[number_of(deadline)])
            FAIL("%u has been removed", number_of(deadline));
        if (deadline->at != model[number_of(deadline)])
            FAIL("%u is at another time", number_of(deadline));
        if (deadline->at < least)
            FAIL("%u is earlier than the one above", number_of(deadline));
        check_row(&deadline->below, deadline->at);
    }
}

static uint64_t earliest_of_model(void)
{
    uint64_t earliest = NEVER;

    for (unsigned i = 0; i < FEW; i++)
        if (present[i] && model[i] < earliest)
            earliest = model[i];
    return earliest;
}

static void check_all(void)
{
    seen = 0;
    check_row(&set.earliest, 0);
    if (seen != count)
        FAIL("%u of %u deadlines are in the set", seen, count);
    if (set.earliest != NULL && set.earliest->next != NULL)
        FAIL("there is something beside the earliest");
    if (set.earliest != NULL && set.earliest->at != earliest_of_model())
        FAIL("the earliest is not the earliest");
    for (unsigned i = 0; i < FEW; i++)
        if (!present[i] && all[i].pointer != NULL)
            FAIL("%u does not know that it is in no set", i);
}

static void add(unsigned i, uint64_t at)
{
    deadline_add(&set, &all[i], at);
    present[i] = true;
    model[i] = at;
    count++;
}

static void take_out(unsigned i)
{
    deadline_remove(&set, &all[i]);
    count -= present[i];
    present[i] = false;
}

/* Moments of which many are equal, some are as far away as can be. */
static uint64_t some_moment(void)
{
    return random_below(4) == 0 ? random_number() : random_below(50);
}

/* The set grows for a while and shrinks for a while, now and then to
 * nothing. What is in no set is removed, too: nothing may happen. What is
 * added may contain anything. */
static void one_round(void)
{
    static unsigned growth = 50;
    unsigned i = random_below(FEW);

    if (random_below(200) == 0)
        growth = 20 + random_below(61);
    if (random_below(5000) == 0)
        while (set.earliest != NULL)
            take_out(number_of(set.earliest));
    if (random_below(100) >= growth && set.earliest != NULL &&
        random_below(2) == 0) {
        take_out(number_of(set.earliest));
    } else if (random_below(100) >= growth) {
        take_out(i);
    } else if (!present[i]) {
        memset(&all[i], 0xa5, sizeof all[i]);
        add(i, some_moment());
    }
    check_all();
}

static unsigned long removals, steps, worst;

/* What a removal has to look at is the row below the deadline. */
static void take_out_and_count(unsigned i)
{
    unsigned long row = 0;

    for (struct deadline *d = all[i].below; d != NULL; d = d->next)
        row++;
    removals++;
    steps += row;
    worst = row > worst ? row : worst;
    take_out(i);
}

static uint64_t moment_of(unsigned order, unsigned i)
{
    switch (order) {
    case 0: return random_word();
    case 1: return i;
    case 2: return MANY - i;
    case 3: return i == 0 ? 0 : MANY - i;
    case 4: return i % 2 == 0 ? i : 2 * MANY - i;
    default: return i % 64;
    }
}

static void print_steps(const char *what)
{
    printf("%s: %.2f %lu\n", what, (double)steps / (double)removals, worst);
    removals = steps = worst = 0;
}

/* All come, in some order, and go, the earliest first. */
static void fill_and_empty(unsigned order)
{
    static const char *const names[] = {
        "at random", "upwards", "downwards", "the first first", "from both ends", "many equal",
    };

    for (unsigned i = 0; i < MANY; i++)
        add(i, moment_of(order, i));
    while (set.earliest != NULL)
        take_out_and_count(number_of(set.earliest));
    print_steps(names[order]);
}

/* Waits as a busy system has them: a deadline is some way ahead, and most
 * are taken out before it comes. */
static void wait_and_wake(unsigned long rounds)
{
    for (uint64_t now = 0; now < rounds; now++) {
        unsigned i = random_below(MANY);
        while (set.earliest != NULL && set.earliest->at <= now)
            take_out_and_count(number_of(set.earliest));
        if (present[i])
            take_out_and_count(i);
        add(i, now + 1 + random_below(8 * MANY));
    }
    while (set.earliest != NULL)
        take_out_and_count(number_of(set.earliest));
    print_steps("waits");
}

int main(int arguments_count, char **arguments)
{
    if (arguments_count < 3)
        return 2;
    if (arguments_count == 3)
        return random_rounds(arguments, one_round);
    random_rounds((char *[]){ "", arguments[1], "0" }, one_round);
    for (unsigned order = 0; order < 6; order++)
        fill_and_empty(order);
    wait_and_wake(strtoul(arguments[2], NULL, 10));
    return 0;
}
