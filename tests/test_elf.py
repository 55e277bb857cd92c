"""The reader of ELF files, fed with broken ones on the host.

`make fuzz` runs the same for longer; with PROGRAM=file it tries one case again
that an earlier run has left in build/.
"""

import os
import re
import struct
from pathlib import Path

import pytest

import hosted
import rvos
from hosted import COMPILERS, EFFORT, SEED

pytestmark = pytest.mark.chapter(9)

COUNT = int(150_000 * EFFORT)
NUMBER_OF_MISTAKE_CASES = 60_000
SOURCES = ["kernel/elf.c"]
START, END = 128 << 30, (192 << 30) - (1 << 20)     # of memory for programs
PAGE = 4096
LOAD, DYNAMIC, INTERP, NOTE, TLS, STACK = 1, 2, 3, 4, 7, 0x6474e551
X, W, R = 1, 2, 4


# -- files, field by field ------------------------------------------------------

def part(kind=LOAD, flags=R, offset=0, address=START, size=0, **more):
    """A program header; `size` is that in memory and in the file."""
    return {"p_type": kind, "p_flags": flags, "p_offset": offset, "p_vaddr": address,
            "p_paddr": 0, "p_filesz": size, "p_memsz": size, "p_align": PAGE} | more


def code(**more):
    return part(**{"flags": R | X, "address": START, "size": 200} | more)


def constants(**more):
    return part(**{"flags": R, "address": START + PAGE, "offset": 100, "size": 50} | more)


def variables(**more):
    return part(**{"flags": R | W, "address": START + 2 * PAGE, "offset": 300, "size": 100,
                   "p_memsz": 9000} | more)


USUAL = [part(kind=0x70000003, size=90, p_memsz=0), code(), constants(), variables(), part(kind=STACK)]


def program(parts=None, ident=(), length=500, table=64, **header):
    """A file with these program headers, filled up to a length; ident: {index: byte}."""
    parts = USUAL if parts is None else parts
    magic = bytearray(b"\x7fELF\2\1\1" + bytes(9))
    for index, byte in dict(ident).items():
        magic[index] = byte
    fields = {"e_type": 2, "e_machine": 243, "e_version": 1, "e_entry": START, "e_phoff": table,
              "e_shoff": 0, "e_flags": 5, "e_ehsize": 64, "e_phentsize": 56,
              "e_phnum": len(parts), "e_shentsize": 0, "e_shnum": 0, "e_shstrndx": 0}
    assert header.keys() <= fields.keys()
    blob = struct.pack("<16sHHIQQQIHHHHHH", bytes(magic), *(fields | header).values())
    blob = blob.ljust(table, b"\0")
    blob += b"".join(struct.pack("<IIQQQQQQ", *fields.values()) for fields in parts)
    return blob.ljust(length, b"\0")


def usual(place, **changes):
    """The usual program, one header of which is changed: 1 code, 2 constants, 3 variables."""
    return program([entry | changes if n == place else entry for n, entry in enumerate(USUAL)])


def pages(count, **more):
    """Code, and enough other segments to make so many."""
    return [code()] + [constants(address=START + n * PAGE, **more) for n in range(1, count)]


SOUND = {   # name: (file, how many segments)
    "usual": (program(), 3),
    "one segment": (program([code()]), 1),
    "as many as can be": (program(pages(8)), 8),
    "more, but they are empty": (program(pages(8) + [part()] * 9, length=2000), 8),
    "notes without end": (program(pages(1) + [part(kind=NOTE)] * 63, length=4000), 1),
    "the table at the end": (program(table=501, length=501 + 5 * 56), 3),
    "a table that is not aligned": (program(table=67), 3),
    "nothing in the file": (usual(3, p_filesz=0, p_offset=500), 3),
    "an empty one that is nowhere": (usual(2, p_filesz=0, p_memsz=0, p_vaddr=7, p_flags=0,
                                           p_offset=1 << 63), 2),
    "all of the file": (usual(3, p_offset=0, p_filesz=500), 3),
    "the last byte of the file": (usual(3, p_offset=499, p_filesz=1), 3),
    "not on a page": (program([code(address=START + 8, p_memsz=PAGE - 8), constants()],
                              e_entry=START + 8), 2),
    "the last byte of a page": (usual(2, p_vaddr=START + 2 * PAGE - 1, p_filesz=1, p_memsz=1), 3),
    "up to the next page": (usual(1, p_memsz=PAGE), 3),
    "up to the end": (usual(3, p_memsz=END - START - 2 * PAGE), 3),
    "the last byte of memory": (usual(3, p_vaddr=END - 1, p_filesz=1, p_memsz=1), 3),
    "variables of threads": (program(USUAL + [part(kind=TLS, size=8)]), 3),
    "other bits in flags of a segment": (usual(1, p_flags=0xfff00005), 3),
    "an entry at the end": (program(e_entry=START + 198), 3),
    "no floating point": (program(e_flags=0), 3),
    "floats only": (program(e_flags=2), 3),
    "no alignment": (usual(1, p_align=3), 3),
}

