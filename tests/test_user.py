"""User mode: what its self-tests find when one thing in the kernel is wrong.

The self-tests themselves are in every test image (tests/kernel/09-user-mode.nw), and
test_boot.py runs them."""

import os
import subprocess

import pytest

import builds
import rvos

pytestmark = pytest.mark.chapter(9)

BAD = r"got .*, want |FAILED\r|panic: |fault during a fault"
NEEDED = ["team", "failures", "ipc_team", "user_team", "user_create", "user_runner"]


class Workshop:
    """A build of our own, in which one line at a time is made wrong."""

    def __init__(self, folder):
        self.out = folder / "build"
        self.command = ["make", "-j2", "-f", "tools/build.mk", f"OUT={self.out}",
                        "STAGE=9", "MODE=debug", "test-image",
                        f"TESTS_ONLY={' '.join(f'{name}.c.o' for name in NEEDED)} ktest"]
        self.make()

    def make(self, *more):
        done = subprocess.run([*self.command, *more], cwd=rvos.ROOT, check=False, text=True,
                              env=builds.environment(CI="", WERROR=""), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout

    def image(self, file, right, wrong):
        """The test image with a mistake in a file."""
        path = self.out / "src" / file
        text = path.read_text()
        assert text.count(right) == 1, f"{file} has not one {right!r}"
        before = path.stat()
        path.write_text(text.replace(right, wrong))
        try:
            self.make("TANGLED=1")
        finally:
            path.write_text(text)
            os.utime(path)
        assert path.stat().st_mtime_ns > before.st_mtime_ns
        return self.out / "rvos-test.elf"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A Workshop for the stage of this chapter: it takes too long for each."""
    return Workshop(tmp_path_factory.mktemp("user"))


USER, PROCESS, DOOR = "kernel/mm/user.c", "kernel/task/process.c", "kernel/ipc/door.h"
SPACE, ECALL, FPU = "kernel/mm/space.c", "kernel/arch/ecall.S", "kernel/arch/fpu.c"
SCHEDULER, CALLS = "kernel/task/scheduler.c", "kernel/syscall.c"

MISTAKES = {    # what is wrong: the file, what is right, and what is there instead
    "the kernel's pages are the user's": (
        USER, "PTE_U | PTE_W : PTE_U | PTE_R", "PTE_W : PTE_R"),
    "constants are written": (USER, "write ? PTE_U | PTE_W : ", ""),
    "a constant is looked up and then written": (
        USER, "if ((entry.flags & PTE_W) != 0) {", "{"),
    "only the first page of a message is looked at": (
        USER, "if (size <= here)\n", "if (size > 0)\n"),
    "only the first page of a number is looked at": (
        USER, "for (uint64_t at = address; at < end;", "for (uint64_t at = address; at == address;"),
    "a sum that wraps around": (USER, "if (end < address)", "if (false)"),
    "a register that is not cleared": (
        ECALL, ".irp n, 12,13,14,15,16,17,6,7,28,29,30,31\n", ".irp n, 12,13,14,15,16,17,6,7,28,29,31\n"),
    "a register that comes from another program": (
        ECALL, ".irp n, 9,18,19,20,21,22,23,24,25,26,27", ".irp n, 9,18,19,20,21,22,23,24,25,26"),
    "any number is a system call": (ECALL, "bltu a7, t0, 1f", "j 1f"),
    "numbers that are not saved": (FPU, "fpu_save(&owner->space->fpu);", ";"),
    "numbers that everybody may change": (FPU, "frame->status &= ~FS;", ";"),
    "numbers of the dead": (FPU, "this_hart()->fpu = NULL;", ";"),
    "a killed process that is not woken": (PROCESS, "    scheduler_wake(task);\n", ""),
    "a killed process that goes to sleep": (SCHEDULER, "if (self->killed)", "if (false)"),
    "a killed process that goes on": (SCHEDULER, "hart->attention = to->killed;", ""),
    "a killed process at the door": (DOOR, "receiver->task->state != TASK_BLOCKED ||", ""),
    "a message longer than the page": (
        DOOR, "offset > PAGE_SIZE - sizeof(struct message) ||", "offset >= PAGE_SIZE ||"),
    "handles that are left at the door": (DOOR, "message->count != 0 ||", ""),
    "a message that is not aligned": (
        DOOR, "offset % _Alignof(struct message) != 0)", "false)"),
    "a message before those that wait": (DOOR, "!list_empty(&table->told) ||", ""),
    "a table that is full": (
        "kernel/ipc/channel.c", "|| !has_room(&r->task->handles, parcel->count)", ""),
    "a page that is remembered": (SPACE, "space->memory = NULL;", ";"),
    "a page that is not freed": (
        SPACE, "frame_free(entry.address, 1);\nquota_release", "quota_release"),
    "a task that stays paid for": (
        PROCESS, "space_destroy(space);\n    quota_release(task->quota, TASK_COST);",
        "space_destroy(space);"),
    "a right that is not asked for": (
        CALLS, "process_of(handle, RIGHT_MANAGE, &process);\n\n    if (error == OK)\n"
        "        error = process_kill", "process_of(handle, 0, &process);\n\n    if (error == OK)\n"
        "        error = process_kill"),
}


@pytest.mark.long(20)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake, workshop, boot):
    system = boot(workshop.image(*MISTAKES[mistake]))
    system.expect(BAD, deadline=60)
