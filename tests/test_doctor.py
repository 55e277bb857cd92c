"""tools/doctor and tools/setup on machines that lack things.

Such a machine is a PATH with nothing in it but a shell's small utilities and
those stand-ins that a test puts there.
"""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent / "tools"
UTILITIES = "sh bash env awk cat grep head sed dirname id".split()


class Machine:
    """A PATH of its own, to which commands can be added."""

    def __init__(self, folder):
        self.folder, self.log = folder / "bin", folder / "log"
        self.folder.mkdir()
        self.log.write_text("")
        for name in UTILITIES:
            (self.folder / name).symlink_to(f"/usr/bin/{name}")

    def add(self, name, script):
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, *command, **environment):
        env = {"PATH": str(self.folder), "LOG": str(self.log), **environment}
        return subprocess.run([TOOLS / command[0], *command[1:]], check=False, env=env,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def doctor(*words):
    return subprocess.run([TOOLS / "doctor", *words], check=False, env=dict(os.environ),
                          capture_output=True, text=True)


# -- doctor ----------------------------------------------------------------------

def test_this_machine_will_do():
    done = doctor()
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "doctor: everything that the system needs is here"


def test_need_is_quiet():
    done = doctor("--need", "make run", "python3", "noweb", "gcc", "qemu", "opensbi")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_table_of_an_empty_machine(machine):
    done = machine.run("doctor")
    rows = {line.split("  ")[0]: line for line in done.stdout.splitlines()}
    assert done.returncode == 1
    assert rows["qemu-system-riscv64"].split() == ["qemu-system-riscv64", "-", "7.2", "missing",
                                                   "make", "setup"]
    assert rows["pandoc"].endswith("make setup-book")
    assert "make setup" in done.stdout.splitlines()[-1]
    assert done.stderr == ""


def test_need_names_the_tool_and_the_cure(machine):
    done = machine.run("doctor", "--need", "make run", "qemu")
    assert done.returncode == 1
    assert done.stderr == "make run needs qemu-system-riscv64 (7.2 or later): run `make setup`\n"


def test_need_for_the_book(machine):
    done = machine.run("doctor", "--need", "make book", "pandoc")
    assert done.stderr == "make book needs pandoc (2.17 or later): run `make setup-book`\n"


@pytest.mark.parametrize("version, status", [("7.1.99", 1), ("7.2.0", 0), ("8.0", 0), ("10.1", 0)])
def test_versions_are_numbers(machine, version, status):
    machine.add("qemu-system-riscv64", f"echo QEMU emulator version {version}")
    assert machine.run("doctor", "--need", "make run", "qemu").returncode == status


def test_too_old_in_the_table(machine):
    machine.add("qemu-system-riscv64", "echo QEMU emulator version 5.2.0")
    row = [line for line in machine.run("doctor").stdout.splitlines() if line.startswith("qemu")]
    assert row[0].split() == ["qemu-system-riscv64", "5.2.0", "7.2", "too", "old", "make", "setup"]


def test_another_cross_compiler(machine):
    machine.add("riscv64-linux-gnu-gcc", "echo 12.2.0")
    command = ("doctor", "--need", "make build", "gcc")
    assert machine.run(*command).returncode == 1
    assert machine.run(*command, CROSS="riscv64-linux-gnu-").returncode == 0


def test_need_of_an_unknown_tool(machine):
    done = machine.run("doctor", "--need", "make run", "abacus")
    assert done.returncode == 1
    assert "abacus" in done.stderr


# -- setup -----------------------------------------------------------------------

def test_not_debian(machine):
    done = machine.run("setup", "base")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "not a Debian system" in done.stderr


def test_nothing_to_do(machine):
    machine.add("dpkg-query", "printf installed")
    machine.add("apt-get", 'echo "$@" >> "$LOG"')
    done = machine.run("setup", "base", "book")
    assert done.returncode == 0
    assert [line.split(":")[1] for line in done.stdout.splitlines()] == [" base", " book"]
    assert "nothing to do" in done.stdout
    assert machine.log.read_text() == ""


def test_installs_what_is_missing_and_asks_nothing(machine):
    machine.add("dpkg-query", 'for name; do :; done; [ "$name" = noweb ] || printf installed')
    machine.add("apt-get", 'echo "$DEBIAN_FRONTEND $*" >> "$LOG"')
    machine.add("id", "echo 0")
    done = machine.run("setup", "base")
    assert done.returncode == 0, done.stderr
    update, install = machine.log.read_text().splitlines()
    assert update.startswith("noninteractive") and update.endswith("update")
    assert " -y " in install and install.endswith("install --no-install-recommends noweb")


def test_sudo_when_not_root(machine):
    machine.add("dpkg-query", "true")
    machine.add("apt-get", "true")
    machine.add("id", "echo 1000")
    assert "sudo" in machine.run("setup", "base").stderr
    machine.add("sudo", 'printf "%s\\n" "$*" >> "$LOG"')
    assert machine.run("setup", "base").returncode == 0
    assert all(line.startswith("-n env") for line in machine.log.read_text().splitlines())


def test_unknown_section(machine):
    machine.add("dpkg-query", "true")
    machine.add("apt-get", "true")
    done = machine.run("setup", "moon")
    assert done.returncode == 1
    assert "no section [moon]" in done.stderr
