// All that can be asked of a tree that has been accepted, and the answers.
#pragma once

#include "fdt_model.h"

#include "kernel/machine.h"
#include "random.h"

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition))                                                   \
            FAIL("%s:%d: not so: %s", __FILE__, __LINE__, #condition);      \
    } while (0)

static bool in_blob(const void *start, uint64_t size)
{
    uintptr_t offset = (uintptr_t)start - (uintptr_t)model.blob;

    return offset <= model.total && size <= model.total - offset;
}

static bool is_string_in_blob(const char *text)
{
    uintptr_t offset = (uintptr_t)text - (uintptr_t)model.blob;

    return offset < model.total &&
           memchr(text, '\0', model.total - offset) != NULL;
}

/* A range, cut where the addresses end. */
static struct range model_range(uint64_t start, uint64_t size)
{
    unsigned __int128 end = (unsigned __int128)start + size;

    if (end > UINT64_MAX)
        size = UINT64_MAX - start;
    return (struct range){ start, size };
}

/* An entry of reg as it should be read. */
static bool model_reg(const struct model_node *node, uint64_t n,
                      struct range *range)
{
    const struct model_property *reg = model_find(node, "reg");
    uint64_t a = node->address_cells, s = node->size_cells;

    if (reg == NULL || a < 1 || a > 2 || s > 2 ||
        (n + 1) * (a + s) * 4 > reg->length)
        return false;
    const uint8_t *entry = reg->value + n * (a + s) * 4;
    *range = model_range(model_number(entry, 4 * (unsigned)a),
                         model_number(entry + 4 * a, 4 * (unsigned)s));
    return true;
}

static void check_reg(const struct fdt *fdt, const struct fdt_node *node,
                      const struct model_node *right)
{
    static const uint32_t far[] = { 1u << 28, 1u << 29, 1u << 30, 1u << 31,
                                    UINT32_MAX };
    struct fdt_value reg;
    struct range range, wanted;
    bool found = fdt_property(fdt, node, "reg", &reg);

    CHECK(found || !fdt_reg(fdt, node, 0, &range));
    for (uint32_t n = 0; found; n++) {
        found = fdt_entry(node, &reg, n, &range);
        CHECK(found == model_reg(right, n, &wanted));
        CHECK(!found || (range.start == wanted.start &&
                         range.size == wanted.size));
        CHECK(n % 16 > 2 || found == fdt_reg(fdt, node, n, &range));
    }
    for (unsigned i = 0; i < sizeof far / sizeof far[0]; i++)
        CHECK(fdt_reg(fdt, node, far[i], &range) ==
              model_reg(right, far[i], &wanted));
}

static void check_property(const struct fdt *fdt,
                           const struct fdt_node *node,
                           const struct model_node *right, const char *name)
{
    const struct model_property *wanted = model_find(right, name);
    struct fdt_value value;
    const char *text = fdt_string(fdt, node, name);

    CHECK(fdt_property(fdt, node, name, &value));
    CHECK(value.bytes == wanted->value && value.length == wanted->length);
    CHECK(in_blob(value.bytes, value.length));
    CHECK(fdt_u32(fdt, node, name, 77) == model_cell(right, name, 77));
    if (wanted->length > 0 && wanted->value[wanted->length - 1] == '\0')
        CHECK(text == (const char *)wanted->value);
    else
        CHECK(text == NULL);
    for (uint32_t n = 0; n < value.length / 4; n++)
        CHECK(fdt_cell(&value, n) ==
              model_number(wanted->value + 4 * n, 4));
}

/* Every string of the list is found, and nothing else. */
static void check_compatible(const struct fdt *fdt,
                             const struct fdt_node *node,
                             const struct model_node *right)
{
    const struct model_property *list = model_find(right, "compatible");
    bool whole = list != NULL && list->length > 0 &&
                 list->value[list->length - 1] == '\0';

    CHECK(!fdt_compatible(fdt, node, "nobody,nothing"));
    if (list == NULL || !whole) {
        CHECK(!fdt_compatible(fdt, node, ""));
        return;
    }
    for (uint64_t at = 0; at < list->length;) {
        const char *name = (const char *)list->value + at;
        CHECK(fdt_compatible(fdt, node, name));
        at += strlen(name) + 1;
    }
}

static void check_node(const struct fdt *fdt, const struct fdt_node *node,
                       const struct model_node *right)
{
    struct fdt_value value;

    CHECK(node->depth < FDT_DEPTH && node->depth == right->depth);
    CHECK(node->name == right->name && is_string_in_blob(node->name));
    CHECK(node->address_cells == right->address_cells);
    CHECK(node->size_cells == right->size_cells);
    CHECK(node->addressable == right->addressable);
    CHECK(!fdt_property(fdt, node, "no such name", &value));
    CHECK(fdt_u32(fdt, node, "no such name", 5) == 5);
    CHECK(fdt_string(fdt, node, "no such name") == NULL);
    for (unsigned i = 0; i < right->count; i++)
        check_property(fdt, node, right, right->properties[i].name);
    check_compatible(fdt, node, right);
    check_reg(fdt, node, right);
}