WRONG = {   # name: (file, error)
    "empty": (b"", "CORRUPT"),
    "half a header": (program()[:63], "CORRUPT"),
    "only a header": (program()[:64], "CORRUPT"),
    "a magic number": (program(ident={1: ord("e")}), "CORRUPT"),
    "its first byte": (program(ident={0: 0}), "CORRUPT"),
    "its last byte": (program(ident={3: ord("f")}), "CORRUPT"),
    "32 bits": (program(ident={4: 1}), "MACHINE"),
    "no class": (program(ident={4: 0}), "MACHINE"),
    "big-endian": (program(ident={5: 2}), "MACHINE"),
    "version of the header": (program(ident={6: 2}), "VERSION"),
    "Linux": (program(ident={7: 3}), "MACHINE"),
    "version of the ABI": (program(ident={8: 1}), "VERSION"),
    "no type": (program(e_type=0), "TYPE"),
    "an object file": (program(e_type=1), "TYPE"),
    "a library": (program(e_type=3), "TYPE"),
    "x86": (program(e_machine=62), "MACHINE"),
    "version": (program(e_version=2), "VERSION"),
    "no version": (program(e_version=0), "VERSION"),
    "quadruple floats": (program(e_flags=6), "MACHINE"),
    "few registers": (program(e_flags=8), "MACHINE"),
    "strict order": (program(e_flags=0x15), "MACHINE"),
    "a flag to come": (program(e_flags=0x25), "VERSION"),
    "a flag of somebody's": (program(e_flags=0x80000005), "VERSION"),
    "a short header": (program(e_ehsize=52), "CORRUPT"),
    "a long header": (program(e_ehsize=65), "CORRUPT"),
    "short program headers": (program(e_phentsize=32), "CORRUPT"),
    "long program headers": (program(e_phentsize=57), "CORRUPT"),
    "a table in the header": (program(e_phoff=63), "CORRUPT"),
    "a table cut short": (program()[:64 + 5 * 56 - 1], "CORRUPT"),
    "a table behind the end": (program(e_phoff=501), "CORRUPT"),
    "a table whose end wraps": (program(e_phoff=2**64 - 5 * 56), "CORRUPT"),
    "a table whose end wraps further": (program(e_phoff=2**64 - 56), "CORRUPT"),
    "no table": (program([]), "ABSENT"),
    "65 headers": (program(pages(1) + [part(kind=NOTE)] * 64, length=4000), "LIMIT"),
    "a number that is elsewhere": (program(e_phnum=0xffff), "LIMIT"),
    "nothing to load": (program([part(kind=NOTE), part(kind=STACK)]), "ABSENT"),
    "only empty segments": (program([part(), part()]), "ABSENT"),
    "nine segments": (program(pages(9), length=1000), "LIMIT"),
    "a dynamic linker": (program(USUAL + [part(kind=INTERP)]), "TYPE"),
    "libraries": (program([part(kind=DYNAMIC)] + USUAL), "TYPE"),
    "more in the file than in memory": (usual(3, p_memsz=99), "CORRUPT"),
    "bytes, but no memory": (usual(3, p_memsz=0), "CORRUPT"),
    "bytes behind the end": (usual(3, p_offset=401), "CORRUPT"),
    "no bytes, behind the end": (usual(3, p_offset=501, p_filesz=0), "CORRUPT"),
    "an offset that wraps": (usual(3, p_offset=2**64 - 100), "CORRUPT"),
    "an offset that wraps further": (usual(3, p_offset=2**64 - 50), "CORRUPT"),
    "a size that wraps": (usual(3, p_filesz=2**64 - 300, p_memsz=2**64 - 300), "CORRUPT"),
    "the kernel's code": (usual(1, p_vaddr=0x80200000), "RANGE"),
    "page zero": (usual(1, p_vaddr=0), "RANGE"),
    "a byte below": (usual(1, p_vaddr=START - 1), "RANGE"),
    "the end of memory": (usual(3, p_vaddr=END), "RANGE"),
    "a byte above": (usual(3, p_memsz=END - START - 2 * PAGE + 1), "RANGE"),
    "the kernel's half": (usual(3, p_vaddr=2**64 - PAGE, p_filesz=1, p_memsz=1), "RANGE"),
    "an end that wraps": (usual(3, p_memsz=2**64 - START), "RANGE"),
    "memory without end": (usual(3, p_memsz=2**64 - 1), "RANGE"),
    "writable code": (usual(1, p_flags=R | W | X), "PERMISSION"),
    "writable code to be executed only": (usual(1, p_flags=W | X), "PERMISSION"),
    "not readable code": (usual(1, p_flags=X), "PERMISSION"),
    "to be written only": (usual(3, p_flags=W), "PERMISSION"),
    "no permission": (usual(2, p_flags=0), "PERMISSION"),
    "twice the same": (program([code(), code()]), "CORRUPT"),
    "one on the other": (usual(1, p_memsz=PAGE + 1), "CORRUPT"),
    "one inside of the other": (usual(2, p_vaddr=START + 3 * PAGE), "CORRUPT"),
    "out of order": (program([variables(), code()]), "CORRUPT"),
    "two on a page": (usual(2, p_vaddr=START + 200), "ALIGN"),
    "two on a page, at its ends": (usual(2, p_vaddr=START + PAGE - 1), "ALIGN"),
    "two on a page, the first with its last byte": (
        program([code(), constants(size=PAGE + 1, p_filesz=0),
                 variables(address=START + 3 * PAGE - 1)]), "ALIGN"),
    "an odd entry": (program(e_entry=START + 1), "ALIGN"),
    "an entry below": (program(e_entry=START - 2), "RANGE"),
    "an entry behind the code": (program(e_entry=START + 200), "RANGE"),
    "an entry among constants": (program(e_entry=START + PAGE), "RANGE"),
    "an entry among variables": (program(e_entry=START + 2 * PAGE), "RANGE"),
    "an entry at zero": (program(e_entry=0), "RANGE"),
    "no code": (usual(1, p_flags=R), "RANGE"),
}


