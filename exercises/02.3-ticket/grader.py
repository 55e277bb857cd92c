"""Are the two steps that harts share made of the right instructions?"""

import os
import re
import subprocess

ATOMIC = r"\b(amoadd|lr)\.w"
RELEASE = r"\bfence\b|\b(amo\w+|sc)\.w\.(rl|aqrl)"


def code_of(image, function, depth=1):
    """The instructions of a function and of those that it calls."""
    objdump = os.environ.get("CROSS", "riscv64-unknown-elf-") + "objdump"
    text = subprocess.run([objdump, "-d", f"--disassemble={function}", str(image)],
                          check=True, capture_output=True, text=True).stdout
    calls = set(re.findall(r"\bj\w*\s.*<(\w+)>", text)) - {function}
    if depth > 0:
        text += "".join(code_of(image, name, depth - 1) for name in sorted(calls))
    return text


def check_8(report):
    """(got, want) of the first step that another hart could get into."""
    if not re.search(ATOMIC, code_of(report.image, "ticket_draw")):
        return "ticket_draw without amoadd or lr", "one step that no other hart can divide"
    if not re.search(RELEASE, code_of(report.image, "ticket_unlock", depth=0)):
        return "ticket_unlock without a fence", "a store with release semantics"
    return None
