// The same as heap.c for a release build, without traps.
#define DEBUG 0
#include "heap.c"