# -- files made by the compiler -------------------------------------------------

C_PROGRAM = r"""
const char *volatile words[] = { "one", "two" };
static const int table[] = { 3, 1, 4, 1, 5 };
int counter = 42;
static volatile char room[9000];

void _start(void)
{
    for (volatile int i = 0; i < 5; i++)
        room[table[i] * 1000] = words[i % 2][0] + counter;
    for (;;)
        ;
}
"""
LINK_SCRIPT = """
ENTRY(_start)
PHDRS { code PT_LOAD FLAGS(5); constants PT_LOAD FLAGS(4); variables PT_LOAD FLAGS(6); }
SECTIONS {
    . = %s;
    .text : { *(.text*) } :code
    . = ALIGN(4096);
    .rodata : { *(.rodata*) *(.srodata*) } :constants
    . = ALIGN(4096);
    .data : { *(.data*) *(.sdata*) } :variables
    .bss : { *(.sbss*) *(.bss*) *(COMMON) } :variables
}
"""
GCC = ["riscv64-unknown-elf-gcc", "-O2", "-ffreestanding", "-nostdlib", "-mcmodel=medany"]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A program of our programs' shape: compiled(name, *flags, start=address)."""
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "program.c").write_text(C_PROGRAM)

    def get(name, *flags, start=hex(START)):
        (folder / "program.ld").write_text(LINK_SCRIPT % start)
        done = rvos.run(*GCC, *flags, "-o", folder / name, folder / "program.c",
                        f"-Wl,-T,{folder}/program.ld,-z,max-page-size=4096")
        assert done.returncode == 0, done.stdout
        return folder / name
    return get


def as_readelf_says(file):
    """The segments by readelf, in the fuzzer's notation."""
    done = rvos.run("riscv64-unknown-elf-readelf", "-lW", file)
    assert done.returncode == 0, done.stdout
    rows = re.findall(r"^  LOAD +(\S+) (\S+) \S+ (\S+) (\S+) (R)(W| )?(E| ) ", done.stdout, re.M)
    assert rows, done.stdout
    return [f"{int(address, 16):#x}+{int(memory, 16):#x}:{int(offset, 16):#x}+{int(size, 16):#x}"
            f":r{'w' if w == 'W' else '-'}{'x' if x == 'E' else '-'}"
            for offset, address, size, memory, _, w, x in rows]


# -- the programs that read them ------------------------------------------------

@pytest.fixture(scope="session")
def reader(source, tmp_path_factory):
    """The fuzzer by one compiler, built once."""
    built = {}

    def get(compiler):
        if compiler not in built:
            folder = tmp_path_factory.mktemp(f"elf-{compiler}")
            built[compiler] = hosted.build(compiler, "elf", SOURCES, source, folder)
        return built[compiler]
    return get


