// What machine_read finds in a tree, in lines for a test to read.
//
//   machine TREE BOOT [LIMIT]   BOOT: the hart that boots; LIMIT: how far may be
//                               read, the file's size if not given
#include "kernel/machine.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned long steps;

/* Called at each branch of the code that is tested. */
void __sanitizer_cov_trace_pc(void);
__attribute__((no_sanitize("address", "undefined")))
void __sanitizer_cov_trace_pc(void)
{
    steps++;
}

static void show_ranges(const char *what, const struct range *ranges,
                        unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        printf("%s %#lx %#lx\n", what, (unsigned long)ranges[i].start,
               (unsigned long)ranges[i].size);
}

static void show_device(const char *what, const struct device *device)
{
    printf("%s %#lx %#lx %u\n", what,
           (unsigned long)device->registers.start,
           (unsigned long)device->registers.size, device->interrupt);
}

static void show_hart(const struct machine_hart *hart)
{
    printf("hart %lu ", (unsigned long)hart->id);
    if (hart->context == NO_CONTEXT)
        printf("none\n");
    else
        printf("%u\n", hart->context);
}

/* A tree in a block of its size, with nothing behind it. */
static void *read_tree(const char *name, size_t *size)
{
    FILE *file = fopen(name, "rb");

    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        exit(2);
    *size = (size_t)ftell(file);
    void *blob = malloc(*size);
    rewind(file);
    if (fread(blob, 1, *size, file) != *size)
        exit(2);
    fclose(file);
    return blob;
}

int main(int count, char **arguments)
{
    size_t size;

    if (count < 3)
        return 2;
    void *blob = read_tree(arguments[1], &size);
    if (count > 3)
        size = strtoul(arguments[3], NULL, 0);
    steps = 0;
    enum error error = machine_read(
        blob, size, strtoul(arguments[2], NULL, 0));
    printf("steps %lu\n", steps);
    printf("error %s\n", error_text(error));
    printf("model %s\n", machine.model);
    printf("arguments %s\n", machine.arguments);
    show_ranges("memory", machine.memory, machine.memories);
    show_ranges("reserved", machine.reserved, machine.reservations);
    for (unsigned i = 0; i < machine.hart_count; i++)
        show_hart(&machine.harts[i]);
    for (unsigned i = 0; i < machine.slots; i++)
        show_device("virtio", &machine.virtio[i]);
    show_device("uart", &machine.uart);
    show_device("plic", &machine.plic);
    show_device("clint", &machine.clint);
    show_device("finisher", &machine.finisher);
    printf("clock %lu\n", (unsigned long)machine.clock);
    printf("left_out %u\n", machine.left_out);
    free(blob);
    return 0;
}
