"""The console of the machine, read from the log that QEMU writes."""

import os

from rv_command import Command


class Console(Command):
    """Print what the machine has printed since the last time."""

    seen = 0

    def run(self, argument):
        with open(os.environ["RVOS_CONSOLE"], "rb") as log:
            log.seek(self.seen)
            new = log.read()
        self.seen += len(new)
        return new.decode(errors="replace").replace("\r", "").splitlines()


COMMANDS = {"rv-console": Console}
