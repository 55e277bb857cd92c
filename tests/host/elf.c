// Programs in which something has been changed, for the kernel's reader. What it
// says of them must agree with a second reading. Each lies in a block of its
// size, at any alignment, and changes behind the back of who reads it.
//
//   elf SEED FIRST COUNT FOLDER FILE…   change programs, in COUNT cases beginning
//                                       with FIRST; one that fails is left in
//                                       FOLDER
//   elf --again FILE…                   say what each is: an error, or the segments
#define CASE_NAME "elf"
#define CASE_SUFFIX "elf"
#define CASE_VARIABLE "PROGRAM"
#include "case.h"
#include "elf_mutate.h"

static uint64_t accepted;
static uint8_t *image;              // what the reader sees
static struct elf elf;

void *rv_memcpy(void *restrict to, const void *restrict from, size_t n);
int rv_memcmp(const void *a, const void *b, size_t n);

/* The only way in which the reader gets at a file. What it has read is not
 * there any more when it comes again. */
void *rv_memcpy(void *restrict to, const void *restrict from, size_t n)
{
    uint8_t *read = (uint8_t *)(uintptr_t)from;

    memcpy(to, from, n);
    if (read + n > image && read < image + limit)
        memset(read, 0xa5, n);
    return to;
}

int rv_memcmp(const void *a, const void *b, size_t n)
{
    return memcmp(a, b, n);
}

static void check_segment(const struct elf_segment *segment,
                          const struct model_segment *right)
{
    if (segment->address != right->address || segment->memory != right->memory ||
        segment->offset != right->offset || segment->file != right->file ||
        segment->writable != right->writes ||
        segment->executable != right->executes)
        FAIL("a segment is not as in the file: address 0x%lx",
             segment->address);
    if (segment->file > 0)          // for the sanitizer
        image[segment->offset] ^= image[segment->offset + segment->file - 1];
}

static void check_program(const struct model *model)
{
    if (elf.entry != model->entry || elf.count != model->count)
        FAIL("entry 0x%lx and %u segments, want 0x%lx and %u", elf.entry,
             elf.count, model->entry, model->count);
    for (unsigned i = 0; i < elf.count; i++)
        check_segment(&elf.segments[i], &model->segments[i]);
}

/* All that can be asked about the file in `blob`. */
static enum error check_file(void)
{
    static struct model model;
    struct elf before;
    unsigned shift = random_below(16);
    uint8_t *block = malloc(limit + shift);

    image = block + shift;
    memcpy(image, blob, limit);
    memset(&elf, 0x5a, sizeof elf);
    memcpy(&before, &elf, sizeof elf);
    model_read(&model, blob, limit);
    enum error error = elf_read(image, limit, &elf);
    if (error == OK ? model.wrong != 0 : (model.wrong >> error & 1) == 0)
        FAIL("elf_read returns %d, want one of the bits 0x%x", error,
             model.wrong);
    if (error == OK)
        check_program(&model);
    else if (memcmp(&before, &elf, sizeof elf) != 0)
        FAIL("elf_read returns %d and has changed the result", error);
    accepted += error == OK;
    free(block);
    return error;
}

static void one_case(void)
{
    choose();
    const struct seed *from = &seeds[random_below(seed_count)];
    file_size = from->size;
    memcpy(file, from->bytes, file_size);
    do
        mutate();
    while (random_below(2) == 0);
    uint8_t *copy = malloc(file_size + 1);
    memcpy(copy, file, file_size);
    blob = copy;
    limit = file_size;
    check_file();
    blob = NULL;
    free(copy);
}

static struct seed read_file(const char *name)
{
    FILE *stream = fopen(name, "rb");
    struct seed read = { .bytes = malloc(FILE_MAX) };

    if (stream == NULL)
        FAIL("cannot open %s", name);
    read.size = fread(read.bytes, 1, FILE_MAX, stream);
    fclose(stream);
    return read;
}

static int try_again(int count, char **names)
{
    for (int i = 0; i < count; i++) {
        struct seed read = read_file(names[i]);
        blob = read.bytes;
        limit = read.size;
        choose();
        enum error error = check_file();
        printf("%d", error);
        for (unsigned n = 0; error == OK && n < elf.count; n++)
            printf(" 0x%lx+0x%lx:0x%lx+0x%lx:r%c%c", elf.segments[n].address,
                   elf.segments[n].memory, elf.segments[n].offset,
                   elf.segments[n].file, elf.segments[n].writable ? 'w' : '-',
                   elf.segments[n].executable ? 'x' : '-');
        printf("\n");
        blob = NULL;
        free(read.bytes);
    }
    return 0;
}

int main(int count, char **arguments)
{
    if (count > 2 && strcmp(arguments[1], "--again") == 0)
        return try_again(count - 2, arguments + 2);
    if (count < 6)
        return 2;
    while (seed_count < SEEDS_MAX && (int)seed_count + 5 < count) {
        seeds[seed_count] = read_file(arguments[5 + seed_count]);
        seed_count++;
    }
    seed = strtoull(arguments[1], NULL, 10);
    number = strtoull(arguments[2], NULL, 10);
    folder = arguments[4];
    watch_cases();
    uint64_t cases = strtoull(arguments[3], NULL, 10);
    for (uint64_t end = number + cases; number < end; number++)
        one_case();
    if (cases >= 1000 && accepted < cases / 10)
        FAIL("only %lu of %lu files were accepted", accepted, cases);
    return 0;
}
