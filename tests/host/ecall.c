// Calls everything in lib/rvos that calls the kernel; ecall_firmware.S is the
// kernel. The exit status is 0, or the number of the first check that failed.
#include "rvos/channel.h"
#include "rvos/handles.h"
#include "rvos/memory.h"
#include "rvos/process.h"

#include <stdbool.h>

#define A 0x1122334455667788ul  // what a call returns, and arguments
#define B 0x99aabbccddeeff00ul
#define H 0xfedcba98u           // a handle that is negative as an int

struct board {
    uint64_t asked[4];          // a0, a1, a2, a7
    uint64_t answers[2];
};

static volatile struct board *const board = (void *)0x80080000;
static struct message message;
static volatile unsigned char used[64];     // more variables, also zero
static int checks, failed;

static void check(bool good)
{
    checks++;
    if (!good && failed == 0)
        failed = checks;
}

static void answer(uint64_t first, uint64_t second)
{
    board->answers[0] = first;
    board->answers[1] = second;
}

static void asked(unsigned arguments, uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    check(board->asked[3] == number);
    check(arguments < 1 || board->asked[0] == a);
    check(arguments < 2 || board->asked[1] == b);
    check(arguments < 3 || board->asked[2] == c);
}

#define EACH(X) \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) \
    X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25)
#define LOAD(n) uint64_t v##n = values[n];
#define SAME(n) good &= v##n == 1000 + n;

/* More values than there are registers live through a call, with each stub. */
#define THROUGH(name, call)                                     \
    static bool through_##name(volatile const uint64_t *values) \
    {                                                           \
        bool good = true;                                       \
        EACH(LOAD)                                              \
        struct ecall_results results = call;                    \
        EACH(SAME)                                              \
        return good && results.first == A && results.second == B; \
    }

THROUGH(0, ecall0(SYS_GETPID))
THROUGH(1, ecall1(SYS_GETPID, v0))
THROUGH(2, ecall2(SYS_GETPID, v0, v1))
THROUGH(3, ecall3(SYS_GETPID, v0, v1, v2))

static void check_registers(void)
{
    static volatile uint64_t values[26];

    for (unsigned n = 0; n < 26; n++)
        values[n] = 1000 + n;
    answer(A, B);
    check(through_0(values));
    check(through_1(values));
    asked(1, SYS_GETPID, 1000, 0, 0);
    check(through_2(values));
    asked(2, SYS_GETPID, 1000, 1001, 0);
    check(through_3(values));
    asked(3, SYS_GETPID, 1000, 1001, 1002);
}

/* The message may have been written by the kernel. */
static void check_memory(void)
{
    uint64_t first = board->answers[0];
    uint64_t *plain = (uint64_t *)(uintptr_t)&board->asked[0];

    *plain = 5;
    (void)ecall1(SYS_SLEEP, 77);
    check(*plain == 77);
    check(first == A);
}

static void check_channels(void)
{
    handle_t a = 1, b = 2;
    uint64_t where = (uintptr_t)&message;

    answer(H, 5);
    check(channel_create(&a, &b) == OK && a == H && b == 5);
    asked(0, SYS_CHAN_CREATE, 0, 0, 0);
    answer(-(uint64_t)ERR_MEMORY, 6);
    check(channel_create(&a, &b) == ERR_MEMORY && a == H && b == 5);
    answer(ERR_FULL, H);
    check(channel_send(H, &message, NOW) == ERR_FULL);
    asked(3, SYS_CHAN_SEND_UNTIL, H, where, 0);
    check(channel_receive(H, &message, NEVER) == ERR_FULL);
    asked(3, SYS_CHAN_RECV_UNTIL, H, where, ~0ul);
    check(channel_call(H, &message, A) == ERR_FULL);
    asked(3, SYS_CALL, H, where, A);
    check(channel_watch(H) == ERR_FULL);
    asked(1, SYS_CHAN_POLL_ADD, H, 0, 0);
    check(channel_wait(A, &a) == ERR_FULL && a == H);
    check(channel_reply_wait(5, &message, A, &a) == ERR_FULL && a == H);
    answer(ERR_QUOTA, 9);
    check(channel_reply_wait(5, &message, A, &a) == ERR_QUOTA && a == 9);
    answer(ERR_CLOSED, 7);
    check(channel_reply_wait(HANDLE_NONE, &message, A, &a) == ERR_CLOSED && a == 7);
    asked(3, SYS_REPLY_WAIT, HANDLE_NONE, where, A);
    answer(OK, 8);
    check(channel_wait(A, &a) == OK && a == 8);
    asked(1, SYS_BLOCK_DEADLINE, A, 0, 0);
}

