// Channels and handles against a model that knows who holds what: some tasks
// send, receive, copy, close and watch at random, and nobody ever waits. After
// each operation every count of references is compared.
//
//   ipc SEED OPERATIONS
#include "ipc_model.h"

#define LIFE 3000       // operations of a world

static void create(void)
{
    handle_t a = 77, b = 77;

    if (objects_free() < 2)
        return;
    enum error error = ipc_create(&a, &b);
    if (out_of_memory(error)) {
        CHECK(a == 77 && b == 77);
        return;
    }
    CHECK(error == OK);
    const struct handle_entry *entries = tasks[self].handles.entries;
    unsigned one = new_object(END, entries[a & 0xffff].held.object);
    objects[one].references = 0;
    unsigned two = new_object(END, entries[b & 0xffff].held.object);
    objects[one].peer = two;
    objects[two].peer = one;
    model_install(a, one, RIGHTS_ALL);
    model_install(b, two, RIGHTS_ALL);
}

static void add_rock(void)
{
    struct object *rock = malloc(sizeof *rock);
    struct capability held = { rock, some_rights() };
    handle_t handle;

    if (objects_free() < 1) {
        free(rock);
        return;
    }
    object_init(rock, &rock_type);
    enum error error = handle_add(&tasks[self].handles, held, &handle);
    if (out_of_memory(error)) {
        free(rock);
        return;
    }
    CHECK(error == OK);
    rocks_real++;
    rocks_model++;
    model_install(handle, new_object(ROCK, rock), held.rights);
}

static void copy(void)
{
    handle_t handle = some_handle(), result = 77;
    uint32_t rights = random_below(9) == 0 ? (uint32_t)random_number()
                                           : some_rights();
    struct model_entry *entry = NULL;
    enum error want = model_find(handle, true, rights | RIGHT_COPY, &entry);
    enum error error = ipc_copy(handle, rights, &result);

    if (out_of_memory(error)) {
        CHECK(want == OK && result == 77);
        return;
    }
    CHECK(error == want);
    if (error == OK)
        model_install(result, entry->object, rights);
}

static void close(void)
{
    handle_t handle = some_handle();
    struct model_entry *entry;
    enum error want = model_find(handle, true, 0, &entry);

    CHECK(handle_close(&tasks[self].handles, handle) == want);
    if (want == OK)
        model_put(model_take(handle));
}

/* A message in two pieces that are no larger than they have to be. */
static struct view pieces(size_t size)
{
    size_t here = 8 + random_below((unsigned)size / 8) * 8;

    here = here < size ? here : size;
    return (struct view){
        .start = malloc(here), .here = here, .rest = malloc(size - here + 1),
        .size = size,
    };
}

static void free_pieces(const struct view *view)
{
    free(view->start);
    free(view->rest);
}

static void write_pieces(const struct view *view, const struct message *message,
                         size_t size)
{
    size_t first = view->here < size ? view->here : size;

    memcpy(view->start, message, first);
    memcpy(view->rest, (const char *)message + first, size - first);
}

static void read_pieces(struct message *message, const struct view *view,
                        size_t size)
{
    size_t first = view->here < size ? view->here : size;

    memcpy(message, view->start, first);
    memcpy((char *)message + first, view->rest, size - first);
}

static unsigned some_length(void)
{
    switch (random_below(12)) {
    case 0: return MESSAGE_BYTES;
    case 1: return random_below(65536);
    case 2: return random_below(MESSAGE_BYTES + 1);
    default: return random_below(40);
    }
}

