"""Programs are built, have the shape that the kernel expects, and are in the image."""

import re
import shutil
import struct

import pytest

import builds
import rvos

pytestmark = pytest.mark.chapter(9)

OVERLAY = "tests/overlays/programs.nw"
USER_START, PAGE = 128 << 30, 4096
OURS = {"suit", "sum", "sum-up"}       # of the overlay, for every image
LOAD, R, W, X = 1, 4, 2, 1
ENTRY = struct.Struct("<3Q")            # struct program
HEADER, SEGMENT = struct.Struct("<16s2HI3QI6H"), struct.Struct("<2I6Q")


class Elf:
    """An ELF file: where it begins, its segments, and its symbols."""

    def __init__(self, path):
        self.path, self.data = path, path.read_bytes()
        header = HEADER.unpack_from(self.data)
        self.entry, (size, count) = header[4], header[9:11]
        self.segments = [SEGMENT.unpack_from(self.data, header[5] + i * size)
                         for i in range(count)]

    def loaded(self):
        """(flags, offset, address, size in the file, in memory) of what has to be loaded."""
        return [(flags, offset, address, file, memory)
                for kind, flags, offset, address, _, file, memory, _ in self.segments
                if kind == LOAD and memory]

    def symbols(self):
        said = rvos.run(f"{builds.CROSS}nm", self.path).stdout
        return {name: int(value, 16) for value, name in re.findall(r"^(\w+) \w (\S+)$", said, re.M)}

    def at(self, address, size):
        """What is in memory at an address."""
        for _, offset, start, file, _ in self.loaded():
            if start <= address and address + size <= start + file:
                return self.data[offset + address - start:][:size]
        raise AssertionError(f"{self.path} has nothing at {address:#x}")

    def string(self, address):
        end = address
        while self.at(end, 1) != b"\0":
            end += 1
        return self.at(address, end - address).decode()


def programs(image):
    """[(name, file)] that the image carries, in its order."""
    elf = Elf(image)
    symbols = elf.symbols()
    table = elf.at(symbols["programs_start"], symbols["programs_end"] - symbols["programs_start"])
    entries = list(ENTRY.iter_unpack(table))
    assert all(start % 8 == 0 for _, start, _ in entries)
    return [(elf.string(name), elf.at(start, end - start)) for name, start, end in entries]


def image(stage, goal="image", mode="debug"):
    return builds.build(stage, mode, OVERLAY, goal)


@pytest.mark.parametrize("goal, more, less", [
    ("image", set(), {"alpha", "zeta"}), ("test-image", {"alpha"}, {"zeta"}),
    ("bench-image", {"zeta"}, {"alpha"})])
def test_an_image_has_the_programs_for_its_kind_in_order(stage, goal, more, less):
    names = [name for name, _ in programs(image(stage, goal))]
    assert OURS | more <= set(names) and not less & set(names)
    assert names == sorted(set(names))


def test_what_the_image_has_is_the_program_without_symbols(stage):
    path = image(stage)
    for name, file in programs(path):
        stripped, linked = (path.parent / "user" / f"{name}.{kind}" for kind in ("stripped", "elf"))
        assert stripped.read_bytes() == file
        assert Elf(linked).loaded() and Elf(linked).loaded() == Elf(stripped).loaded()
        assert Elf(linked).symbols() and not Elf(stripped).symbols()


@pytest.mark.parametrize("mode", ["debug", "release"])
def test_a_program_has_the_shape_that_the_kernel_expects(stage, mode):
    path = image(stage, mode=mode)
    for name, _ in programs(path):
        elf = Elf(path.parent / "user" / f"{name}.elf")
        symbols, loaded = elf.symbols(), elf.loaded()
        flags = [segment[0] for segment in loaded]
        assert flags == [flag for flag in (R | X, R, R | W) if flag in flags], name
        assert all(address % PAGE == 0 and file <= memory for _, _, address, file, memory in loaded)
        assert loaded[0][2] == USER_START
        ends = [address + memory for _, _, address, _, memory in loaded]
        assert all(end <= start for end, (_, _, start, _, _) in zip(ends, loaded[1:]))
        assert elf.entry == symbols["_start"] < ends[0]
        assert elf.at(elf.entry, 1)
        assert len(elf.segments) == 3


def test_a_program_takes_only_what_it_uses_of_the_library(stage):
    sum_ = Elf(image(stage).parent / "user/sum.elf").symbols()
    suit = Elf(image(stage).parent / "user/suit.elf").symbols()
    assert {"strlen", "__udivti3", "boot_channel"} <= set(suit)
    assert {"_start", "main", "boot_channel"} <= set(sum_)
    assert not {"strlen", "__udivti3", "vformat"} & set(sum_)


