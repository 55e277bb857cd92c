// The case that a fuzzer has in work. If the program fails, it is left in a file
// and the report says how to have it again. Define first:
//   CASE_NAME      what files are called: "fdt"
//   CASE_SUFFIX    and how their names end: "dtb"
//   CASE_VARIABLE  of `make fuzz`, to try one again: "TREE"
#pragma once

#include "random.h"

#include <sanitizer/asan_interface.h>
#include <signal.h>
#include <stddef.h>

static uint64_t seed, number;       // case `number` of `seed`
static const char *folder;          // for what fails; NULL: leave nothing
static const uint8_t *blob;         // the case, or NULL: none is in work
static size_t limit;                // its size

static void keep_case(void)
{
    char name[512];

    if (folder == NULL || blob == NULL)
        return;
    ASAN_UNPOISON_MEMORY_REGION(blob, limit);
    snprintf(name, sizeof name, "%s/" CASE_NAME "-%lu-%lu." CASE_SUFFIX,
             folder, seed, number);
    FILE *file = fopen(name, "wb");
    if (file == NULL || fwrite(blob, 1, limit, file) != limit)
        printf("cannot write %s\n", name);
    else
        printf("case %lu of seed %lu; to try it again: make fuzz "
               CASE_VARIABLE "=%s\n", number, seed, name);
    if (file != NULL)
        fclose(file);
    fflush(stdout);
    blob = NULL;
}

/* The same choices whatever has been tried before. */
static void choose(void)
{
    random_state = (seed + 1) * 0x9e3779b97f4a7c15 ^
                   (number + 1) * 0xbf58476d1ce4e5b9;
    random_state |= random_state == 0;
    for (int i = 0; i < 4; i++)
        random_word();
}

/* However a sanitizer is left, it is by abort, which keeps the case. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "abort_on_error=1:handle_abort=0:quarantine_size_mb=1";
}

const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
    return "abort_on_error=1:print_stacktrace=1";
}

static void aborted(int signal)
{
    (void)signal;
    keep_case();
    _Exit(1);
}

/* From here on, whatever ends the program keeps the case. */
static void watch_cases(void)
{
    atexit(keep_case);
    signal(SIGABRT, aborted);
}
