// A second reading of device trees, to compare the book's with: slow, plain,
// and with numbers of 64 bits, in which nothing wraps around.
#pragma once

#include "kernel/fdt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_NODES 8192
#define MODEL_PROPERTIES 16384

struct model_property {
    const char *name;
    const uint8_t *value;
    uint64_t length;
};

struct model_node {
    const char *name;
    unsigned depth;
    uint32_t address_cells, size_cells;     // of its own reg
    bool addressable;
    struct model_property *properties;      // in the order of the blob
    unsigned count;
};

static struct model {
    const uint8_t *blob;
    uint64_t total, structure, structure_end, strings, strings_end, reserved;
    unsigned nodes, properties, reservations;
    struct model_node node[MODEL_NODES];
    struct model_property property[MODEL_PROPERTIES];
} model;

static uint64_t model_number(const uint8_t *p, unsigned bytes)
{
    uint64_t number = 0;

    while (bytes-- > 0)
        number = number * 256 + *p++;
    return number;
}

static uint64_t model_word(uint64_t at)
{
    return model_number(model.blob + at, 4);
}

/* Where the string at `at` ends, behind its NUL, or 0. */
static uint64_t model_string_end(uint64_t at, uint64_t end)
{
    const uint8_t *nul =
        at < end ? memchr(model.blob + at, '\0', end - at) : NULL;

    return nul == NULL ? 0 : (uint64_t)(nul - model.blob) + 1;
}

/* The offset of the token at or behind `at` that is not a NOP; 0: none. */
static uint64_t model_token(uint64_t at)
{
    while (at + 4 <= model.structure_end && model_word(at) == 4)
        at += 4;
    return at + 4 <= model.structure_end ? at : 0;
}

/* Add the property at `at` to a node; returns where it ends, or 0. */
static uint64_t model_add_property(struct model_node *node, uint64_t at)
{
    if (at + 12 > model.structure_end)
        return 0;
    uint64_t length = model_word(at + 4);
    uint64_t name = model.strings + model_word(at + 8);
    uint64_t end = at + 12 + (length + 3) / 4 * 4;

    if (end > model.structure_end ||
        model_string_end(name, model.strings_end) == 0)
        return 0;
    if (model.properties == MODEL_PROPERTIES)
        abort();
    node->properties[node->count++] = (struct model_property){
        (const char *)model.blob + name, model.blob + at + 12, length
    };
    model.properties++;
    return end;
}

/* The first property of that name, or NULL. */
static const struct model_property *
model_find(const struct model_node *node, const char *name)
{
    for (unsigned i = 0; i < node->count; i++)
        if (strcmp(node->properties[i].name, name) == 0)
            return &node->properties[i];
    return NULL;
}

static uint32_t model_cell(const struct model_node *node, const char *name,
                           uint32_t otherwise)
{
    const struct model_property *property = model_find(node, name);

    return property == NULL || property->length != 4
               ? otherwise
               : (uint32_t)model_number(property->value, 4);
}

/* What a node has from its parent. */
static void model_inherit(struct model_node *node,
                          const struct model_node *parent)
{
    const struct model_property *ranges;

    if (parent == NULL) {
        node->address_cells = 2;
        node->size_cells = 1;
        node->addressable = true;
        return;
    }
    ranges = model_find(parent, "ranges");
    node->address_cells = model_cell(parent, "#address-cells", 2);
    node->size_cells = model_cell(parent, "#size-cells", 1);
    node->addressable =
        parent->depth == 0 ||
        (parent->addressable && ranges != NULL && ranges->length == 0);
}

/* Read the node whose BEGIN_NODE is at `at`, and those inside of it;
 * returns where it ends, or 0. */
static uint64_t model_read_node(uint64_t at, struct model_node *parent,
                                unsigned depth)
{
    if (depth == FDT_DEPTH)
        return 0;
    if (model.nodes == MODEL_NODES)
        abort();
    struct model_node *node = &model.node[model.nodes++];
    uint64_t end = model_string_end(at + 4, model.structure_end);

    *node = (struct model_node){ .name = (const char *)model.blob + at + 4,
        .depth = depth, .properties = &model.property[model.properties] };
    if (end == 0)
        return 0;
    model_inherit(node, parent);
    end = (end + 3) / 4 * 4;
    while ((at = model_token(end)) != 0 && model_word(at) == 3)
        if ((end = model_add_property(node, at)) == 0)
            return 0;
    while (at != 0 && model_word(at) == 1) {
        if ((end = model_read_node(at, node, depth + 1)) == 0)
            return 0;
        at = model_token(end);
    }
    return at != 0 && model_word(at) == 2 ? at + 4 : 0;
}

static bool model_read_structure(void)
{
    uint64_t at = model_token(model.structure);

    if (at == 0 || model_word(at) != 1)
        return false;
    at = model_read_node(at, NULL, 0);
    if (at != 0)
        at = model_token(at);
    return at != 0 && model_word(at) == 9;
}

static bool model_read_reservations(void)
{
    for (uint64_t at = model.reserved; at + 16 <= model.total; at += 16) {
        if (model_number(model.blob + at, 8) == 0 &&
            model_number(model.blob + at + 8, 8) == 0)
            return true;
        model.reservations++;
    }
    return false;
}

/* What fdt_open should say of a blob of `limit` bytes. */
static enum error model_open(const uint8_t *blob, size_t limit)
{
    model.blob = blob;
    model.nodes = model.properties = model.reservations = 0;
    if (limit < 40 || model_word(0) != 0xd00dfeed)
        return ERR_CORRUPT;
    if (model_word(20) < 17 || model_word(24) > 17)
        return ERR_VERSION;
    model.total = model_word(4);
    model.structure = model_word(8);
    model.strings = model_word(12);
    model.reserved = model_word(16);
    model.strings_end = model.strings + model_word(32);
    model.structure_end = model.structure + model_word(36);
    return model.total <= limit && model.total >= 40 &&
                   model.structure % 4 == 0 && model.reserved % 8 == 0 &&
                   model.structure_end <= model.total &&
                   model.strings_end <= model.total &&
                   model_read_reservations() && model_read_structure()
               ? OK
               : ERR_CORRUPT;
}
