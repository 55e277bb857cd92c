"""Does the report of an exception have the instruction in words?"""

WANTED = ("lhu t2, 6(t1)", "sd a4, 16(a5)")


def check_8(report):
    """(got, want) of the first of the two reports that lacks the words."""
    lines = [line.strip() for line in report.output.splitlines() if line.strip().startswith("pc ")]
    for wanted in WANTED:
        line = lines.pop(0) if lines else "no line with a pc"
        if not line.endswith(": " + wanted):
            return line, f"…, instruction 0x…: {wanted}"
    return None
