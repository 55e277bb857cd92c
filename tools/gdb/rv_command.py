"""What the commands share: their frame, and how they read the machine."""

import gdb

WORD = 8


class Command(gdb.Command):
    """A command whose subclass says in `run` what it prints."""

    def __init__(self, name):
        super().__init__(name, gdb.COMMAND_USER)
        self.name = name

    def invoke(self, argument, from_tty):
        try:
            for line in self.run(argument):
                print(line)
        except gdb.error as error:
            raise gdb.GdbError(str(error)) from None


def register(name):
    """A register of the hart, as an unsigned number."""
    return int(gdb.parse_and_eval(f"(unsigned long)${name}"))


def word_at(address):
    """The 64-bit word at an address; raises gdb.MemoryError."""
    data = gdb.selected_inferior().read_memory(address, WORD)
    return int.from_bytes(bytes(data), "little")


def place(address, returns=False):
    """An address as people name it: function, offset, chapter and line. One
    that a call returns to is named by the byte before it: the call may have
    been the last thing in its function."""
    address -= returns
    symbol = gdb.execute(f"info symbol {address}", to_string=True)
    name = "?" if symbol.startswith("No symbol") else symbol.split(" in section")[0].strip()
    line = gdb.find_pc_line(address)
    return f"{name}  {line.symtab.filename}:{line.line}" if line.symtab else name
