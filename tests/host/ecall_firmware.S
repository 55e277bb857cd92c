// A kernel for one program, to test what the library makes of system calls.

/*
 * start: run the program at ENTRY in user mode.
 * In:   machine mode
 * Out:  a0 = 41, a handle; sp = STACK; s0, gp, ra of no use
 *   1. open all memory and the floating point unit
 *   2. enter the program
 */
#define BOARD 0x80080000        // what ecall.c calls the board

    .section .text
    .globl start
start:
    la t0, trap
    csrw mtvec, t0
    li t0, -1
    csrw pmpaddr0, t0
    li t0, 0x1f
    csrw pmpcfg0, t0
    li t0, 1 << 13
    csrw mstatus, t0
    li t0, ENTRY
    csrw mepc, t0
    li sp, 0x80090000
    li s0, 1
    li ra, 1
    li gp, 1
    li a0, 41
    mret

/*
 * trap: note what was asked on the board, return what is written there, and
 * destroy all that a system call may destroy. EXIT ends QEMU with the status;
 * everything but an ecall ends it with 99.
 */
    .balign 4
trap:
    csrr t0, mcause
    addi t0, t0, -8
    li t1, 99
    bnez t0, 2f
    li t0, 93
    mv t1, a0
    beq t0, a7, 2f
    li t0, BOARD
    .equ asked, 0
    .equ answers, 32
    .irp n, 0, 1, 2
    sd a\n, asked + 8 * \n(t0)
    .endr
    sd a7, asked + 8 * 3(t0)
    ld a0, answers(t0)
    ld a1, answers + 8(t0)
    csrr t0, mepc
    addi t0, t0, 4
    csrw mepc, t0
    .irp register, a2, a3, a4, a5, a6, a7, t0, t1, t2, t3, t4, t5, t6
    li \register, 0x5e5e5e5e
    .endr
    mret

2:  slli t1, t1, 16
    li t0, 0x3333
    or t1, t1, t0
    li t0, 0x100000
    sw t1, 0(t0)
    j .