static void check_walk(const struct fdt *fdt)
{
    struct fdt_walk walk, again;
    struct fdt_node node, same;
    unsigned count = 0;

    fdt_walk_start(&walk, fdt);
    fdt_walk_start(&again, fdt);
    while (fdt_walk_next(&walk, &node)) {
        CHECK(fdt_walk_next(&again, &same));
        CHECK(node.name == same.name && node.depth == same.depth &&
              node.properties == same.properties);
        CHECK(count < model.nodes);
        check_node(fdt, &node, &model.node[count++]);
    }
    CHECK(!fdt_walk_next(&again, &same));
    CHECK(count == model.nodes);
}

static void check_reservations(const struct fdt *fdt)
{
    struct range range;

    for (unsigned n = 0; n < model.reservations; n++) {
        const uint8_t *entry = model.blob + model.reserved + 16 * (uint64_t)n;
        struct range right = model_range(model_number(entry, 8),
                                         model_number(entry + 8, 8));
        CHECK(fdt_reservation(fdt, n, &range));
        CHECK(range.start == right.start && range.size == right.size);
    }
    CHECK(!fdt_reservation(fdt, model.reservations, &range));
    CHECK(!fdt_reservation(fdt, UINT32_MAX, &range));
}

static void check_ranges(const struct range *ranges, unsigned count)
{
    CHECK(count <= MACHINE_RANGES);
    for (unsigned i = 0; i < count; i++)
        CHECK(ranges[i].size > 0 &&
              ranges[i].start <= UINT64_MAX - ranges[i].size);
}

static void check_device(const struct device *device)
{
    CHECK(device->registers.start <=
          UINT64_MAX - device->registers.size);
}

/* A word of the line, against a search that knows where the words are. */
static void check_argument(const char *name, size_t size)
{
    char value[16], line[64];
    size_t length = strlen(name);

    memset(value, '#', sizeof value);
    bool found = machine_argument(name, value, size);
    for (size_t i = size; i < sizeof value; i++)
        CHECK(value[i] == '#');
    CHECK(size == 0 || memchr(value, '\0', size) != NULL);
    CHECK(size == 0 || found || value[0] == '\0');
    if (length == 0 || strlen(machine.arguments) >= sizeof line)
        return;
    strcpy(line, machine.arguments);
    char *rest = NULL, *word = strtok_r(line, " ", &rest);
    while (word != NULL && (strncmp(word, name, length) != 0 ||
                            (word[length] != '=' && word[length] != '\0')))
        word = strtok_r(NULL, " ", &rest);
    CHECK(found == (word != NULL));
    if (found && size > 0) {
        word += length + (word[length] == '=');
        CHECK(strncmp(value, word, size - 1) == 0 &&
              strlen(value) == strnlen(word, size - 1));
    }
}

/* Is there a list in which this is the hart's context? */
static bool is_context(const struct machine_hart *hart)
{
    for (unsigned i = 0; i < model.nodes; i++) {
        const struct model_property *list =
            model_find(&model.node[i], "interrupts-extended");
        uint64_t at = 8 * (uint64_t)hart->context;
        if (list != NULL && at + 8 <= list->length &&
            model_number(list->value + at, 4) == hart->controller &&
            model_number(list->value + at + 4, 4) == 9)
            return true;
    }
    return false;
}

/* What machine_read has found is at least possible. */
static void check_machine(enum error error)
{
    bool complete = machine.memories > 0 && machine.hart_count > 0;

    CHECK(error == OK ? complete : error == ERR_MACHINE && !complete);
    CHECK(is_string_in_blob(machine.model) ||
          strcmp(machine.model, "unknown") == 0);
    CHECK(is_string_in_blob(machine.arguments) ||
          machine.arguments[0] == '\0');
    CHECK(machine.hart_count <= MACHINE_HARTS);
    CHECK(machine.slots <= MACHINE_SLOTS);
    check_ranges(machine.memory, machine.memories);
    check_ranges(machine.reserved, machine.reservations);
    for (unsigned i = 0; i < machine.hart_count; i++)
        CHECK(machine.harts[i].context == NO_CONTEXT ||
              is_context(&machine.harts[i]));
    CHECK(machine.plic_count <= MACHINE_PLICS);
    check_device(&machine.uart);
    check_device(&machine.plic);
    check_device(&machine.clint);
    check_device(&machine.finisher);
    for (unsigned i = 0; i < machine.slots; i++) {
        check_device(&machine.virtio[i]);
        CHECK(i == 0 || machine.virtio[i - 1].registers.start <=
                            machine.virtio[i].registers.start);
    }
    for (size_t size = 0; size < 4; size++) {
        check_argument("hello", size * 5);
        check_argument("demo", size);
        check_argument("a", size);
        check_argument("", size);
    }
}

/* Nothing has been found where there was nothing to read. */
static void check_empty_machine(void)
{
    CHECK(machine.memories == 0 && machine.reservations == 0 &&
          machine.hart_count == 0 && machine.slots == 0);
    CHECK(machine.uart.registers.size == 0 && machine.left_out == 0);
    CHECK(strcmp(machine.model, "unknown") == 0);
    CHECK(machine.arguments[0] == '\0');
}
