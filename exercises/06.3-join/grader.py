"""Is the hardware told when a table goes?"""

import os
import re
import subprocess

# These are not part of joining, and what fences they have are for other things.
OTHERS = {"frame_free", "page_unmap", "page_protect", "page_map"}


def code_of(image, function, seen):
    """The instructions of a function and of those that it calls."""
    objdump = os.environ.get("CROSS", "riscv64-unknown-elf-") + "objdump"
    text = subprocess.run([objdump, "-d", f"--disassemble={function}", str(image)],
                          check=True, capture_output=True, text=True).stdout
    seen.add(function)
    for name in sorted(set(re.findall(r"\bj\w*\s.*<([\w.]+)>", text)) - OTHERS):
        if name not in seen and len(seen) < 12:
            text += code_of(image, name, seen)
    return text


def check_8(report):
    """(got, want) unless there is a fence on the way."""
    if "sfence.vma" not in code_of(report.image, "page_join", set()):
        return "page_join without sfence.vma", "a fence before the table is freed"
    return None
