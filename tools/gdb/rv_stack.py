"""The stack: a backtrace by frame pointers, and what a trap saved."""

import gdb

from rv_command import WORD, Command, place, register, word_at

DEEPEST = 64


def walk(pc, ra, fp):
    """The addresses of a call chain, innermost first: pc, then what each frame
    will return to. A function keeps its return address below its frame
    pointer and the caller's frame pointer below that; one that calls nobody
    keeps the frame pointer alone."""
    yield pc
    for depth in range(DEEPEST):
        if fp == 0 or fp % WORD:
            return
        try:
            saved, outer = word_at(fp - WORD), word_at(fp - 2 * WORD)
        except gdb.MemoryError:
            return
        if depth == 0 and fp < saved < fp + (1 << 16):
            saved, outer = ra, saved
        if saved == 0:
            return
        yield saved
        if outer <= fp:
            return
        fp = outer


class Backtrace(Command):
    """Backtrace by frame pointers, where gdb's own loses the way.
    rv-bt          from where the hart is
    rv-bt PC FP    from a program counter and a frame pointer, such as a trap saved"""

    def run(self, argument):
        words = gdb.string_to_argv(argument)
        if len(words) == 2:
            pc, fp = (int(gdb.parse_and_eval(f"(unsigned long)({word})")) for word in words)
            ra = 0
        else:
            pc, ra, fp = register("pc"), register("ra"), register("s0")
        for number, address in enumerate(walk(pc, ra, fp)):
            yield f"#{number:<2} {address:#018x}  {place(address, number > 0)}"


def arguments():
    """(frame, symbol) of each argument of the functions that run, innermost first."""
    frame = gdb.newest_frame()
    while frame is not None:
        if frame.function() is not None:
            block = frame.block()
            while block.function is None:
                block = block.superblock
            yield from ((frame, symbol) for symbol in block if symbol.is_argument)
        frame = frame.older()


def trap_frame(expression):
    """The struct trap_frame that an expression means; without one, the
    innermost that a running function got as an argument."""
    if expression:
        value = gdb.parse_and_eval(expression)
        return value.dereference() if value.type.code == gdb.TYPE_CODE_PTR else value
    for frame, symbol in arguments():
        if str(symbol.type).endswith("struct trap_frame *"):
            return symbol.value(frame).dereference()
    raise gdb.GdbError("no running function has a struct trap_frame *; name one: rv-frame EXPR")


class Frame(Command):
    """Print a struct trap_frame, by default the one being handled.
    rv-frame [EXPRESSION]"""

    def run(self, argument):
        frame = trap_frame(argument)
        cells = [f"{name:8} {value:#018x}" for name, value in registers(frame)]
        for at in range(0, len(cells), 3):
            yield "   ".join(cells[at:at + 3])


def registers(frame):
    """(name, number) of each register in a frame, arrays unrolled."""
    for field in frame.type.fields():
        value = frame[field]
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_ARRAY:
            low, high = value.type.range()
            for i in range(low, high + 1):
                yield f"{field.name}[{i}]", int(value[i])
        else:
            yield field.name, int(value)


COMMANDS = {"rv-bt": Backtrace, "rv-frame": Frame}
