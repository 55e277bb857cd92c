// The same as heap_misuse.c for a release build, without traps.
#define DEBUG 0
#include "heap_misuse.c"
