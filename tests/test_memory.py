"""Memory of programs: the tests of the kernel that are about it, and mistakes that they must find."""

import re
import shutil

import pytest

import benches
import rvos

pytestmark = pytest.mark.chapter(10)

# What the tests need: the files of kernel/test, and those of the program ktest.
KERNEL = {"failures", "ipc_team", "memory", "team", "user_runner", "user_team"}
PROGRAM = {"main", "memory", "memory_messages", "memory_model", "memory_shared"}


class Selection:
    """The system with these tests alone, in a folder of its own."""

    def __init__(self, folder, stage):
        self.out, self.stage = folder, stage
        self.source = folder / "src"
        done = rvos.run("tools/tangle", "--lines", "--tests", "--stage", stage, "--out",
                        self.source)
        assert done.returncode == 0, done.stdout
        for path in (self.source / "kernel/test").glob("*.c"):
            if path.stem not in KERNEL:
                path.unlink()
        for path in (self.source / "user/test").glob("*/*.c"):
            if path.parent.name != "ktest":
                shutil.rmtree(path.parent, ignore_errors=True)
            elif path.stem not in PROGRAM:
                path.unlink()

    def run(self):
        """Build and run; the console. A test that hangs is given up by the kernel's side."""
        done = rvos.run("make", "-s", "-j2", "-f", "tools/build.mk", "TANGLED=1",
                        f"OUT={self.out}", f"STAGE={self.stage}", "test-image")
        assert done.returncode == 0, done.stdout
        return rvos.run("tools/qemu", self.out / "rvos-test.elf").stdout


@pytest.fixture(scope="module")
def tests(tmp_path_factory):
    """A Selection for each stage, built once."""
    built = {}

    def get(stage):
        if stage not in built:
            built[stage] = Selection(tmp_path_factory.mktemp(f"memory-{stage}"), stage)
        return built[stage]

    return get


def test_memory_of_programs(tests, stage):
    said = tests(stage).run()
    assert not re.findall(r"FAILED|panic", said), said
    assert len(re.findall(r"^user: memory \w+ ok$", said, re.M)) == 15, said
    assert len(re.findall(r"^selftest: memory_\w+ ok$", said, re.M)) == 6, said


def test_a_page_costs_less_than_2000_instructions(stage):
    """Mapped, zeroed and unmapped by a program. seL4 maps and unmaps one, without zeroing,
    in 1412; xv6 takes 39714."""
    assert benches.run(stage)["user_mmap"][0] <= 2000


MISTAKES = {    # in which file: what to replace, and by what
    "a mapping that owns nothing": (
        "kernel/mm/mapping.c", "    object_get(&shm->object);\n", ""),
    "everybody may write": (
        "kernel/syscall.c", "(rights & RIGHT_SEND) != 0", "rights != 0"),
    "a size that wraps around": (
        "kernel/mm/mapping.c", "*size == 0 || *size > MAPPING_END - MAPPING_START",
        "*size == 0"),
    "a shared page that is remembered": (
        "kernel/mm/space.c",
        "page_unmap(&space->table, vaddr(start), size);\n    space->page = 0;\n"
        "    space->memory = NULL;\n",
        "page_unmap(&space->table, vaddr(start), size);\n"),
    "the last owner's bytes, in one's own": (
        "kernel/mm/space.c", "    memset(paddr_pointer(*frame), 0, PAGE_SIZE);\n", ""),
    "the last owner's bytes, in what is shared": (
        "kernel/mm/shm.c", "frame_alloc(1, FRAME_ZERO, &shm->frames[i])",
        "frame_alloc(1, 0, &shm->frames[i])"),
    "a translation that is kept": (
        "kernel/mm/page.c", "    *pte = 0;\n    flush(table, va, PAGE_SIZE);\n    return true;\n",
        "    *pte = 0;\n    return true;\n"),
    "frames that are lost when others are missing": (
        "kernel/mm/shm.c", "free_frames(shm, i);", "free_frames(shm, 0);"),
    "a space that frees what is shared": (
        "kernel/mm/space.c", "if (r->object != NULL)", "if (r->object == NULL)"),
}


@pytest.mark.long(40)
def test_mistakes_are_found(tests):
    """In each, memory of programs has one mistake; that a test fails, or the kernel stops."""
    selection = tests(10)
    unnoticed = []
    for mistake, (file, right, wrong) in MISTAKES.items():
        path = selection.source / file
        text = path.read_text()
        plain = re.sub(r'^#line .*\n', "", text, flags=re.M)
        assert plain.count(right) == 1, f"{file} has not one {right!r}"
        path.write_text(plain.replace(right, wrong))
        if not re.search(r"FAILED|panic", selection.run()):
            unnoticed.append(mistake)
        path.write_text(text)
    assert unnoticed == []