def test_a_small_program_is_a_small_file(stage):
    assert all(len(file) < 1024 for name, file in programs(image(stage, mode="release"))
               if name in ("sum", "sum-up"))


def test_the_global_pointer_is_used_and_reaches_the_first_variable(stage):
    path = image(stage, mode="release").parent / "user/suit.elf"
    code = rvos.run(f"{builds.CROSS}objdump", "-d", path).stdout
    near = int(Elf(path).symbols()["counter"]) - Elf(path).symbols()["__global_pointer$"]
    assert -2048 <= near < 2048
    assert re.search(rf"\tgp?,?.*{near}|{near}\(gp\)|gp,{near}", code)


def test_the_lines_of_a_program_are_those_of_the_chapters(stage):
    elf = image(stage).parent / "user/suit.elf"
    symbols = Elf(elf).symbols()
    said = rvos.run(f"{builds.CROSS}addr2line", "-e", elf, hex(symbols["main"]),
                    hex(symbols["_start"])).stdout.splitlines()
    line = rvos.line_of(rvos.ROOT / OVERLAY, "table[strlen(text)] = clock_now();")
    assert re.match(rf"(.*/)?{OVERLAY}:{line - 3}$", said[0]), said
    assert re.match(r"(.*/)?chapters/09-.*\.nw:\d+$", said[1]), said


def test_gdb_knows_the_program_that_it_is_told_of(stage):
    image(stage)
    commands = ["rv-program", "rv-program suit", "info symbol main", "print counter",
                "rv-program sum", "info line main", "print counter", "rv-program nobody"]
    flags = " ".join(f"-ex '{command}'" for command in commands)
    said = rvos.run("make", "debug", f"STAGE={stage}", f"OVERLAY={OVERLAY}",
                    GDB_FLAGS=f"-batch {flags}").stdout
    assert re.search(r"^suit\nsum\nsum-up\n", said, re.M)
    suit, sum_ = said.split("symbols of suit")[1].split("symbols of sum")
    assert "main in section .text of" in suit and "suit.elf" in suit
    assert f'"{OVERLAY}"' in sum_
    assert "nobody is not one of" in sum_


# -- building again --------------------------------------------------------------

