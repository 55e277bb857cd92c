"""What gdb knows about rvOS: settings, a machine to debug, and commands that
`help rvos` lists.

Each module of TOPICS, rv_NAME.py beside this file, brings commands in COMMANDS;
later chapters add theirs there. tools/debug says in the environment what to boot.
"""

import importlib
import os
import sys

import gdb

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
TOPICS = ("console", "csr", "map", "program", "stack")
SETTINGS = ("pagination off", "confirm off", "print pretty on",
            "remote query-attached-packet off")    # so that quitting ends the machine


class Rvos(gdb.Command):
    """The command that explains the others."""

    def __init__(self, commands):
        Rvos.__doc__ = "Commands that know rvOS; `help NAME` tells more.\n\n" + "\n".join(
            f"{command.name:12} {command.__doc__.splitlines()[0]}" for command in commands)
        super().__init__("rvos", gdb.COMMAND_USER)

    def invoke(self, argument, from_tty):
        print(self.__doc__)


def commands():
    for topic in TOPICS:
        for name, command in importlib.import_module(f"rv_{topic}").COMMANDS.items():
            yield command(name)


def start_machine():
    gdb.execute(f"file {os.environ['RVOS_IMAGE']}", to_string=True)
    try:
        gdb.execute(f"target remote | {os.environ['RVOS_QEMU']}", to_string=True)
    except gdb.error as error:
        print(error)
        with open(os.environ["RVOS_CONSOLE"], encoding="utf-8") as console:
            print(console.read(), end="")
        gdb.execute("quit 1")
    print("The machine is stopped before its first instruction. `help rvos` lists our commands.")


for setting in SETTINGS:
    gdb.execute(f"set {setting}", to_string=True)
Rvos(list(commands()))
start_machine()
