"""What hexdump should have printed for the memory that the kernel's half names."""


def text_of(data):
    return "".join(chr(byte) if 0x20 <= byte <= 0x7e else "." for byte in data)


def line(address, data):
    digits = [f"{byte:02x}" for byte in data] + ["  "] * (16 - len(data))
    return f"{address:016x}  {' '.join(digits[:8])}  {' '.join(digits[8:])}  |{text_of(data)}|"


def dump(address, data):
    """The lines of one dump, repeated ones as a star."""
    lines, before, starred = [], None, False
    for at in range(0, len(data), 16):
        part = data[at:at + 16]
        if part == before and len(part) == 16:
            lines += [] if starred else ["*"]
            starred = True
        else:
            lines.append(line(address + at, part))
            starred = False
        before = part
    return lines


def check(report):
    """(got, want) of the first line that differs, or None."""
    addresses = [int(value) for key, value in report.lines if key == "from"]
    memory = [bytes.fromhex(value) for key, value in report.lines if key == "bytes"]
    want = [text for pair in zip(addresses, memory) for text in dump(*pair)]
    got = report.output.splitlines()
    for i in range(max(len(got), len(want))):
        pair = [lines[i] if i < len(lines) else "no more lines" for lines in (got, want)]
        if pair[0] != pair[1]:
            return pair
    return None


check_1 = check_2 = check_3 = check_4 = check_5 = check_6 = check_7 = check
