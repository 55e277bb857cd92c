// What channels and handles should do: who holds what, and which messages lie
// where. See ipc.c.
#pragma once

#include "ipc_world.h"

#define TASKS 4
#define OBJECTS 48      // in use; fewer than a search for rings looks at
#define PLACES 256      // of a table that the model knows

enum kind { NOTHING, END, ROCK };

/* A message in a mailbox. */
struct model_letter {
    unsigned length, count, sender, noise;
    unsigned objects[MESSAGE_HANDLES];
    uint32_t rights[MESSAGE_HANDLES];
};

/* An object; an end has a mailbox. */
struct model_object {
    enum kind kind;
    struct object *real;
    unsigned references, peer, waiting;     // peer: its own number if closed
    struct model_letter letters[MESSAGE_QUEUE];
};

struct model_entry {
    bool used, watched;
    unsigned object;
    uint32_t rights;
    uint16_t uses;
};

static struct model_object objects[OBJECTS];
static struct model_entry tables[TASKS][PLACES];
static struct task tasks[TASKS];
static struct quota *quota[TASKS];
static unsigned self, rocks_real, rocks_model;

static void destroy_rock(struct object *object)
{
    rocks_real--;
    free(object);
}

static const struct object_type rock_type = {
    .name = "rock", .destroy = destroy_rock,
};

static unsigned new_object(enum kind kind, struct object *real)
{
    unsigned n = 0;

    while (n < OBJECTS && objects[n].kind != NOTHING)
        n++;
    CHECK(n < OBJECTS);
    objects[n] = (struct model_object){
        .kind = kind, .real = real, .peer = n,
    };
    return n;
}

static unsigned objects_free(void)
{
    unsigned count = 0;

    for (unsigned n = 0; n < OBJECTS; n++)
        count += objects[n].kind == NOTHING;
    return count;
}

/* Somebody lets go. */
static void model_put(unsigned object)
{
    struct model_object *o = &objects[object];

    CHECK(o->references > 0);
    if (--o->references > 0)
        return;
    enum kind kind = o->kind;
    o->kind = NOTHING;
    if (kind == ROCK) {
        rocks_model--;
        return;
    }
    if (o->peer != object)
        objects[o->peer].peer = o->peer;
    for (unsigned i = 0; i < o->waiting; i++)
        for (unsigned n = 0; n < o->letters[i].count; n++)
            model_put(o->letters[i].objects[n]);
}

/* A handle is new in the table of the running task. */
static void model_install(handle_t handle, unsigned object, uint32_t rights)
{
    unsigned place = handle & 0xffff;
    CHECK(place < PLACES);
    struct model_entry *entry = &tables[self][place];

    CHECK(!entry->used && entry->uses == handle >> 16);
    entry->used = true;
    entry->object = object;
    entry->rights = rights;
    objects[object].references++;
}

/* A handle leaves it; the reference is the caller's. */
static unsigned model_take(handle_t handle)
{
    struct model_entry *entry = &tables[self][handle & 0xffff];

    CHECK(entry->used);
    entry->used = entry->watched = false;
    entry->uses++;
    return entry->object;
}

/* What should looking a handle up yield? */
static enum error model_find(handle_t handle, bool any, uint32_t rights,
                             struct model_entry **result)
{
    unsigned place = handle & 0xffff;
    struct model_entry *entry = &tables[self][place % PLACES];

    if (place >= PLACES || !entry->used || entry->uses != handle >> 16)
        return ERR_HANDLE;
    *result = entry;
    if (!any && objects[entry->object].kind != END)
        return ERR_TYPE;
    return (entry->rights & rights) == rights ? OK : ERR_RIGHTS;
}

/* How rarely something is done in this world, once of so many, and how many
 * handles of a task are used most. */
static struct {
    unsigned closing, receiving, places;
} mood;

/* A handle of the running task, good most of the time. */
static handle_t some_handle(void)
{
    unsigned chance = random_below(40);

    for (unsigned i = 0; i < 60 && chance > 1; i++) {
        unsigned place = random_below(i < 30 ? mood.places : PLACES);
        const struct model_entry *entry = &tables[self][place];
        if (entry->used)
            return (handle_t)entry->uses << 16 | place;
    }
    return chance == 0 ? (handle_t)random_number()
                       : random_below(70000) << 12 | random_below(8);
}

static uint32_t some_rights(void)
{
    return random_below(3) == 0 ? random_below(32) : RIGHTS_ALL;
}

/* May the quota of the running task have refused something? */
static bool is_limited(void)
{
    const struct quota *q = quota[self];

    while (q != NULL && q->limit == SIZE_MAX)
        q = q->parent;
    return q != NULL;
}

/* Has an allocation failed? Then nothing may have happened. */
static bool out_of_memory(enum error error)
{
    CHECK(error != ERR_MEMORY || has_failed);
    CHECK(error != ERR_QUOTA || is_limited());
    has_failed = false;
    return error == ERR_MEMORY || error == ERR_QUOTA;
}

/* Is one end in the mailbox of another, or of one in there, and so on? */
static bool reaches(unsigned from, unsigned to)
{
    const struct model_object *o = &objects[from];

    if (o->kind != END)
        return false;
    if (from == to)
        return true;
    for (unsigned i = 0; i < o->waiting; i++)
        for (unsigned n = 0; n < o->letters[i].count; n++)
            if (reaches(o->letters[i].objects[n], to))
                return true;
    return false;
}

static enum error model_handles(const struct message *message)
{
    struct model_entry *entry;

    for (unsigned n = 0; n < message->count; n++) {
        bool moved = message->moved >> n & 1;
        for (unsigned i = 0; i < n; i++)
            if (message->handles[i] == message->handles[n])
                return ERR_HANDLE;
        enum error error = model_find(
            message->handles[n], true,
            moved ? RIGHT_PASS : RIGHT_PASS | RIGHT_COPY, &entry);
        if (error != OK)
            return error;
    }
    return OK;
}

/* What should sending yield, if there is memory? */
static enum error model_send(const struct message *message, unsigned end)
{
    const struct model_entry *table = tables[self];
    unsigned to = objects[end].peer;

    if (message->length > MESSAGE_BYTES || message->count > MESSAGE_HANDLES)
        return ERR_SIZE;
    enum error error = model_handles(message);
    if (error != OK)
        return error;
    if (to == end)
        return ERR_CLOSED;
    if (objects[to].waiting == MESSAGE_QUEUE)
        return ERR_FULL;
    for (unsigned n = 0; n < message->count; n++)
        if (table[message->handles[n] & 0xffff].object == end &&
            (message->moved >> n & 1))
            return ERR_HANDLE;
    for (unsigned n = 0; n < message->count; n++)
        if (reaches(table[message->handles[n] & 0xffff].object, to))
            return ERR_CYCLE;
    return OK;
}

static void model_sent(const struct message *message, unsigned end)
{
    struct model_object *to = &objects[objects[end].peer];
    struct model_letter *letter = &to->letters[to->waiting++];

    *letter = (struct model_letter){
        .length = message->length, .count = message->count,
        .sender = tasks[self].pid, .noise = message->bytes[0],
    };
    for (unsigned n = 0; n < message->count; n++) {
        const struct model_entry *entry =
            &tables[self][message->handles[n] & 0xffff];
        letter->rights[n] = entry->rights;
        letter->objects[n] = entry->object;
        if (message->moved >> n & 1)
            (void)model_take(message->handles[n]);
        else
            objects[entry->object].references++;
    }
}
