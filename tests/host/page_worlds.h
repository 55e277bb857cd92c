// Worlds in which page tables are tested: the kernel's tree alone, or with
// others that have a part of it; and cases of their own.
#pragma once

/* A request. If frames run out, then once at each point of it,
 * up to the sixteenth. */
static void operate(struct model *model)
{
    const struct request r = random_request(model);
    bool run_out = random_below(4) == 0;
    unsigned failures = 0;

    refuse = run_out ? 1 : NEVER;
    while (!attempt(model, &r) && run_out)
        // What was made stays; so 2 is for the one that was refused.
        refuse = ++failures < 16 ? 2 : failures;
    refuse = NEVER;
    for (unsigned i = 0; i < 4; i++)
        check_find(model, samples[i].page * PAGE_SIZE + random_below(4096));
    if (random_below(8) == 0)
        check_find(model, (samples[0].page << 12) + (random_word() << 38));
    if (random_below(32) == 0)
        check_print(model, &models[0]);
    left--;
}

/* Make a tree; if frames run out, nothing has happened. */
static void create(struct model *model)
{
    struct page_table *table = &model->table;

    asked = refused = 0;
    refuse = random_below(4) == 0 ? 1 : NEVER;
    model->count = 0;
    enum error error = page_table_create(table);
    CHECK(error == (refused > 0 ? ERR_MEMORY : OK));
    refuse = NEVER;
    if (error != OK) {
        *table = (struct page_table){ .tables = 0 };
        return;
    }
    CHECK(table->tables == 1 && asked == 1);
    check_tree(model);
    table->asid = (uint16_t)random_word();
    page_table_use(table);
    CHECK(satp == (8ul << 60 | (uint64_t)table->asid << 44 |
                   table->root.value >> 12));
}

static void destroy(struct model *model)
{
    size_t others = frames_used - model->table.tables;

    page_table_destroy(&model->table);
    CHECK(model->table.tables == 0 && frames_used == others);
    model->count = 0;
}

/* Every tree is what its model says, and has all that the kernel has. */
static void check_all(void)
{
    for (size_t i = 0; i < TREES; i++)
        if (models[i].is_kernel || models[i].table.tables > 0)
            check_tree(&models[i]);
    check_frames();
    for (size_t i = 1; i < TREES; i++) {
        uint64_t va = random_page(&models[0]) * PAGE_SIZE;
        struct page_entry ours, kernels;
        if (models[i].table.tables == 0)
            continue;
        bool found = page_find(&models[i].table, vaddr(va), &ours);
        CHECK(found == page_find(&kernel_table, vaddr(va), &kernels));
        CHECK(!found || (ours.address.value == kernels.address.value &&
                         ours.flags == kernels.flags));
    }
}

static void world_start(void)
{
    world_begin();
    memset(models, 0, sizeof models);
    models[0].is_kernel = true;
    refuse = 1;
    CHECK(page_table_create_empty(&kernel_table) == ERR_MEMORY);
    CHECK(frames_used == 0);
    CHECK(page_table_create_empty(&kernel_table) == OK);
    check_tree(&models[0]);
}

/* As kernel_map_init does: entries in the root for all that will ever be. */
static void map_kernel(void)
{
    static const struct request parts[] = {
        { MAP, 0x10000000, 0x10000000, 0x9000, PTE_R | PTE_W | PTE_G },
        { MAP, 0x80200000, 0x80200000, 0x5000, PTE_R | PTE_X | PTE_G },
        { MAP, 0xc0000000, 0xc0000000, 0x80000000, PTE_R | PTE_W | PTE_G },
        { MAP, 127ul << 30, 0x80205000, 0x2000, PTE_R | PTE_G },
        { MAP, 255ul << 30, 0x80207000, 0x1000, PTE_R | PTE_G },
        { UNMAP, 255ul << 30, 0, 0x1000, 0 },
    };

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        CHECK(attempt(&models[0], &parts[i]));
}

static void random_world(void)
{
    world_start();
    kernel_alone = random_below(4) == 0;
    if (!kernel_alone)
        map_kernel();
    for (long n = random_below(400); n > 0; n--) {
        struct model *model = &models[kernel_alone ? 0 :
                                      random_below(TREES)];
        if (!model->is_kernel && model->table.tables == 0)
            create(model);
        else if (!model->is_kernel && random_below(24) == 0)
            destroy(model);
        else
            operate(model);
        if (random_below(16) == 0)
            check_all();
    }
    check_all();
    for (size_t i = 1; i < TREES; i++)
        if (models[i].table.tables > 0)
            destroy(&models[i]);
    CHECK(frames_used == kernel_table.tables);
}

/* One tree, which the first request finds empty. */
static struct model *fresh_tree(void)
{
    world_start();
    map_kernel();
    do
        create(&models[1]);
    while (models[1].table.tables == 0);
    return &models[1];
}

/* All of the user's part at once: no table but the root is needed. */
static void everything(void)
{
    struct model *model = fresh_tree();
    struct request r = { MAP, 128ul << 30, 0, 127ul << 30, PTE_R | PTE_U };

    CHECK(attempt(model, &r) && asked == 0);
    r.kind = PROTECT, r.flags = PTE_X | PTE_U;
    CHECK(attempt(model, &r) && asked == 0);
    r.kind = UNMAP, r.va += PAGE_SIZE, r.size -= 2 * PAGE_SIZE;
    CHECK(attempt(model, &r) && asked == 4);
    destroy(model);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    { "everything", everything },
};

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    random_state = strtoull(arguments[1], NULL, 10) * 2 + 1;
    left = strtol(arguments[2], NULL, 10);
    for (size_t i = 0; count == 4 && i < sizeof cases / sizeof cases[0];
         i++)
        if (strcmp(cases[i].name, arguments[3]) == 0) {
            cases[i].run();
            return 0;
        }
    if (count == 4)
        return 2;
    while (left > 0)
        random_world();
    return 0;
}