class Builder:
    """The book's chapters with an overlay of our own, built in a folder of our own."""

    def __init__(self, folder, stage):
        self.out, self.overlay, self.stage = folder / "build", folder / "programs.nw", stage
        self.text = (rvos.ROOT / OVERLAY).read_text()

    def make(self, text, *more):
        self.overlay.write_text(text)
        return rvos.run("make", "-j2", "-f", "tools/build.mk", f"OUT={self.out}", "WERROR=1",
                        f"STAGE={self.stage}", f"OVERLAY={self.overlay}", "image", *more)

    def built(self, text, *more):
        """Build; the names of the files that were written."""
        before = self.times()
        done = self.make(text, *more)
        assert (done.returncode, done.stdout) == (0, "")
        return {path.name for path, time in self.times().items() if before.get(path) != time}

    def times(self):
        return {path: path.stat().st_mtime_ns for path in self.out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def builders(tmp_path_factory):
    """A Builder for each stage, which has built everything once."""
    made = {}

    def builder(stage):
        if stage not in made:
            made[stage] = Builder(tmp_path_factory.mktemp("programs"), stage)
        made[stage].built(made[stage].text)
        return made[stage]

    return builder


@pytest.mark.long(20)
def test_only_what_changes_is_built_again(builders, stage):
    builder = builders(stage)
    text = builder.text
    assert builder.built(text) == set()

    text = text.replace("counter = 7", "counter = 8")
    program = {"suit.elf", "suit.stripped", "suit.o", "rvos.elf"}
    assert builder.built(text) == program | {"counter.c", "counter.c.o", "counter.c.d"}

    text = text.replace("extern unsigned", "extern  unsigned")
    built = builder.built(text)
    assert {"main.c.o", "counter.c.o", "suit.elf"} <= built and "sum.elf" not in built
    assert "suit.elf" in builder.built(text, "DEFINES=-DOTHER")


def test_a_program_that_has_gone_leaves_the_image(builders, stage):
    builder = builders(stage)
    assert "rvos.elf" in builder.built(builder.text.replace("<<user/sum/main.c>>=",
                                                            "<<user/total/main.c>>="))
    names = [name for name, _ in programs(builder.out / "rvos.elf")]
    assert "total" in names and "sum" not in names
    assert not list((builder.out / "user").glob("sum.*"))


def test_a_file_that_has_gone_leaves_its_program(builders, stage):
    builder = builders(stage)
    more = "\n<<user/sum-up/more.S>>=\n    .globl more\nmore:\n    j more\n@\n"
    assert {"sum-up.elf", "more.S.o"} <= builder.built(builder.text + more)
    assert "sum-up.elf" in builder.built(builder.text)


@pytest.mark.parametrize("more, said", [
    ("<<user/test/suit/main.c>>=\nint main(void);\n@\n", "two programs have the same name"),
    ("<<user/test/lost.c>>=\nint lost;\n@\n", "a program is a folder"),
    ("<<user/lost.c>>=\nint lost;\n@\n", "a program is a folder"),
    ("<<user/none/main.c>>=\nint x;\n@\n", "undefined reference to `main'"),
    ("<<user/nosy/main.c>>=\n#include \"kernel/panic.h\"\nint main(void) { return 0; }\n@\n",
     "kernel/panic.h: No such file"),
])
def test_what_is_no_program_is_refused_in_words(more, said, builders, stage):
    builder = builders(stage)
    done = builder.make(f"{builder.text}\n{more}")
    assert done.returncode != 0 and said in done.stdout


@pytest.mark.skipif(not shutil.which("clang"), reason="clang is not installed")
def test_clang_builds_programs_without_a_warning(tmp_path, stage):
    builder = Builder(tmp_path, stage)
    builder.built(builder.text, "CC_KIND=clang", "MODE=release")
    assert OURS <= set(dict(programs(builder.out / "rvos.elf")))


# -- the library, with a kernel of a page ---------------------------------------------

FLAGS = ["-march=rv64gc", "-mabi=lp64d", "-mcmodel=medany", "-ffreestanding", "-fno-pic",
         "-std=c17", "-fno-omit-frame-pointer", "-Wall", "-Wextra", "-Wno-array-bounds", "-Werror"]
WHERE = 0x80100000      # of the program: there is no address space for it
COMPILER = {"gcc": [f"{builds.CROSS}gcc"],
            "clang": ["clang", "--target=riscv64-unknown-elf", "-mno-relax"]}


def exit_status(source, folder, compiler="gcc", level="-O2"):
    """Run tests/host/ecall.c with the library of a tree."""
    def run(*command):
        done = rvos.run(*command)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout

    script, objects = folder / "user.ld", []
    script.write_text(re.sub("0x2000000000", hex(WHERE), (source / "user/user.ld").read_text()))
    for file in ("tests/host/ecall.c", source / "lib/rvos/start.c", source / "lib/rvos/start.S"):
        objects.append(folder / f"{len(objects)}.o")
        run(*COMPILER[compiler], *FLAGS, level,
            f"-I{source}/include", f"-I{source}/lib", "-c", "-o", objects[-1], file)
    link = [f"{builds.CROSS}gcc", "-nostdlib", "-static", *FLAGS[:2], "-Wl,--build-id=none"]
    program, firmware = folder / "program", folder / "firmware"
    run(*link, "-T", script, "-o", program, *objects)
    run(*link, "-Wl,-Ttext=0x80000000", "-Wl,-e,start", f"-DENTRY={Elf(program).entry:#x}",
        "-o", firmware, "tests/host/ecall_firmware.S")
    return rvos.run("qemu-system-riscv64", "-machine", "virt", "-nographic", "-bios", firmware,
                    "-device", f"loader,file={program}", deadline=20).returncode


@pytest.mark.parametrize("level", ["-Og", "-O2"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_library_calls_the_kernel_as_agreed(source, compiler, level, tmp_path, stage):
    assert exit_status(source, tmp_path, compiler, level) == 0


REGISTERS = [f"a{n}" for n in range(2, 7)] + [f"t{n}" for n in range(7)]


def test_a_register_that_the_compiler_is_not_told_of_is_noticed(source, tmp_path, stage):
    header = (source / "lib/rvos/ecall.h").read_text()
    shutil.copytree(source, tmp_path / "source")
    unnoticed = []
    for register in [*REGISTERS, "memory"]:
        mutant = re.sub(rf'"{register}", |,\s*"{register}"$', "", header, flags=re.M)
        assert mutant != header
        (tmp_path / "source/lib/rvos/ecall.h").write_text(mutant)
        if exit_status(tmp_path / "source", tmp_path) == 0:
            unnoticed.append(register)
    assert unnoticed == []
