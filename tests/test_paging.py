"""Page tables against a model on the host; the kernel's own map in machines of all sizes."""

import functools
import os
import re
import shlex

import pytest

import hosted
import measure
import rvos
from hosted import COMPILERS, EFFORT, SEED
from test_debug import debug

pytestmark = pytest.mark.chapter(6)

SOURCES = ["lib/base/error.c", "kernel/mm/page_print.c"]      # page.c is included by the program
PAGES = "kernel/mm/page.c"
PRINTED = "kernel/mm/page_print.c"
REQUESTS = 200_000


@pytest.fixture(scope="module")
def program(source, tmp_path_factory):
    """The program that tests page tables, built once for each compiler."""
    built = {}

    def get(compiler):
        if compiler not in built:
            folder = tmp_path_factory.mktemp(compiler)
            built[compiler] = hosted.build(compiler, "page", SOURCES, source, folder)
        return built[compiler]

    return get


@pytest.mark.long(30)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_page_tables_agree_with_their_model(compiler, program):
    done = rvos.run(program(compiler), SEED, int(REQUESTS * EFFORT), deadline=300 * EFFORT)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_largest_leaves_map_everything_without_a_table(program):
    done = rvos.run(program(COMPILERS[0]), SEED, 0, "everything")
    assert (done.returncode, done.stdout) == (0, "")