@pytest.fixture(scope="session")
def errors(source):
    """The names of errors by their numbers, as the fuzzer prints these."""
    text = (source / "include/rvos/errors.h").read_text()
    names = {number: name for name, number in re.findall(r"\bERR_(\w+) = (\d+),", text)}
    return names | {"0": "OK"}


@pytest.fixture(scope="session")
def seeds(tmp_path_factory, compiled):
    """Files to begin with when things are to be broken."""
    folder = tmp_path_factory.mktemp("programs")
    for number, (blob, _) in enumerate(SOUND.values()):
        (folder / f"{number:02}.elf").write_bytes(blob)
    real = [compiled("plain"), compiled("stripped", "-s"), compiled("debug", "-g")]
    return [*sorted(folder.iterdir()), *real * 4]


def verdicts(program, files):
    done = rvos.run(program, "--again", *files)
    assert done.returncode == 0, done.stdout
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("compiler", COMPILERS)
def test_each_fault_alone_has_its_error(compiler, reader, errors, tmp_path):
    for name, (blob, _) in WRONG.items():
        (tmp_path / name).write_bytes(blob)
    said = verdicts(reader(compiler), [tmp_path / name for name in WRONG])
    assert {name: errors[verdict[0]] for name, verdict in zip(WRONG, said)} == \
        {name: error for name, (_, error) in WRONG.items()}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_sound_programs_are_read(compiler, reader, errors, tmp_path):
    for name, (blob, _) in SOUND.items():
        (tmp_path / name).write_bytes(blob)
    said = verdicts(reader(compiler), [tmp_path / name for name in SOUND])
    assert {name: (errors[first], len(rest)) for name, (first, *rest) in zip(SOUND, said)} == \
        {name: ("OK", count) for name, (_, count) in SOUND.items()}


@pytest.mark.parametrize("flags", [["-march=rv64gc", "-mabi=lp64d"], ["-march=rv64ima", "-mabi=lp64"],
                                   ["-g"], ["-s"]])
def test_what_the_compiler_makes_is_read_as_readelf_reads_it(flags, reader, compiled, errors):
    file = compiled("-".join(flags), *flags)
    (error, *segments), = verdicts(reader(COMPILERS[0]), [file])
    assert errors[error] == "OK"
    assert segments == as_readelf_says(file)
    assert len(segments) == 3


def test_what_is_no_program_of_ours_is_refused(reader, compiled, errors):
    files = {
        compiled("kernel", start="0x80200000"): "RANGE",
        compiled("object", "-c"): "TYPE",
        compiled("narrow", "-march=rv32i", "-mabi=ilp32", start="0x10000"): "MACHINE",
        Path(reader(COMPILERS[0])): "MACHINE",      # for this computer
    }
    said = verdicts(reader(COMPILERS[0]), files)
    assert [errors[first] for first, *_ in said] == list(files.values())


