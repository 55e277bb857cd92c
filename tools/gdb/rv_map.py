"""Page tables of the kind Sv39, read as the hardware reads them."""

import gdb

from rv_command import WORD, Command, register

PAGE, ENTRIES, TOP = 4096, 512, 2
HALF = 1 << 38                  # from here on an address has ones in front of it
VALID, LEAF = 0x01, 0x0e
FLAGS = {"r": 0x02, "w": 0x04, "x": 0x08, "u": 0x10, "g": 0x20}
ODD = 0xffc0000000000300        # bits that nobody should use
SV39 = 8


def leaves(root, level=TOP, start=0):
    """(virtual, physical, size, flags) of each leaf, in the order of addresses."""
    try:
        table = bytes(gdb.selected_inferior().read_memory(root, PAGE))
    except gdb.MemoryError:
        raise gdb.GdbError(f"there is no memory for a table at {root:#x}") from None
    size = PAGE << 9 * level
    for n in range(ENTRIES):
        entry = int.from_bytes(table[n * WORD:(n + 1) * WORD], "little")
        where, to = start + n * size, (entry >> 10 & (1 << 44) - 1) * PAGE
        if not entry & VALID:
            continue
        if entry & LEAF:
            yield where, to, size, entry
        elif level:
            yield from leaves(to, level - 1, where)
        else:
            raise gdb.GdbError(f"the table at {root:#x} has an entry {entry:#x} that is no leaf")


def letters(entry):
    """The flags of an entry, and a mark if there are bits that should be zero."""
    words = "".join(name if entry & bit else "-" for name, bit in FLAGS.items())
    return words + ("?" if entry & ODD else "")


def stretches(root):
    """Leaves, with those that continue each other with the same flags as one."""
    now = None
    for va, pa, size, entry in leaves(root):
        flags = letters(entry)
        if now and (va, pa, flags) == (now[0] + now[2], now[1] + now[2], now[3]):
            now[2] += size
            continue
        if now:
            yield now
        now = [va, pa, size, flags]
    if now:
        yield now


def root_of(expression):
    """The root of the table that an expression means: a struct page_table, a
    pointer to one, or a number like that in satp; without one, of that in satp."""
    value = gdb.parse_and_eval(expression) if expression else register("satp")
    if isinstance(value, gdb.Value):
        if value.type.code == gdb.TYPE_CODE_PTR:
            value = value.dereference()
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
            return int(value["root"]["value"])
    satp = int(value) & (1 << 64) - 1
    if satp >> 60 != SV39:
        raise gdb.GdbError(f"{satp:#x} names no table of Sv39: see rv-csr satp")
    return (satp & (1 << 44) - 1) * PAGE


class Map(Command):
    """Print what a page table maps, as page_table_print does.
    rv-map              the table in satp
    rv-map EXPRESSION   a struct page_table, a pointer to one, or a number as in satp
    Physical addresses are added where they are others; ? marks bits that should be 0."""

    def run(self, argument):
        root = root_of(argument)
        # Through tables, gdb sees what they map; this is about physical memory.
        before = gdb.execute("maintenance packet Qqemu.PhyMemMode:1", to_string=True)
        if "OK" not in before:
            raise gdb.GdbError("QEMU does not show physical memory")
        try:
            for va, pa, size, flags in stretches(root):
                if va >= HALF:
                    va |= -1 << 39 & (1 << 64) - 1
                other = "" if va == pa else f" -> {pa:#x}"
                yield f"  {va:#13x} .. {va + size:#13x} {size // 1024:8} KiB  {flags}{other}"
        finally:
            gdb.execute("maintenance packet Qqemu.PhyMemMode:0", to_string=True)


COMMANDS = {"rv-map": Map}