static void send(void)
{
    struct message message = { .length = (uint16_t)some_length() };
    handle_t handle = some_handle();
    struct model_entry *entry;
    enum error want = model_find(handle, false, RIGHT_SEND, &entry);

    message.moved = (uint8_t)random_below(256);
    if (random_below(2) == 0)
        message.count = (uint8_t)random_below(random_below(9) ? 5 : 256);
    for (unsigned n = 0; n < MESSAGE_HANDLES; n++)
        message.handles[n] = some_handle();
    memset(message.bytes, (int)random_below(256), sizeof message.bytes);
    size_t size = MESSAGE_HEADER +
                  (message.length > MESSAGE_BYTES ? 0 : message.length);
    if (random_below(12) == 0)      // the memory ends before the message
        size -= random_below((unsigned)(size - MESSAGE_HEADER) + 1);
    struct view view = pieces(size);
    write_pieces(&view, &message, size);
    if (message.length > MESSAGE_BYTES)
        view.size = SIZE_MAX;       // it may not be read all the same
    if (want == OK && MESSAGE_HEADER + message.length > size)
        want = ERR_SIZE;
    if (want == OK)
        want = model_send(&message, entry->object);
    enum error error = ipc_send(handle, &view, NOW);
    free_pieces(&view);
    if (out_of_memory(error)) {
        CHECK(want == OK);
        return;
    }
    CHECK(error == want);
    if (error == OK)
        model_sent(&message, entry->object);
}

/* The first message at an end has been received: compare it. */
static void received(const struct message *got, unsigned end)
{
    struct model_object *at = &objects[end];
    struct model_letter letter = at->letters[0];

    CHECK(at->waiting > 0);
    CHECK(got->length == letter.length && got->count == letter.count);
    CHECK(got->moved == 0 && got->sender == letter.sender);
    for (unsigned n = 0; n < letter.length; n++)
        CHECK(got->bytes[n] == letter.noise);
    memmove(&at->letters[0], &at->letters[1],
            --at->waiting * sizeof at->letters[0]);
    for (unsigned n = 0; n < letter.count; n++) {
        model_install(got->handles[n], letter.objects[n], letter.rights[n]);
        objects[letter.objects[n]].references--;    // the letter's
    }
}

static enum error model_receive(unsigned end)
{
    if (objects[end].waiting > 0)
        return OK;
    return objects[end].peer == end ? ERR_CLOSED : ERR_EMPTY;
}

static bool is_ready(unsigned object)
{
    return objects[object].kind == END && model_receive(object) != ERR_EMPTY;
}

static void receive(void)
{
    struct view view = pieces(sizeof(struct message));
    handle_t handle = some_handle();
    struct model_entry *entry;
    struct message got;
    enum error want = model_find(handle, false, RIGHT_RECEIVE, &entry);

    if (want == OK)
        want = model_receive(entry->object);
    enum error error = ipc_receive(handle, &view, NOW);
    read_pieces(&got, &view, sizeof got);
    free_pieces(&view);
    if (out_of_memory(error)) {
        CHECK(want == OK);
        return;
    }
    CHECK(error == want);
    if (error == OK)
        received(&got, entry->object);
}

static void watch(void)
{
    handle_t handle = some_handle();
    struct model_entry *entry;
    enum error want = model_find(handle, true, RIGHT_RECEIVE, &entry);

    if (want == OK && objects[entry->object].kind != END)
        want = ERR_TYPE;
    for (unsigned place = 0; want == OK && place < PLACES; place++)
        if (tables[self][place].watched &&
            tables[self][place].object == entry->object)
            want = ERR_EXISTS;
    enum error error = ipc_watch(handle);
    if (out_of_memory(error)) {
        CHECK(want == OK);
        return;
    }
    CHECK(error == want);
    if (error == OK)
        entry->watched = true;
}

/* What is watched and ready? */
static unsigned ready_ones(void)
{
    unsigned count = 0;

    for (unsigned place = 0; place < PLACES; place++)
        count += tables[self][place].watched &&
                 is_ready(tables[self][place].object);
    return count;
}

