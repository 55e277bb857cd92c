// The same as frame.c for a release build, without assertions and patterns.
#define DEBUG 0
#include "frame.c"