static void check_processes(void)
{
    struct process_end end = { .status = 3 };
    handle_t copy = 4;

    check(boot_channel == 41);
    answer(17, 0);
    check(process_id() == 17);
    asked(0, SYS_GETPID, 0, 0, 0);
    process_yield();
    asked(0, SYS_YIELD, 0, 0, 0);
    check(process_start(H) == ERR_LIMIT);
    asked(1, SYS_PROCESS_START, H, 0, 0);
    answer(ERR_TIMEOUT, 9);
    check(process_wait(H, A, &end) == ERR_TIMEOUT && end.status == 3);
    asked(2, SYS_PROCESS_WAIT, H, A, 0);
    answer(OK, 2ul << 32 | (uint32_t)-9);
    check(process_wait(H, A, &end) == OK && end.status == -9 &&
          end.how == ENDED_KILL);
    check(process_kill(H, -9) == OK);
    asked(2, SYS_KILL, H, (uint64_t)-9, 0);
    check(handle_close(H) == OK);
    asked(1, SYS_CHAN_CLOSE, H, 0, 0);
    answer(-(uint64_t)ERR_RIGHTS, 0);
    check(handle_copy(H, 31, &copy) == ERR_RIGHTS && copy == 4);
    asked(2, SYS_HANDLE_COPY, H, 31, 0);
    answer(H, 0);
    check(handle_copy(H, 31, &copy) == OK && copy == H);
}

static void check_time_and_memory(void)
{
    void *address = &message;
    handle_t handle = 4;

    answer(A, B);
    check(clock_now() == A && clock_busy() == B);
    asked(0, SYS_CLOCK, 0, 0, 0);
    answer(OK, B);
    check(sleep_until(A) == OK);
    asked(1, SYS_SLEEP, A, 0, 0);
    answer(-(uint64_t)ERR_MEMORY, 0);
    check(memory_map(H, A, &address) == ERR_MEMORY && address == &message);
    asked(2, SYS_MMAP, H, A, 0);
    check(memory_create(A, &handle) == ERR_MEMORY && handle == 4);
    asked(1, SYS_SHM_CREATE, A, 0, 0);
    check(memory_read_only(H, &handle) == ERR_MEMORY && handle == 4);
    asked(1, SYS_SHM_DUP_RO, H, 0, 0);
    answer(0x3000000000, 0);
    check(memory_map(0, A, &address) == OK && (uintptr_t)address == 0x3000000000);
    answer(H, 0);
    check(memory_create(A, &handle) == OK && handle == H);
    handle = 4;
    check(memory_read_only(H, &handle) == OK && handle == H);
    answer(ERR_ABSENT, 0);
    check(memory_unmap(address, A) == ERR_ABSENT);
    asked(2, SYS_MUNMAP, 0x3000000000, A, 0);
}

/* The chain of frames ends, two frames after that of main. */
static bool chain_ends(const uintptr_t *frame)
{
    unsigned depth = 0;

    while (frame != NULL && depth < 10) {
        frame = (const uintptr_t *)frame[-2];
        depth++;
    }
    return frame == NULL && depth == 2;
}

int main(void)
{
    uintptr_t gp;

    __asm__("mv %0, gp" : "=r"(gp));
    check(gp - (uintptr_t)&boot_channel + 2048 < 4096);
    check(used[0] == 0 && message.count == 0);
    check(chain_ends(__builtin_frame_address(0)));
    check_registers();
    check_memory();
    check_channels();
    check_processes();
    check_time_and_memory();
    return failed;
}