static void wait(void)
{
    struct view view = pieces(sizeof(struct message));
    bool with_message = random_below(4) != 0;
    unsigned ready = ready_ones();
    struct model_entry *entry;
    struct message got;
    handle_t which = 77;
    enum error error =
        with_message ? ipc_reply_wait(HANDLE_NONE, &view, NOW, &which)
                     : ipc_wait(NOW, &which);

    read_pieces(&got, &view, sizeof got);
    free_pieces(&view);
    if (ready == 0) {
        CHECK(error == ERR_EMPTY && which == HANDLE_NONE);
        return;
    }
    CHECK(model_find(which, false, 0, &entry) == OK);
    CHECK(entry->watched && is_ready(entry->object));
    if (!with_message || out_of_memory(error))
        return;
    CHECK(error == model_receive(entry->object));
    if (error == OK)
        received(&got, entry->object);
}

/* Compare all that can be seen from outside. */
static void compare(void)
{
    for (unsigned n = 0; n < OBJECTS; n++) {
        const struct model_object *o = &objects[n];
        if (o->kind == NOTHING)
            continue;
        CHECK(o->real->references == o->references);
        const struct endpoint *end = (const struct endpoint *)o->real;
        if (o->kind == END)
            CHECK(end->waiting == o->waiting &&
                  (end->peer == NULL) == (o->peer == n) &&
                  list_empty(&end->receivers) && list_empty(&end->senders));
    }
    CHECK(rocks_real == rocks_model);
    CHECK(scheduler_lock.taken == 0);
    CHECK(quota[0]->used == charged);
}

/* All quotas are one family: the first pays for all. */
static void begin(void)
{
    memset(objects, 0, sizeof objects);
    memset(tables, 0, sizeof tables);
    mood.closing = 1 + random_below(2) * random_below(30);
    mood.receiving = 1 + random_below(2) * random_below(20);
    mood.places = random_below(3) == 0 ? 2 : 16;
    for (unsigned i = 0; i < TASKS; i++) {
        size_t limit = random_below(3) == 0 ? random_below(60000) : SIZE_MAX;
        CHECK(quota_create(i == 0 ? &kernel_quota : quota[random_below(i)],
                           i == 0 ? SIZE_MAX : limit, &quota[i]) == OK);
        tasks[i] = (struct task){ .pid = 100 + i, .quota = quota[i] };
        handle_table_init(&tasks[i].handles, quota[i]);
    }
}

static void end(void)
{
    fail_in = 0;
    for (unsigned i = 0; i < TASKS; i++) {
        self = i;
        the_hart.task = &tasks[i];
        handle_close_all(&tasks[i].handles);
        for (unsigned place = 0; place < PLACES; place++)
            if (tables[i][place].used) {
                tables[i][place].used = false;
                model_put(tables[i][place].object);
            }
        compare();
    }
    CHECK(objects_free() == OBJECTS && charged == 0 && rocks_real == 0);
    for (unsigned i = 0; i < TASKS; i++) {
        CHECK(quota[i]->used == 0);
        quota_put(quota[i]);
    }
    CHECK(quotas == 0 && kernel_quota.used == 0);
    CHECK(kernel_quota.references == 1);
}

#define RECEIVING 9     // the first operation that receives

static void step(void)
{
    static void (*const operations[])(void) = {
        create, add_rock, copy, close, close, watch, send, send, send,
        receive, receive, wait,
    };
    static unsigned life;
    unsigned n = random_below(sizeof operations / sizeof operations[0]);

    if (life++ == 0)
        begin();
    self = random_below(TASKS);
    the_hart.task = &tasks[self];
    fail_in = random_below(20) == 0 ? 1 + random_below(3) : 0;
    if ((operations[n] != close || random_below(mood.closing) == 0) &&
        (n < RECEIVING || random_below(mood.receiving) == 0))
        operations[n]();
    fail_in = 0;
    has_failed = false;
    compare();
    if (life == LIFE) {
        end();
        life = 0;
    }
}

int main(int argc, char **arguments)
{
    (void)argc;
    return random_rounds(arguments, step);
}
