"""A stray load must still end in a report and a panic."""

PANICS = {8}


def check_8(report):
    """(got, want) unless the probe survived and the load was reported."""
    if ("probe", "survived") not in report.lines:
        return "the probe itself was fatal", "the probe survives, the stray load does not"
    if "load access fault" not in report.output:
        return "a panic without a report", "exception: load access fault"
    return None
