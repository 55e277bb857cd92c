// Lists against an array that is kept in the same order.
#include "base/list.h"

#include "random.h"

#include <string.h>

#define ELEMENTS 12

struct element {
    char before[8];
    struct list link;
};

static struct element elements[ELEMENTS];
static struct list head;
static struct element *order[ELEMENTS];     // what is in the list
static size_t count;

static size_t place_of(const struct element *element)
{
    size_t i = 0;

    while (i < count && order[i] != element)
        i++;
    return i;
}

static void expect_order(void)
{
    struct list *link = &head;

    if (list_empty(&head) != (count == 0))
        FAIL("a list of %zu is %s", count, count == 0 ? "not empty" : "empty");
    for (size_t i = 0; i <= count; i++, link = link->next) {
        struct list *right = i < count ? &order[i]->link : &head;
        if (link->next != right || right->previous != link)
            FAIL("element %zu of %zu is not in its place", i, count);
        if (i < count && LIST_ITEM(right, struct element, link) != order[i])
            FAIL("LIST_ITEM finds another element");
    }
}

static void insert(struct element *element)
{
    size_t at = random_below((unsigned)count + 1);

    list_insert(at < count ? &order[at]->link : &head, &element->link);
    memmove(order + at + 1, order + at, (count++ - at) * sizeof *order);
    order[at] = element;
}

static void take_out(struct element *element, size_t at)
{
    list_remove(&element->link);
    if (!list_empty(&element->link) || element->link.previous !=
        &element->link)
        FAIL("an element that has left does not point to itself");
    memmove(order + at, order + at + 1, (--count - at) * sizeof *order);
}

/* An element that is in the list leaves, one that is not enters, or leaves
 * once more, which changes nothing. */
static void one_round(void)
{
    struct element *element = &elements[random_below(ELEMENTS)];
    size_t at = place_of(element);

    if (random_below(100) == 0) {
        while (count > 0)
            take_out(order[0], 0);
        list_init(&head);
    } else if (at < count) {
        take_out(element, at);
    } else if (element->link.next != NULL && random_below(3) == 0) {
        list_remove(&element->link);
    } else {
        insert(element);
    }
    expect_order();
}

int main(int arguments_count, char **arguments)
{
    list_init(&head);
    return arguments_count == 3 ? random_rounds(arguments, one_round) : 2;
}