MISTAKES = {    # in page.c or page_print.c: what to replace, and by what
    "flags lost in a split": ("entries[i] = *pte + i", "entries[i] = (*pte & ~PTE_U) + i"),
    "a split that repeats a frame": ("i * leaf_size(level - 1) / 4", "i * leaf_size(level) / 4"),
    "a split with a hole": ("i < ENTRIES; i++)\n            entries[i]",
                            "i < ENTRIES - 1; i++)\n            entries[i]"),
    "a split that goes one level only": ("while ((*pte & PTE_V) != 0 && va.value",
                                         "if ((*pte & PTE_V) != 0 && va.value"),
    "a split that goes too far": ("va.value % leaf_size(level) != 0) {\n        if (frame",
                                  "level > 0) {\n        if (frame"),
    "no split at the start": ("error = split(table, va);", "error = OK;"),
    "no split at the end": ("error = split(table, vaddr(end));", "error = OK;"),
    "leaves too large for the frame": ("(va.value | pa.value)", "(va.value | pa.value % 1)"),
    "leaves too large for the page": ("(va.value | pa.value)", "(va.value % 1 | pa.value)"),
    "leaves too large for the rest": ("size < leaf_size(level))", "size == 0)"),
    "leaves too small at the end": ("size < leaf_size(level))", "size <= leaf_size(level))"),
    "leaves never of a GiB": ("int level = TOP;\n\n    while", "int level = TOP - 1;\n\n    while"),
    "nothing undone": ("(void)page_unmap(table, va, done);", "(void)done;"),
    "too much undone": ("page_unmap(table, va, done)", "page_unmap(table, va, size)"),
    "too little undone": ("page_unmap(table, va, done)",
                          "page_unmap(table, va, done - PAGE_SIZE)"),
    "tables of the lowest level forgotten": ("if (level > 1)", "if (level > 2)"),
    "tables of the top level forgotten": ("        frame_free(below, 1);\n        table",
                                          "        if (level < TOP)\n"
                                          "            frame_free(below, 1);\n        table"),
    "leaves taken for tables": ("(entries[i] & PTE_V) == 0 || is_leaf(entries[i]))\n",
                                "(entries[i] & PTE_V) == 0)\n"),
    "the kernel's tables freed": ("paddr_pointer(table->root), USER_START / GIB,",
                                  "paddr_pointer(table->root), 0,"),
    "the user's last GiB not freed": ("USER_END / GIB, TOP);", "USER_END / GIB - 1, TOP);"),
    "a root not freed": ("    frame_free(table->root, 1);\n", ""),
    "a table not counted when made": ("    table->tables++;\n    __atomic", "    __atomic"),
    "a table without a fence": ("__ATOMIC_RELEASE);\n    flush_all(table);",
                                "__ATOMIC_RELEASE);"),
    "a fence before the table": ("    table->tables++;\n    __atomic_store_n(pte, "
                                 "make_pte(below, 0), __ATOMIC_RELEASE);\n    flush_all(table);",
                                 "    table->tables++;\n    flush_all(table);\n    "
                                 "__atomic_store_n(pte, make_pte(below, 0), __ATOMIC_RELEASE);"),
    "the kernel's fences for one address space": ("    if (table == &kernel_table)\n",
                                                  "    if (false)\n"),
    "a table not counted when freed": ("below, 1);\n        table->tables--;", "below, 1);"),
    "a new table full of junk": ("FRAME_ZERO, &frame) != OK)\n                return",
                                 "0, &frame) != OK)\n                return"),
    "a new root full of junk": ("frame_alloc(1, FRAME_ZERO, &frame) != OK)\n        return",
                                "frame_alloc(1, 0, &frame) != OK)\n        return"),
    "a table with flags": ("make_pte(below, 0)", "make_pte(below, PTE_A)"),
    "an address as a pointer": ("const pte_t *kernel = paddr_pointer(kernel_table.root);",
                                "const pte_t *kernel = (void *)kernel_table.root.value;"),
    "a frame number of 32 bits": ("0xffffffffffful", "0xfffffffful"),
    "a leaf written over a table": ("*level <= wanted && (*pte & PTE_V) == 0",
                                    "*level <= wanted"),
    "a run of leaves over a table": ("size - done >= leaf && (*pte & PTE_V) == 0",
                                     "size - done >= leaf"),
    "a run of leaves out of the table": ("index_at(vaddr(va.value + done), level) != 0 &&", ""),
    "a run of leaves out of the range": ("size - done >= leaf &&", ""),
    "half pages": ("va.value % PAGE_SIZE != 0 || size % PAGE_SIZE != 0",
                   "va.value % PAGE_SIZE != 0"),
    "half frames": ("error == OK && pa.value % PAGE_SIZE != 0", "error == OK && false"),
    "nothing at all": ("size == 0 || va.value", "va.value"),
    "a range that wraps around": ("size > end - va.value", "va.value + size > end"),
    "a page too many": ("size > end - va.value", "size > end - va.value + PAGE_SIZE"),
    "a page behind the last": ("va.value >= end", "va.value > end + PAGE_SIZE"),
    "programs in the kernel's part": ("uint64_t first = all ? 0 : USER_START;",
                                      "uint64_t first = 0;"),
    "programs in the kernel's area": ("uint64_t end = all ? AREA_END : USER_END;",
                                      "uint64_t end = AREA_END;"),
    "frames that cannot be": ("size > PHYSICAL_END - pa.value", "false"),
    "a frame behind the last": ("pa.value > PHYSICAL_END ||", "false ||"),
    "an address with too many bits": ("va.value < AREA_END ? *find(table, va, &level) : 0",
                                      "*find(table, va, &level)"),
    "written and executed": ("kind == (PTE_R | PTE_W))",
                             "kind == (PTE_R | PTE_W) || kind == PTE_LEAF)"),
    "written and not read": ("kind == (PTE_R | PTE_W))",
                             "kind == (PTE_R | PTE_W) || kind == PTE_W)"),
    "flags that are none": ("(flags & ~(PTE_LEAF | PTE_U | global)) != 0",
                            "(flags | global) >> 10 != 0"),
    "a page of a program in all address spaces": ("table == &kernel_table ? PTE_G",
                                                  "table != NULL ? PTE_G"),
    "flags not looked at when protecting": ("enum error error = check_flags(table, flags);",
                                            "enum error error = OK;"),
    "what is there overwritten": ("!all_are(table, va, size, false)", "false"),
    "what is absent unmapped": ("!all_are(table, va, size, true)", "false"),
    "a step over a border": ("entry.size - va.value % entry.size", "entry.size"),
    "one look for all": ("while (va.value < end) {", "if (va.value < end) {"),
    "an offset forgotten": ("value + offset", "value + offset / 2"),
    "a size of one level": ("entry->size = leaf_size(level);", "entry->size = leaf_size(TOP);"),
    "pages not accessed yet": ("make_pte(to, flags | PTE_A | PTE_D);", "make_pte(to, flags);"),
    "protecting that clears": ("make_pte(pte_address(*pte), flags | PTE_A | PTE_D)",
                               "make_pte(pte_address(*pte), flags)"),
    "one frame for all leaves of a table": ("to.value += leaf;", ""),
    "mapping without a fence": ("flush(table, va, size);\n    return OK;\n}\n\n"
                                "static enum error split",
                                "return OK;\n}\n\nstatic enum error split"),
    "unmapping without a fence": ("flush(table, va, size);\n    return OK;\n}\n\n"
                                  "enum error page_unmap",
                                  "return OK;\n}\n\nenum error page_unmap"),
    "a fence before the change": ("    for (uint64_t at = va.value; at < end;) {",
                                  "    flush(table, va, size);\n    size = 0;\n"
                                  "    for (uint64_t at = va.value; at < end;) {"),
    "fences for the first page only": ("va.value += PAGE_SIZE)\n        __asm__",
                                       "va.value += size)\n        __asm__"),
    "the kernel's pages one by one": ("table == &kernel_table || size", "size"),
    "the kernel's area not shared": ("    entries[AREA_START / GIB] = "
                                     "kernel[AREA_START / GIB];\n", ""),
    "the kernel's last GiB not shared": ("i < USER_START / GIB; i++",
                                         "i < USER_START / GIB - 1; i++"),
    "a mode of its own": ("8ul << 60", "9ul << 60"),
    "an ASID out of place": ("SATP_ASID_SHIFT 44", "SATP_ASID_SHIFT 45"),
    "a root out of place": ("table->root.value / PAGE_SIZE;", "table->root.value;"),
    "the last stretch not printed": ("        now = (struct stretch){ at, e.address.value, e.size,"
                                     " e.flags };\n    }\n    print_stretch(&now);",
                                     "        now = (struct stretch){ at, e.address.value, e.size,"
                                     " e.flags };\n    }"),
    "stretches that only touch": (" &&\n            e.address.value == now.pa + now.size)", ")"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The source without line directives: functions in one piece."""
    folder = tmp_path_factory.mktemp("plain")
    done = rvos.run("tools/tangle", "--plain", "--out", folder)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_model_finds(mistake, plain, tmp_path):
    right, wrong = MISTAKES[mistake]
    file = PAGES if right in (plain / PAGES).read_text() else PRINTED
    spoilt = hosted.spoil(file, right, wrong, plain, tmp_path)
    program = hosted.build(COMPILERS[0], "page", SOURCES, spoilt, tmp_path)
    done = rvos.run(program, 1, REQUESTS // 10)
    assert done.returncode != 0


STRETCH = re.compile(r"^ +0x([0-9a-f]+) \.\. +0x([0-9a-f]+) +(\d+) KiB  ([-rwxug]{5})$", re.M)
TABLES = re.compile(r"^  (\d+) tables; the hardware knows (\d+) address spaces$", re.M)
QEMUS = re.compile(r"^([0-9a-f]{16}) ([0-9a-f]{16}) ([0-9a-f]{16}) ([-rwxugad]{7})\r?$", re.M)
PAGE = 4096
HOST_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
LARGE = ["8G"] if HOST_MEMORY > 10 << 30 else []


def printed(text):
    """The stretches that page_table_print has printed: (start, end, flags)."""
    found = []
    for start, end, kib, flags in STRETCH.findall(text):
        start, end = int(start, 16), int(end, 16)
        assert end - start == int(kib) * 1024
        found.append((start, end, flags))
    return found


def shown(boot, stage=6, mode="debug", mem="128M", smp=1):
    """What the demonstration of chapter 6 prints."""
    system = boot(rvos.image(stage, mode), mem=mem, smp=smp, arguments=["-append", "demo=6"])
    assert system.finish() == 0
    return system.log


def seen_by_qemu(boot, mode, mem):
    """(what the kernel prints, what QEMU finds in the tables behind satp)."""
    system = boot(rvos.image(6, mode, "standstill"), mem=mem, qmp=True)
    system.expect("standing still")
    system.ask("stop")
    said = system.ask("human-monitor-command", **{"command-line": "info mem"})
    rows = []
    for row in QEMUS.findall(said):     # QEMU starts afresh where the size of leaves changes
        va, pa, size = (int(number, 16) for number in row[:3])
        if rows and (va, pa, row[3]) == (rows[-1][0] + rows[-1][2], rows[-1][1] + rows[-1][2],
                                         rows[-1][3]):
            size += rows[-1][2]
            va, pa, *_ = rows.pop()
        rows.append((va, pa, size, row[3]))
    return system.log, rows


@pytest.mark.parametrize("mem", ["33M", "128M", *LARGE])
@pytest.mark.parametrize("mode", ["debug", "release"])
def test_qemu_sees_the_map_that_the_kernel_prints(mode, mem, boot):
    log, rows = seen_by_qemu(boot, mode, mem)
    assert all(va == pa for va, pa, _, _ in rows)
    assert all(flags.endswith("ad") for *_, flags in rows)
    assert [(va, va + size, flags[:5]) for va, _, size, flags in rows] == printed(log)
    assert len(rows) >= 8


def expected(symbols, memory_end):
    """Where the image begins, and the flags of each page from there to the end
    of memory."""
    borders = [("image_start", "r-x-g"), ("text_end", "r---g"), ("rodata_end", "rw--g"),
               ("boot_guard", None), ("boot_stack", "rw--g"), ("bss_end", "r---g"),
               ("image_end", "rw--g")]
    ends = [symbols[name] for name, _ in borders[1:]] + [memory_end]
    pages = []
    for (name, flags), end in zip(borders, ends):
        assert symbols[name] % PAGE == 0 and symbols[name] < end
        pages += [flags] * ((end - symbols[name]) // PAGE)
    return symbols["image_start"], pages


@pytest.mark.parametrize("mode", ["debug", "release"])
def test_every_page_of_the_image_has_the_permission_it_needs_and_no_more(mode, boot):
    stretches = printed(shown(boot, mode=mode))
    start, wanted = expected(measure.Build(6, mode).symbols, 0x88000000)
    got = [next((flags for first, end, flags in stretches if first <= page < end), None)
           for page in range(start, 0x88000000, PAGE)]
    assert got == wanted


@pytest.mark.parametrize("mem", ["32M", "128M", *LARGE])
def test_nothing_is_writable_and_executable_or_for_users(mem, stage, boot):
    stretches = printed(shown(boot, stage, mem=mem))
    assert [flags for _, _, flags in stretches if "x" in flags] == ["r-x-g"]
    assert {flags for _, _, flags in stretches} == {"r-x-g", "r---g", "rw--g"}


def test_page_zero_and_the_firmware_are_not_mapped(stage, boot):
    log = shown(boot, stage)
    size = int(re.search(r"Domain0 Region01 +: 0x0*80000000-0x0*(\w+) \(\)", log)[1], 16) + 1
    assert not [s for s in printed(log) if s[0] < PAGE]
    assert not [s for s in printed(log) if s[0] < size and s[1] > 0x80000000]
    assert [s for s in printed(log) if s[0] == size]


def test_a_large_machine_needs_about_as_many_tables_as_a_small_one(boot):
    counts = {mem: int(TABLES.search(shown(boot, mem=mem))[1])
              for mem in ("32M", "128M", "1000M", *LARGE)}
    assert max(counts.values()) <= 12
    assert max(counts.values()) - min(counts.values()) <= 2


MOST_INSTRUCTIONS = 400_000     # of a release build, from its first to its first work


@pytest.fixture(scope="module")
def instructions():
    """How many instructions a machine of this size takes to bring up the kernel."""
    def count(mem):
        return measure.value(f"stage6.release.count.boot.demo_show.{mem}")

    return functools.cache(count)


@pytest.mark.parametrize("mem", ["33M", "128M", "1000M", *LARGE])
def test_the_kernel_is_up_after_few_instructions(mem, instructions):
    assert 100_000 < instructions(mem) < MOST_INSTRUCTIONS


@pytest.mark.parametrize("mem", ["1000M", *LARGE])
def test_a_large_machine_takes_hardly_more_instructions_than_a_small_one(mem, instructions):
    assert instructions(mem) < instructions("128M") * 7 / 6


ODD = [("debug", "32772K", 1), ("release", "33M", 2), ("debug", "65540K", 3),
       ("release", "99M", 5), ("debug", "1000M", 6), ("release", "1000M", 7), ("debug", "1023M", 1),
       ("release", "1025M", 8), ("debug", "2049M", 4)]


@pytest.mark.parametrize("mode, mem, smp", ODD)
def test_machines_of_odd_sizes_have_all_their_memory_mapped(mode, mem, smp, boot):
    log = shown(boot, mode=mode, mem=mem, smp=smp)
    size = int(mem[:-1]) * {"K": 1 << 10, "M": 1 << 20}[mem[-1]]
    size += -size % (2 * PAGE)      # QEMU has rounded it up
    assert printed(log)[-1][1] == 0x80000000 + size
    assert int(TABLES.search(log)[2]) == 65536


@pytest.mark.parametrize("mode, mem, smp", ODD)
def test_the_self_tests_pass_on_machines_of_odd_sizes(mode, mem, smp, boot):
    system = boot(rvos.test_image(6, mode), mem=mem, smp=smp)
    assert system.finish() == 0
    assert system.log.count("selftest: paging_") == len(re.findall(
        r"selftest: paging_\w+ ok\n", system.log)) >= 5


REPORTS = {     # overlay: (what the kernel did, where, the sentence)
    "null-call": ("instruction page fault", "jumped to 0x0, a page that it may not execute",
                  "in page zero: a pointer was probably NULL"),
    "write-to-code": ("store page fault", "wrote to {image_start:#x}, a page that it may not write",
                      "in the kernel's code, which nobody may write"),
    "write-constant": ("store page fault", "wrote to {message:#x}, a page that it may not write",
                       "in the kernel's constants, which are only read"),
    "execute-data": ("instruction page fault",
                     "jumped to {code:#x}, a page that it may not execute",
                     "in the kernel's variables, which are not code"),
    "execute-frame": ("instruction page fault", "jumped to 0x",
                      "where the kernel reads and writes, but does not execute"),
    "execute-device": ("instruction page fault",
                       "jumped to 0x10000000, a page that it may not execute",
                       "where the kernel reads and writes, but does not execute"),
    "read-firmware": ("load page fault", "read from 0x80000000, a page that it may not read",
                      "in memory that the firmware has reserved"),
    "read-users": ("load page fault", "read from 0x2000000000, a page that it may not read",
                   "where user programs live"),
    "write-symbols": ("store page fault", "wrote to {bss_end:#x}, a page that it may not write",
                      "in the kernel's symbols, which are only read"),
    "deep-recursion": ("store page fault", "wrote to 0x", "in the guard page below the boot stack, "
                       "which has run over"),
}


def symbols_of(image):
    rows = (row.split() for row in rvos.run(measure.builds.CROSS + "nm", image).stdout.splitlines())
    return {row[2]: int(row[0], 16) for row in rows if len(row) == 3}


@pytest.mark.parametrize("mode", ["debug", "release"])
@pytest.mark.parametrize("overlay", REPORTS)
def test_a_report_names_the_place(overlay, mode, boot):
    image = rvos.image(6, mode, overlay)
    system = boot(image)
    assert system.finish() == 2
    cause, did, place = REPORTS[overlay]
    did = did.format_map(symbols_of(image))
    assert f"exception: {cause}\n  the kernel {did}" in system.log
    assert f"\n  that is {place}\n" in system.log
    assert "panic: nobody could handle this exception\n" in system.log


def test_a_stack_that_runs_over_hits_the_guard_and_nothing_below(boot):
    image = rvos.image(6, "debug", "deep-recursion")
    system = boot(image)
    assert system.finish() == 2
    symbols = symbols_of(image)
    assert symbols["boot_stack"] - symbols["boot_guard"] == PAGE
    at = int(re.search(r"the kernel wrote to 0x([0-9a-f]+),", system.log)[1], 16)
    assert symbols["boot_guard"] <= at < symbols["boot_stack"]


def stretches_of_gdb(said, marker):
    """The lines that gdb has printed behind a marker and before the next."""
    return [line for line in said.split(f"[{marker}]\n")[1].split("[")[0].splitlines()]


def test_rv_map_prints_what_the_kernel_prints():
    said = debug("break power_off", "continue", "echo [satp]\\n", "rv-map", "echo [name]\\n",
                 "rv-map kernel_table", "echo [pointer]\\n", "rv-map &kernel_table",
                 "echo [console]\\n", "rv-console", "echo [end]\\n", stage=6)
    kernels = [line for line in stretches_of_gdb(said, "console") if STRETCH.match(line)]
    assert len(kernels) >= 8
    for marker in ("satp", "name", "pointer"):
        assert stretches_of_gdb(said, marker) == kernels, marker


def test_rv_map_prints_other_trees_and_what_is_not_one_to_one():
    """A self-test maps two MiB of frames from 0x40000000 for users and cuts a hole."""
    flags = map(shlex.quote, ("-ex", "break page_protect", "-ex", "continue", "-ex",
                              "rv-map *table", "-ex", "rv-map table"))
    said = rvos.run("tools/debug", rvos.test_image(6),
                    GDB_FLAGS="-batch " + " ".join(flags)).stdout
    hole = ("   0x2000000000 ..  0x2000100000     1024 KiB  rw-u- -> 0x40000000\n"
            "   0x2000101000 ..  0x2000200000     1020 KiB  rw-u- -> 0x40101000\n")
    assert said.count(hole) == 2


def test_rv_map_leaves_the_debugger_as_it_was():
    said = debug("break demo_show", "continue", "x/gx 0", "rv-map", "x/gx 0", stage=6)
    before, after = re.split(r"^       0x100000 .*", said, maxsplit=1, flags=re.M)
    assert "Cannot access memory at address 0x0\n" in before
    assert "Cannot access memory at address 0x0\n" in after


@pytest.mark.parametrize("argument, complaint", [
    ("", "0x0 names no table of Sv39"), ("3", "0x3 names no table of Sv39"),
    ("sesame", 'No symbol "sesame"'), ("boot_info", "no member named root"),
])
def test_rv_map_says_what_is_no_table(argument, complaint):
    said = debug("break kmain", "continue", f"rv-map {argument}", stage=6)
    assert complaint in said
    assert "Traceback" not in said


def test_rv_map_is_listed_among_the_commands():
    assert re.search(r"^rv-map +\S", debug("help rvos", stage=6), re.M)