def fuzz(program, first, count, folder, seeds, seed=SEED):
    return rvos.run(program, seed, first, count, folder, *seeds, deadline=60 + count // 1000)


@pytest.mark.fuzz
@pytest.mark.long(5)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_no_broken_program_leads_the_reader_astray(compiler, reader, seeds):
    half = COUNT // len(COMPILERS)
    done = fuzz(reader(compiler), COMPILERS.index(compiler) * half, half, "build", seeds)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif("RVOS_PROGRAM" not in os.environ, reason="make fuzz PROGRAM=file")
@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_case_again(compiler, reader):
    done = rvos.run(reader(compiler), "--again", os.environ["RVOS_PROGRAM"])
    assert done.returncode == 0, done.stdout


MISTAKES = {    # what to replace, and by what
    "a short file": ("size < sizeof header", "size < 60"),
    "any magic number": ('memcmp(ident, "\\177ELF", 4) != 0', "ident[0] != 127"),
    "any class": ("ident[EI_CLASS] != ELFCLASS64 ||", ""),
    "any byte order": ("ident[EI_DATA] != ELFDATA2LSB || ", ""),
    "any system": (" || ident[EI_OSABI] != 0", ""),
    "any version": ("ident[EI_VERSION] != EV_CURRENT || ", ""),
    "any ABI": (" || ident[EI_ABIVERSION] != 0", ""),
    "any processor": ("machine != EM_RISCV || ", ""),
    "any number of registers": (" || (flags & EF_RISCV_RVE) != 0", ""),
    "any order of memory": ("(flags & EF_RISCV_TSO) != 0 ||", ""),
    "any floats": (" ||\n        (flags & EF_RISCV_FLOAT_ABI) == EF_RISCV_FLOAT_ABI_QUAD", ""),
    "floats that are not so many": ("== EF_RISCV_FLOAT_ABI_QUAD", "!= 0"),
    "flags that nobody knows": ("(flags & ~EF_RISCV_KNOWN) != 0", "false"),
    "any size of headers": ("header->e_ehsize != sizeof *header ||", ""),
    "any size of entries": ("header->e_phentsize != entry ||", ""),
    "a table in the header": ("header->e_phoff < sizeof *header || ", ""),
    "a table anywhere": ("header->e_phoff > size ||", ""),
    "a table too long": ("> (size - header->e_phoff) / entry", "> size / entry"),
    "a table without end": ("header->e_phnum > ELF_HEADERS", "false"),
    "a version of the file": ("header->e_version != EV_CURRENT", "false"),
    "any type": ("header->e_type != ET_EXEC", "false"),
    "libraries": ("p.p_type == PT_DYNAMIC || ", ""),
    "a dynamic linker": (" || p.p_type == PT_INTERP", ""),
    "more in the file than in memory": ("p->p_filesz > p->p_memsz", "false"),
    "segments without memory": ("p->p_memsz == 0", "false"),
    "an offset behind the end": ("p->p_offset > size || ", ""),
    "bytes that are not there": (" || p->p_filesz > size - p->p_offset", ""),
    "an offset that wraps": ("p->p_offset > size || p->p_filesz > size - p->p_offset",
                             "p->p_offset + p->p_filesz > size"),
    "memory of the kernel": ("p->p_vaddr < USER_START || ", ""),
    "memory of the stack": ("p->p_vaddr >= PROGRAM_END ||", ""),
    "memory without end": ("p->p_memsz > PROGRAM_END - p->p_vaddr", "false"),
    "memory that wraps": ("p->p_memsz > PROGRAM_END - p->p_vaddr",
                          "p->p_vaddr + p->p_memsz > PROGRAM_END"),
    "a byte too far": ("p->p_memsz > PROGRAM_END", "p->p_memsz - 1 > PROGRAM_END"),
    "not readable": ("(p->p_flags & PF_R) == 0 || ", ""),
    "writable code": (" || (writable && executable)", ""),
    "overlaps": ("if (p->p_vaddr < end)", "if (p->p_vaddr + PAGE_SIZE < end)"),
    "any order": ("if (p->p_vaddr < end)", "if (p->p_vaddr == end - 1)"),
    "two on a page": ("(end + PAGE_SIZE - 1) / PAGE_SIZE", "end / PAGE_SIZE"),
    "neighbours": ("(end + PAGE_SIZE - 1) / PAGE_SIZE", "(end / PAGE_SIZE + 1)"),
    "any number of segments": ("elf->count == ELF_SEGMENTS", "elf->count == 100"),
    "too few segments": ("elf->count == ELF_SEGMENTS", "elf->count == ELF_SEGMENTS - 1"),
    "no segment": ("elf->count == 0)\n        return ERR_ABSENT",
                   "false)\n        return ERR_ABSENT"),
    "an odd entry": ("entry % 2 != 0", "false"),
    "an entry anywhere": ("segment->executable && ", ""),
    "an entry behind the code": ("entry - segment->address < segment->memory", "true"),
    "an entry at the end": ("< segment->memory", "<= segment->memory"),
    "a second look": ("        memcpy(&p, from + i * sizeof p, sizeof p);\n",
                      "        memcpy(&p, from + i * sizeof p, sizeof p);\n"
                      "        memcpy(&p.p_filesz, from + i * sizeof p + 32, 8);\n"),
    "half a result": ("    if (error == OK)\n        *elf = found;", "    *elf = found;"),
    "sizes exchanged": (".memory = p->p_memsz", ".memory = p->p_filesz"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_broken_programs_find(mistake, source, reader, seeds, tmp_path):
    parts = Path(reader(COMPILERS[0])).parent
    spoilt = hosted.build_spoilt(("kernel/elf.c", *MISTAKES[mistake]), "elf", SOURCES, source,
                                 parts, tmp_path)
    done = fuzz(spoilt, 0, NUMBER_OF_MISTAKE_CASES, tmp_path, seeds, seed=1)
    assert done.returncode != 0
    case, = tmp_path.glob("elf-*.elf")
    assert f"make fuzz PROGRAM={case}" in done.stdout
    assert rvos.run(spoilt, "--again", case).returncode != 0
