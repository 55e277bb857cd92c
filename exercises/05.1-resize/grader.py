"""Whoever wrote behind the end of an object must not get away with it."""

PANICS = {8}


def check_8(report):
    """(got, want) unless the object could be resized and the fence spoke."""
    if ("resize", "stayed") not in report.lines:
        return "no object that stays when it is resized", "one to write behind"
    if "was written behind its end" not in report.output:
        return "a panic about something else", "panic: …, was written behind its end"
    return None
