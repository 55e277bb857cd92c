// A hart for the host, in place of the kernel's: there is no tp register.
#pragma once

#include <stdint.h>

#define FAULT_STACK_SIZE 8192

struct task;

struct hart {
    uint64_t kernel_stack;
    uint64_t fault_stack;
    struct task *task;
};

struct hart *this_hart(void);
