"""The stack: a backtrace by frame pointers, and what a trap saved."""

import gdb

from rv_command import WORD, Command, place, register, word_at
from rv_csr import scause

DEEPEST = 64
NAMES = ("- ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 "
         "t3 t4 t5 t6").split()
RA, FP = NAMES.index("ra"), NAMES.index("s0")


def trap_return():
    """Where the handler of a trap returns to; None before chapter 2."""
    try:
        return int(gdb.parse_and_eval("(long)&trap_return"))
    except gdb.error:
        return None


def walk(pc, ra, fp):
    """A chain of calls, innermost first: pc, then the addresses that each call
    will return to. Where a trap interrupted the chain stands its frame."""
    yield pc
    behind_handler = trap_return()
    for _ in range(DEEPEST):
        try:
            if pc == behind_handler:
                frame = frame_below(fp)
                yield frame
                pc, ra, fp = int(frame["pc"]), int(frame["x"][RA]), int(frame["x"][FP])
            else:
                pc, ra, fp = caller(ra, fp)
        except (gdb.MemoryError, ValueError):
            return
        yield pc


def walk_from_here():
    """The chain from where the hart is. For the first step gdb's own unwinder
    is the better one: it knows functions that have not made their frame yet."""
    pc, outer = register("pc"), gdb.newest_frame().older()
    if outer is None or gdb.find_pc_line(outer.pc()).symtab is None:
        yield from walk(pc, register("ra"), register("s0"))
    else:
        yield pc
        yield from walk(outer.pc(), 0, int(outer.read_register("s0")))


def caller(ra, fp):
    """One step up: (pc, 0, fp) of the caller. Below its frame pointer a
    function keeps its return address, and below that the caller's frame
    pointer; one that calls nobody keeps the latter alone, and ra is where it
    was. Only the innermost function can be such a leaf: ra is 0 for others."""
    if fp == 0 or fp % WORD:
        raise ValueError("no frame")
    saved, outer = word_at(fp - WORD), word_at(fp - 2 * WORD)
    if ra and gdb.find_pc_line(saved).symtab is None:
        saved, outer = ra, saved
    if saved == 0 or outer and outer <= fp:
        raise ValueError("no caller")
    return saved, 0, outer


def frame_below(end):
    """The struct trap_frame that ends at an address."""
    frame = gdb.lookup_type("struct trap_frame")
    return gdb.Value(end - frame.sizeof).cast(frame.pointer()).dereference()


class Backtrace(Command):
    """Backtrace by frame pointers, through traps, where gdb's own loses the way.
    rv-bt          from where the hart is
    rv-bt PC FP    from a program counter and a frame pointer"""

    def run(self, argument):
        words = gdb.string_to_argv(argument)
        if len(words) == 2:
            pc, fp = (int(gdb.parse_and_eval(f"(unsigned long)({word})")) for word in words)
            chain = walk(pc, 0, fp)
        else:
            chain = walk_from_here()
        number, returns = 0, False      # the innermost address is not one to return to
        for link in chain:
            if isinstance(link, gdb.Value):
                yield "    --- trap ---"
            else:
                yield f"#{number:<2} {link:#018x}  {place(link, returns)}"
                number += 1
            returns = not isinstance(link, gdb.Value)


def trap_frame(expression):
    """The struct trap_frame that an expression means; without one, the frame
    of the trap that is being handled."""
    if expression:
        value = gdb.parse_and_eval(expression)
        return value.dereference() if value.type.code == gdb.TYPE_CODE_PTR else value
    for link in walk_from_here():
        if isinstance(link, gdb.Value):
            return link
    raise gdb.GdbError("no trap is being handled; name a frame: rv-frame EXPRESSION")


class Frame(Command):
    """Print a struct trap_frame, by default the one being handled.
    rv-frame [EXPRESSION]"""

    def run(self, argument):
        frame = trap_frame(argument)
        pc, cause, status = (int(frame[field]) for field in ("pc", "cause", "status"))
        yield f"pc {pc:#018x}  {place(pc)}"
        yield f"cause {cause:#x}: {scause(cause)}; value {int(frame['value']):#x}"
        yield (f"came from {'S' if status >> 8 & 1 else 'U'}, "
               f"interrupts were {'on' if status >> 5 & 1 else 'off'}")
        cells = [f"{name:3} {int(frame['x'][n]):016x}" for n, name in enumerate(NAMES) if n]
        for at in range(0, len(cells), 3):
            yield "  ".join(cells[at:at + 3])


COMMANDS = {"rv-bt": Backtrace, "rv-frame": Frame}
