// A firmware that starts every hart at once, to test what the kernel does then.

/*
 * start: enter the kernel on all HARTS harts in the same moment.
 * In:   machine mode, mhartid, a1 = physical address of the device tree
 * Out:  0x80200000 in supervisor mode, a0 = hart id, a1 as it was, or TREE
 *   1. delegate every exception but the SBI's ecall, open all memory
 *   2. wait until everybody is here
 *   3. enter the kernel
 */
    .section .text
    .globl start
start:
    la t0, trap
    csrw mtvec, t0
    li t0, 0xb1ff & ~(1 << 9)
    csrw medeleg, t0
    li t0, 0x222
    csrw mideleg, t0
    li t0, -1
    csrw mcounteren, t0
    csrw pmpaddr0, t0
    li t0, 0x1f
    csrw pmpcfg0, t0

    la t0, arrived
    li t1, 1
    amoadd.w zero, t1, (t0)
    li t1, HARTS
1:  lw t2, 0(t0)
    bne t1, t2, 1b

    li t0, 1 << 11
    csrs mstatus, t0
    li t0, 0x80200000
    csrw mepc, t0
    csrr a0, mhartid
#ifdef TREE
    li a1, TREE
#endif
    mret

/*
 * trap: an ecall is answered with SBI_ERR_NOT_SUPPORTED; all else ends QEMU
 * with exit status 99, through the test finisher.
 */
    .balign 4
trap:
    csrr a0, mcause
    addi a0, a0, -9
    bnez a0, 1f
    csrr a0, mepc
    addi a0, a0, 4
    csrw mepc, a0
    li a0, -2
    li a1, 0
    mret
1:  li t0, 0x100000
    li t1, 99 << 16 | 0x3333
    sw t1, 0(t0)
    j 1b

    .section .data
    .balign 4
arrived:
    .word 0
