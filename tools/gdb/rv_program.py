"""The symbols of programs, whose files the build leaves beside the image."""

import os
from pathlib import Path

import gdb

from rv_command import Command


class Program(Command):
    """Load the symbols of a program; without a name, list the programs.

    All programs lie at the same addresses, so one replaces the other. A
    breakpoint in it also stops any other program that gets to its address."""

    loaded = None

    def run(self, argument):
        folder = Path(os.environ["RVOS_IMAGE"]).resolve().parent / "user"
        names = sorted(path.stem for path in folder.glob("*.elf"))
        if not argument:
            return names or ["there are no programs in this image"]
        if argument not in names:
            return [f"{argument} is not one of {' '.join(names)}"]
        if self.loaded:
            gdb.execute(f"remove-symbol-file {self.loaded}", to_string=True)
        self.loaded = file = folder / f"{argument}.elf"
        gdb.execute(f"add-symbol-file {file}", to_string=True)
        return [f"symbols of {argument}: {file}"]


COMMANDS = {"rv-program": Program}
