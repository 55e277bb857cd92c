"""Control and status registers of supervisor mode, in words.

Numbers and names are those of the privileged architecture, version 1.12.
"""

from rv_command import Command, place, register

INTERRUPT = 1 << 63
EXCEPTIONS = {
    0: "instruction address misaligned", 1: "instruction access fault",
    2: "illegal instruction", 3: "breakpoint",
    4: "load address misaligned", 5: "load access fault",
    6: "store or AMO address misaligned", 7: "store or AMO access fault",
    8: "environment call from U-mode", 9: "environment call from S-mode",
    12: "instruction page fault", 13: "load page fault", 15: "store or AMO page fault",
}
INTERRUPTS = {1: "supervisor software", 5: "supervisor timer", 9: "supervisor external"}
SSTATUS = {"SIE": 1, "SPIE": 5, "UBE": 6, "SPP": 8, "SUM": 18, "MXR": 19}
MODES = {0: "bare", 8: "Sv39", 9: "Sv48", 10: "Sv57"}


def scause(value):
    code = value & ~INTERRUPT
    if value & INTERRUPT:
        return INTERRUPTS.get(code, f"interrupt {code}") + " interrupt"
    return EXCEPTIONS.get(code, f"exception {code}")


def sstatus(value):
    bits = [name for name, bit in SSTATUS.items() if value >> bit & 1]
    return " ".join(bits or ["-"]) + ("; came from S" if value >> 8 & 1 else "; came from U")


def stvec(value):
    return place(value & ~3) + (", vectored" if value & 3 else ", direct")


def interrupts(value):
    names = [INTERRUPTS[code].split()[1] for code in INTERRUPTS if value >> code & 1]
    return " ".join(names or ["-"])


def satp(value):
    mode = MODES.get(value >> 60, "?")
    if mode == "bare":
        return "bare: no paging"
    return f"{mode}, ASID {value >> 44 & 0xffff}, root {(value & (1 << 44) - 1) << 12:#x}"


class Csr(Command):
    """Decode the supervisor's control and status registers."""

    WORDS = {"scause": scause, "sepc": place,
             "stval": lambda value: "", "sstatus": sstatus, "stvec": stvec,
             "sie": interrupts, "sip": interrupts, "satp": satp}

    def run(self, argument):
        names = argument.split() or self.WORDS
        for name in names:
            if name not in self.WORDS:
                yield f"{name} is not one of {' '.join(self.WORDS)}"
                continue
            value = register(name)
            yield f"{name:8} {value:#018x}  {self.WORDS[name](value)}".rstrip()


COMMANDS = {"rv-csr": Csr}
