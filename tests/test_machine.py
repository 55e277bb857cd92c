"""What the kernel makes of the device tree: on the host, and on machines that
QEMU describes or that a test describes for it."""

import functools
import os
import re
from pathlib import Path

import pytest

import builds
import hosted
import rvos
import trees
from trees import board, chosen, device, hart, harts, memory, plic, soc, usual

pytestmark = pytest.mark.chapter(3)

SOURCES = ["kernel/fdt.c", "kernel/machine.c", "lib/base/string.c", "lib/base/error.c"]
COUNTED = ["-fsanitize-coverage=trace-pc"]
MIB = 1 << 20
INCOMPLETE = "the machine lacks what is needed"
HOST_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# -- on the host ----------------------------------------------------------------

@pytest.fixture(scope="session")
def reader(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("machine")
    return hosted.build("gcc", "machine", SOURCES, source, folder, COUNTED)


def read_with(program, folder, tree, *limit, boot=0):
    """What machine_read makes of a tree or blob, as {kind: [what is said of one]}."""
    file = folder / "tree.dtb"
    file.write_bytes(trees.write(tree) if isinstance(tree, trees.Node) else tree)
    done = rvos.run(program, file, boot, *limit)
    assert done.returncode == 0, done.stdout
    found = {kind: [] for kind in ("memory", "reserved", "hart", "virtio")}
    for line in done.stdout.split("\n"):
        kind, _, rest = line.partition(" ")
        found.setdefault(kind, []).append(rest)
    return found


@pytest.fixture
def read(reader, tmp_path):
    return functools.partial(read_with, reader, tmp_path)


def contexts(found):
    """{hart: its context, or None}."""
    return {int(number): None if context == "none" else int(context)
            for number, context in map(str.split, found["hart"])}


def ranges(*pairs):
    return [f"{start:#x} {size:#x}" for start, size in pairs]


def registers(start, size=0x100, interrupt=0):
    return [f"{start:#x} {size:#x} {interrupt}"]


NONE = ["0 0 0"]


def test_everything_is_found(read):
    found = read(usual(chosen("hello world")))
    del found["steps"]
    assert found == {
        "error": ["no error"], "model": ["a board"], "arguments": ["hello world"],
        "memory": ranges((0x80000000, 128 * MIB)), "reserved": [], "hart": ["0 1", "1 3"],
        "virtio": [], "uart": registers(0x10000000, interrupt=10),
        "plic": registers(0xc000000, 0x600000), "clint": NONE, "finisher": NONE,
        "clock": ["10000000"], "left_out": ["0"], "": [""]}


@pytest.mark.parametrize("mem", ["32M", "33M", "1000M", "3G"])
@pytest.mark.parametrize("smp", range(1, 9))
def test_qemus_trees_say_what_qemu_was_asked_for(mem, smp, read):
    found = read(trees.qemu("-m", mem, "-smp", str(smp)))
    assert found["memory"] == ranges((0x80000000, megabytes(mem) * MIB))
    assert contexts(found) == {number: 2 * number + 1 for number in range(smp)}
    assert found["virtio"] == [
        f"{0x10000000 + 4096 * n:#x} 0x1000 {n}" for n in range(1, 9)]
    assert found["finisher"] == registers(0x100000, 0x1000)


def megabytes(mem):
    return int(mem[:-1]) * {"M": 1, "G": 1024}[mem[-1]]


def test_memory_in_several_pieces(read):
    found = read(board(memory(4096, 8192, 1 << 40, 1 << 41), memory(3, 4), memory(0, 0),
                       memory(5, 6, status="disabled"), memory(7, 8, status="okay"),
                       memory(9, 1, status="ok"), harts(hart(0))))
    assert found["memory"] == ranges((4096, 8192), (1 << 40, 1 << 41), (3, 4), (7, 8), (9, 1))


@pytest.mark.parametrize("size", [4095, 4096, 1 << 63, (1 << 64) - 1])
def test_a_range_is_cut_where_addresses_end(size, read):
    start = (1 << 64) - 4096
    found = read(trees.write(board(memory(start, size, 1, 2)), [(start, size), (3, 4)]))
    assert found["memory"] == ranges((start, 4095), (1, 2))
    assert found["reserved"] == ranges((start, 4095), (3, 4))


def test_what_does_not_fit_is_counted(read):
    found = read(board(memory(*range(1, 81)), harts(*map(hart, range(70))),
                       soc(*trees.slots(40))))
    assert found["left_out"] == [str(40 - 16 + 70 - 64 + 40 - 32)]
    assert len(found["memory"]), len(found["virtio"]) == (16, 32)
    assert [line.split()[0] for line in found["hart"]] == list(map(str, range(64)))


@pytest.mark.parametrize("tree", [board(harts(hart(0))), board(memory(0, 0), harts(hart(0))),
                                  board(memory(1, 2)), board(),
                                  board(memory(1, 2), harts(hart(0, status="disabled")))])
def test_a_machine_without_memory_or_harts_is_an_error(tree, read):
    assert read(tree)["error"] == [INCOMPLETE]


@pytest.mark.parametrize("blob", [trees.write(usual())[:-1], trees.write(trees.nest(17)),
                                  bytes(64)])
def test_a_machine_whose_tree_cannot_be_opened_is_empty(blob, read):
    found = read(blob)
    del found["steps"]
    assert found.pop("error") == ["the data is malformed"]
    assert found == {
        "model": ["unknown"], "arguments": [""], "memory": [], "reserved": [], "hart": [],
        "virtio": [], "uart": NONE, "plic": NONE, "clint": NONE, "finisher": NONE,
        "clock": ["0"], "left_out": ["0"], "": [""]}


def header(field, number):
    """A sound tree, but for one field of its header."""
    blob = bytearray(trees.write(usual()))
    blob[field:field + 4] = number.to_bytes(4, "big")
    return bytes(blob)


@pytest.mark.parametrize("blob, said", {
    "magic": (header(0, 0xd00dfeee), "the data is malformed"),
    "little-endian": (header(0, 0xedfe0dd0), "the data is malformed"),
    "too long": (header(4, 1 << 20), "the data is malformed"),
    "version 16": (header(20, 16), "the data has a version that we cannot read"),
    "version 18, like 17": (header(20, 18), "no error"),
    "version 18, not like 17": (header(24, 18), "the data has a version that we cannot read"),
    "structure outside": (header(8, 0xfffffff0), "the data is malformed"),
    "strings outside": (header(12, 0xfffffff0), "the data is malformed"),
    "nothing": (b"", "the data is malformed"),
}.values())
def test_a_wrong_header_has_its_error(blob, said, read):
    assert read(blob)["error"] == [said]


def test_no_more_is_read_than_the_limit_allows(read):
    blob = trees.write(usual())
    assert read(blob, len(blob))["error"] == ["no error"]
    assert read(blob, len(blob) - 1)["error"] == ["the data is malformed"]
    assert read(blob + b"rest", len(blob) + 4)["error"] == ["no error"]


def test_a_disabled_hart_is_none(read):
    found = read(board(memory(1, 2), harts(hart(0), hart(1, status="disabled"),
                                           hart(2, status="fail"), hart(3, status="okay"))))
    assert [line.split()[0] for line in found["hart"]] == ["0", "3"]


@pytest.mark.parametrize("status", ["disabled", "fail-sss", ""])
def test_what_is_inside_of_something_disabled_is_not_there(status, read):
    tree = board(soc(device("ns16550a", 5), status="disabled"), soc(device("ns16550a", 7)))
    assert read(tree)["uart"] == registers(7)


def test_machines_of_two_nodes_are_seen_whole(read):
    found = read(trees.qemu("-smp", "4", "-m", "256M", *trees.two_nodes("0-1", "2-3", "128M")))
    assert found["memory"] == ranges((0x80000000, 128 * MIB), (0x88000000, 128 * MIB))
    assert list(contexts(found)) == [0, 1, 2, 3]


def test_a_disabled_hart_changes_no_other(read):
    found = read(board(memory(1, 2), harts(hart(0), hart(1, status="disabled"), hart(2)),
                       soc(plic(0, 1, 2))))
    assert contexts(found) == {0: 1, 2: 5}


def test_a_hart_that_does_not_fit_changes_no_other(read):
    found = read(board(memory(1, 2), harts(*map(hart, range(66))), soc(plic(*range(66)))))
    assert contexts(found) == {number: 2 * number + 1 for number in range(64)}


def test_contexts_are_found_whether_the_plic_is_before_or_behind_the_harts(read):
    for parts in ([harts(hart(0), hart(1)), soc(plic(1, 0))],
                  [soc(plic(1, 0)), harts(hart(0), hart(1))]):
        assert contexts(read(board(memory(1, 2), *parts))) == {0: 3, 1: 1}


@pytest.mark.parametrize("kind", ["sifive,plic-1.0.0", "riscv,plic0"])
def test_contexts_are_found_by_every_name_of_the_plic(kind, read):
    found = read(board(memory(1, 2), harts(hart(0)), soc(plic(0, kind=[kind]))))
    assert found["plic"] != NONE
    assert contexts(found) == {0: 1}


def test_a_disabled_plic_has_no_contexts(read):
    disabled = plic(1, 0).set(status="disabled")
    found = read(board(memory(1, 2), harts(hart(0), hart(1)), soc(plic(0, 1), disabled)))
    assert contexts(found) == {0: 1, 1: 3}


def test_without_a_plic_no_hart_has_a_context(read):
    assert contexts(read(board(memory(1, 2), harts(hart(0), hart(1))))) == {0: None, 1: None}


PLICS = [0xc000000, 0xd000000, 0xe000000]


def several_plics(*plics):
    """Three harts, and PLICs that reach these of them, before and behind the harts."""
    nodes = [plic(*which).set(reg=[0, start, 0, 0x600000]) for start, which in zip(PLICS, plics)]
    parts = [harts(*map(hart, range(3))), soc(*nodes)]
    return [board(memory(1, 2), *parts), board(memory(1, 2), *reversed(parts))]


@pytest.mark.parametrize("plics, boot, used, known", [
    ([[0, 1], [2]], 0, 0, {0: 1, 1: 3, 2: None}),
    ([[0, 1], [2]], 1, 0, {0: 1, 1: 3, 2: None}),
    ([[0, 1], [2]], 2, 1, {0: None, 1: None, 2: 1}),
    ([[1], [1, 0], [0, 1, 2]], 0, 1, {0: 3, 1: 1, 2: None}),
    ([[1], [1, 0], [0, 1, 2]], 2, 2, {0: 1, 1: 3, 2: 5}),
    ([[], [1], [0, 2]], 0, 2, {0: 1, 1: None, 2: 3}),
    ([[1], [1, 2]], 0, 0, {0: None, 1: 1, 2: None}),
    ([[1], [0, 2]], 77, 0, {0: None, 1: 1, 2: None}),
    ([[0, 1, 2, 0]], 0, 0, {0: 1, 1: 3, 2: 5})])
def test_the_plic_is_the_first_that_reaches_the_hart_that_boots(plics, boot, used, known, read):
    for tree in several_plics(*plics):
        found = read(tree, boot=boot)
        assert found["plic"] == registers(PLICS[used], 0x600000)
        assert contexts(found) == known
        assert found["left_out"] == ["0"]


@pytest.mark.parametrize("change", [{"status": "disabled"}, {"reg": [1]}, {"compatible": "x"},
                                    {"interrupts-extended": [16, 11, 16, 0xffffffff]},
                                    {"interrupts-extended": [16]}])
def test_a_plic_that_cannot_be_used_is_not_the_one_that_boots(change, read):
    tree = several_plics([0], [0])[0]
    tree["soc/device@c000000"].set(**change)
    assert read(tree)["plic"] == registers(PLICS[1], 0x600000)


def test_a_hart_whose_controller_has_no_name_has_no_context(read):
    nameless = hart(1)
    del nameless["interrupt-controller"].properties["phandle"]
    wired = plic(0).set(**{"interrupts-extended": [0, 9, 16, 9]})
    found = read(board(memory(1, 2), harts(hart(0), nameless), soc(wired)), boot=1)
    assert contexts(found) == {0: 1, 1: None}


def test_plics_that_do_not_fit_are_counted(read):
    plics = [plic(1).set(reg=[0, 0xc000000 + n, 0, 16]) for n in range(8)]
    found = read(board(memory(1, 2), harts(hart(0)), soc(*plics, plic(0), plic(0))))
    assert (found["left_out"], found["plic"]) == (["2"], registers(0xc000000, 16))


def test_memory_that_is_taken_stands_in_two_places(read):
    tree = usual(trees.reserved_memory(trees.Node("a", {"reg": [0, 16, 0, 32, 1, 0, 0, 64]}),
                                       trees.Node("b", {"reg": [0, 1, 0, 2],
                                                        "status": "disabled"}),
                                       trees.Node("c", {}, trees.Node("d", {"reg": [7, 7, 7]}))),
                 trees.Node("later", {"#size-cells": 1}, trees.Node("e", {"reg": [0, 8, 8]})))
    assert read(trees.write(tree, [(1 << 40, 4096), (5, 0)]))["reserved"] == \
        ranges((16, 32), (1 << 32, 64), (1 << 40, 4096))


def test_what_is_behind_the_reserved_memory_is_not_reserved(read):
    tree = usual(trees.reserved_memory(), trees.Node(
        "bus", {"status": "disabled", "#size-cells": 1}, trees.Node("d", {"reg": [0, 8, 8]})))
    assert read(tree)["reserved"] == []


@pytest.mark.parametrize("kind, what", [
    ("ns16550a", "uart"), ("riscv,plic0", "plic"), ("sifive,plic-1.0.0", "plic"),
    ("sifive,clint0", "clint"), ("riscv,clint0", "clint"), ("sifive,test0", "finisher"),
    ("sifive,test1", "finisher")])
@pytest.mark.parametrize("names", [["{}"], ["x", "{}"], ["{}", "", "x"]])
def test_a_device_is_known_by_any_of_its_names(kind, what, names, read):
    tree = soc(device([name.format(kind) for name in names], 0x5000, interrupts=3))
    assert read(board(tree))[what] == registers(0x5000, interrupt=3)


@pytest.mark.parametrize("node", [
    soc(device("ns16550", 1)), soc(device("ns16550ab", 1)), soc(device(b"ns16550a", 1)),
    soc(device("ns16550a", 1, status="disabled")), soc(trees.Node("u", {"compatible": "ns16550a"})),
    soc(device("ns16550a", 1), ranges=[0, 0, 0, 0, 1, 0, 1, 0]),
    trees.Node("soc", {"#size-cells": 2}, device("ns16550a", 1)),
    soc(trees.Node("bus", {}, device("ns16550a", 1))),
    soc(trees.Node("u", {"compatible": "ns16550a", "reg": [0, 1, 0]}))])
def test_a_serial_port_that_cannot_be_used_is_none(node, read):
    assert read(board(node))["uart"] == NONE


def test_the_first_serial_port_is_taken(read):
    found = read(board(soc(device("ns16550a", 5, status="disabled"), device("ns16550a", 7),
                           device("ns16550a", 3))))
    assert found["uart"] == registers(7)


@pytest.mark.parametrize("cells, reg", [
    ({"#address-cells": 1, "#size-cells": 1}, [0x5000, 0x100]),
    ({"#address-cells": 2, "#size-cells": 2}, [0, 0x5000, 0, 0x100]),
    ({"#address-cells": 1, "#size-cells": 2}, [0x5000, 0, 0x100]),
    ({}, [0, 0x5000, 0x100])])
def test_addresses_have_as_many_cells_as_the_parent_says(cells, reg, read):
    bus = trees.Node("bus", {"ranges": b"", **cells}, trees.Node("u", {
        "compatible": "ns16550a", "reg": reg, "#address-cells": 3, "#size-cells": 0}))
    assert read(board(bus))["uart"] == registers(0x5000)


def test_slots_are_in_the_order_of_their_addresses(read):
    order = [5, 1, 4, 2, 8, 3]
    found = read(board(soc(*(device("virtio,mmio", 0x1000 * n, 0x200, interrupts=n)
                             for n in order))))
    assert found["virtio"] == [f"{0x1000 * n:#x} 0x200 {n}" for n in sorted(order)]


@pytest.mark.parametrize("where", ["cpus", "cpu@0"])
def test_the_clock_is_at_the_harts_or_above_them(where, read):
    rate = {"timebase-frequency": 20_000_000}
    node = harts(hart(0, **rate if where == "cpu@0" else {}))
    del node.properties["timebase-frequency"]
    if where == "cpus":
        node.set(**rate)
    assert read(board(memory(1, 2), node))["clock"] == ["20000000"]


@pytest.mark.parametrize("root, model, arguments", [
    (board(), "a board", ""), (trees.Node(), "unknown", ""),
    (board(model=b"not ended"), "unknown", ""), (board(model=b""), "unknown", ""),
    (board(chosen(b"not ended")), "a board", ""), (board(chosen("")), "a board", ""),
    (board(chosen(["one", "two"])), "a board", "one"),
    (board(chosen("x" * 5000)), "a board", "x" * 5000),
    (board(soc(chosen("deeper"))), "a board", "")])
def test_strings_are_taken_whole_or_not_at_all(root, model, arguments, read):
    found = read(root)
    assert (found["model"], found["arguments"]) == ([model], [arguments])


# -- how long it takes ----------------------------------------------------------

@pytest.mark.parametrize("kind", trees.MANY)
def test_a_tree_twice_as_large_takes_no_more_than_twice_the_steps(kind, read):
    found = [read(trees.many(kind, count)) for count in (200, 400, 800)]
    assert {one["error"][0] for one in found} <= {"no error", INCOMPLETE}
    first, second, third = (int(one["steps"][0]) for one in found)
    assert 0 < third - second < 2.2 * (second - first)


# -- errors ---------------------------------------------------------------------

def codes(source):
    """The codes of enum error and their numbers."""
    text = (source / "include/rvos/errors.h").read_text()
    return {name: int(number)
            for name, number in re.findall(r"^\s*(OK|ERR_\w+) = (\d+),", text, re.M)}


def sentences(source, folder):
    """The sentence for each code, and for one that does not exist."""
    program = folder / "sentences"
    main = folder / "sentences.c"
    main.write_text('#include "rvos/errors.h"\n#include <stdio.h>\n#include <stdlib.h>\n'
                    "int main(int n, char **a) { for (int i = 1; i < n; i++)\n"
                    "    puts(error_text((enum error)atoi(a[i]))); }\n")
    done = rvos.run("gcc", f"-I{source}/include", f"-I{source}/lib", "-o", program, main,
                    source / "lib/base/error.c")
    assert done.returncode == 0, done.stdout
    return rvos.run(program, *codes(source).values(), 9999).stdout.splitlines()


def is_complete(said):
    """Is each a sentence of its own, and the last the one for what has none?"""
    *said, none = said
    return len({*said, none}) == len(said) + 1 and all(" " in text for text in said)


def test_every_error_has_a_number_and_a_sentence_of_its_own(source, tmp_path):
    assert len(set(codes(source).values())) == len(codes(source)) > 3
    assert is_complete(sentences(source, tmp_path))


def test_an_error_without_a_sentence_is_missed(source, tmp_path):
    spoilt = hosted.spoil("include/rvos/errors.h", "OK = 0,", "OK = 0,\n    ERR_NEW = 77,",
                          source, tmp_path)
    assert not is_complete(sentences(spoilt, tmp_path))


# -- mistakes that the tests above must find ------------------------------------

MISTAKES = {    # what to replace in machine.c or fdt.c, and by what: the test that finds it
    ("machine", '           strcmp(status, "ok") == 0', "           false"):
        "memory_in_several_pieces",
    ("machine", "unused = is_usable(&node) ? FDT_DEPTH : node.depth;",
     "if (!is_usable(&node)) continue;"): "what_is_inside_of_something_disabled_is_not_there",
    ("machine", "        machine.hart = NULL;\n", ""): "a_hart_that_does_not_fit_changes_no_other",
    ("machine", '!fdt_compatible(tree, node, "riscv,plic0") &&', ""):
        "contexts_are_found_by_every_name_of_the_plic",
    ("machine", "            return &machine.plics[i];", "            return &machine.plics[0];"):
        "the_plic_is_the_first_that_reaches_the_hart_that_boots",
    ("machine", "while (hart < end && hart->id != id)\n        hart++;", ""):
        "the_plic_is_the_first_that_reaches_the_hart_that_boots",
    ("machine", "&&\n            hart->controller != 0)", ")"):
        "a_hart_whose_controller_has_no_name_has_no_context",
    ("machine", "            return n;", "            return 0;"): "everything_is_found",
    ("machine", "plic_count == MACHINE_PLICS", "plic_count == MACHINE_PLICS - 1"):
        "plics_that_do_not_fit_are_counted",
    ("machine", "fdt_entry(node, &reg, n, &range)", "fdt_reg(&machine.tree, node, n, &range)"):
        "a_tree_twice_as_large_takes_no_more_than_twice_the_steps",
    ("fdt", "name >= fdt->strings_end - fdt->strings)", "name >= fdt->strings_end - fdt->strings "
     "|| strlen((const char *)fdt->blob + fdt->strings + name) > 99999)"):
        "a_tree_twice_as_large_takes_no_more_than_twice_the_steps",
    ("machine", "known[i].device->registers.size == 0", "true"): "the_first_serial_port_is_taken",
    ("machine", "!node->addressable ||", ""): "a_serial_port_that_cannot_be_used_is_none",
    ("machine", "below->registers.start < device", "below->registers.start >= device"):
        "slots_are_in_the_order_of_their_addresses",
    ("machine", "if (range.size == 0)", "if (false)"): "memory_that_is_taken_stands_in_two_places",
    ("machine", "machine.in_reserved && node->depth == 2", "machine.in_reserved"):
        "memory_that_is_taken_stands_in_two_places",
    ("machine", "fdt_cell(list, 2 * n + 1) == SUPERVISOR_EXTERNAL", "n % 2 == 0"):
        "everything_is_found",
    ("machine", "machine.memories == 0 || machine.hart_count == 0", "machine.memories == 0"):
        "a_machine_without_memory_or_harts_is_an_error",
    ("machine", 'node->depth == 1 && strcmp(node->name, "chosen")', 'strcmp(node->name, "chosen")'):
        "strings_are_taken_whole_or_not_at_all",
    ("machine", "if (machine.clock == 0)", "if (node->depth == 1)"):
        "the_clock_is_at_the_harts_or_above_them",
    ("fdt", '"#size-cells", 1)', '"#size-cells", 2)'):
        "addresses_have_as_many_cells_as_the_parent_says",
    ("fdt", "level->addressable && same", "level->addressable"):
        "a_serial_port_that_cannot_be_used_is_none",
    ("fdt", ".address_cells = level->address_cells", ".address_cells = 2"):
        "addresses_have_as_many_cells_as_the_parent_says",
    ("fdt", "size < most ? size : most", "size"): "a_range_is_cut_where_addresses_end",
    ("fdt", "big32(blob + VERSION) < 17", "big32(blob + VERSION) != 17"):
        "a_wrong_header_has_its_error",
    ("fdt", "fdt->size > limit || ", ""): "no_more_is_read_than_the_limit_allows",
}


def cases(test):
    """The arguments of each case of a parametrized test."""
    found = [{}]
    for mark in getattr(test, "pytestmark", []):
        names = [name.strip() for name in mark.args[0].split(",")]
        found = [case | dict(zip(names, values if len(names) > 1 else [values]))
                 for case in found for values in mark.args[1]]
    return found


@pytest.mark.parametrize("change", MISTAKES, ids=MISTAKES.values())
def test_a_mistake_is_found(change, source, reader, tmp_path):
    name, right, wrong = change
    program = hosted.build_spoilt((f"kernel/{name}.c", right, wrong), "machine", SOURCES, source,
                                  Path(reader).parent, tmp_path, COUNTED)
    test = globals()[f"test_{MISTAKES[change]}"]
    with pytest.raises(AssertionError):
        for case in cases(test):
            test(read=functools.partial(read_with, program, tmp_path), **case)


# -- in QEMU --------------------------------------------------------------------

def report(log):
    """What the demonstration says, as {first word: [the rest of such lines]}."""
    said = {}
    for line in re.findall(r"^  (\S.*)$", log, re.M):
        kind, _, rest = line.partition(" ")
        said.setdefault(kind, []).append(rest.strip())
    return said


def shown_memory(said):
    return [tuple(int(number, 16) for number in re.findall(r"0x\w+", line))
            for line in said["memory"]]


def shown_harts(said):
    """{hart: its context}."""
    return {int(number): int(context)
            for number, context in re.findall(r"^(\d+) +context (\d+)",
                                              "\n".join(said["hart"]), re.M)}


BOARDS = [("32M", 1), ("33M", 2), ("48M", 3), ("1000M", 4), ("3G", 5), ("128M", 6), ("96M", 7)]
BOARDS += [("8G", 8)] if HOST_MEMORY > 10 << 30 else [("64M", 8)]


@pytest.mark.parametrize("mem, smp", BOARDS)
def test_the_demonstration_boots_and_reports_this_memory_and_these_harts(stage, mem, smp, boot):
    system = boot(rvos.image(stage), mem=mem, smp=smp, arguments=["-append", "demo=3"])
    assert system.finish() == 0
    said = report(system.log)
    assert shown_memory(said) == [(0x80000000, 0x80000000 + megabytes(mem) * MIB)]
    assert shown_harts(said) == {number: 2 * number + 1 for number in range(smp)}
    assert len(re.findall(r"\bboots\b", "\n".join(said["hart"]))) == 1


def test_the_demonstration_boots_on_two_nodes_of_memory(boot):
    system = boot(rvos.image(3), smp=2, arguments=trees.two_nodes("0", "1", "64M"))
    assert system.finish() == 0
    assert shown_memory(report(system.log)) == [(0x80000000, 0x84000000), (0x84000000, 0x88000000)]


def test_the_self_tests_pass_where_two_nodes_boot(boot):
    system = boot(rvos.test_image(3), smp=2, arguments=trees.two_nodes("0", "1", "64M"))
    assert system.finish() == 0


@pytest.mark.parametrize("slots", [[], [0], [7, 0, 3], range(7, -1, -1)])
def test_all_slots_are_there_whatever_boots_in_them(slots, boot):
    devices = [part for slot in slots
               for part in ("-device", f"virtio-rng-device,bus=virtio-mmio-bus.{slot}")]
    system = boot(rvos.image(3), arguments=devices)
    assert system.finish() == 0
    said = report(system.log)
    assert said["virtio"] == ["0x10001000, interrupt 1"]
    assert said["to"] == ["0x10008000, interrupt 8"]


LINES = ["", "x", "hello world", " a  b ", "x" * 2000, "%s%n%d %", "\"quoted\" 'twice' \\ =",
         "ä ö €", "a\tb", "= =x x= ==", "demo", "demo=", "demo=99", "xdemo=1", "demo=3 demo=1"]


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_line_of_arguments_boots_and_is_shown_as_it_is(line, boot):
    system = boot(rvos.image(3), arguments=["-append", line])
    assert system.finish() == 0
    assert f'  arguments  "{line}"\n' in system.log


@pytest.mark.parametrize("line, title", [
    ("demo=1", "Chapter 1: "), ("quiet demo=2 demo=1", "Chapter 2: "), ("demo=3", "Chapter 3: ")])
def test_an_argument_chooses_what_boots(line, title, stage, boot):
    system = boot(rvos.image(stage), arguments=["-append", line])
    assert system.finish() == 0
    assert re.findall(r"^Chapter \d+: ", system.log, re.M) == [title]


@pytest.fixture
def boot_tree(boot, tmp_path):
    """Boot stage 3 with OpenSBI and a tree of ours; what it shows."""
    def run(tree, smp=1, append=()):
        (tmp_path / "tree.dtb").write_bytes(trees.write(tree))
        system = boot(rvos.image(3), smp=smp,
                      arguments=["-dtb", str(tmp_path / "tree.dtb"), *append])
        return system.finish(), system.log
    return run


def test_a_machine_without_a_plic_boots(boot_tree):
    status, log = boot_tree(trees.qemu("-smp", "2").remove(trees.PLIC), smp=2)
    assert status == 0
    assert "plic" not in report(log)
    assert all("no context" in line for line in report(log)["hart"])


@pytest.mark.parametrize("disabled", [0, 1, 2])
def test_a_machine_with_a_disabled_hart_boots_without_it(disabled, boot_tree):
    tree = trees.qemu("-smp", "3")
    tree[f"cpus/cpu@{disabled}"].set(status="disabled")
    status, log = boot_tree(tree, smp=3)
    assert status == 0
    assert shown_harts(report(log)) == {n: 2 * n + 1 for n in range(3) if n != disabled}


def test_a_faster_clock_boots_and_is_believed(boot_tree):
    tree = trees.qemu()
    tree["cpus"].set(**{"timebase-frequency": 20_000_000})
    status, log = boot_tree(tree)
    assert (status, report(log)["clock"]) == (0, ["20000000 Hz"])


def test_another_node_of_memory_boots_and_is_shown(boot_tree):
    status, log = boot_tree(trees.qemu().add(memory(0x100000000, 0x1000)))
    assert status == 0
    assert shown_memory(report(log)) == [(0x80000000, 0x88000000), (0x100000000, 0x100001000)]


def test_twenty_slots_boot(boot_tree):
    tree = trees.qemu()
    tree["soc"].add(*(device("virtio,mmio", 0x10009000 + 4096 * n, 4096, interrupts=20 + n)
                      for n in range(12)))
    status, log = boot_tree(tree)
    assert (status, report(log)["to"]) == (0, ["0x10014000, interrupt 31"])


def test_a_machine_with_too_many_harts_boots_and_says_so(boot_tree):
    tree = trees.qemu()
    tree["cpus"].children = tree["cpus"].children[:1]
    for number in range(1, 70):
        tree["cpus"].add(hart(number, compatible="riscv", **{"riscv,isa": "rv64imac",
                                                             "mmu-type": "riscv,sv48"}))
    status, log = boot_tree(tree)
    assert status == 0
    assert "\n6 parts of this machine do not fit our tables.\n" in log
    assert len(report(log)["hart"]) == 64


def test_a_tree_without_memory_boots_into_a_panic(boot_tree):
    status, log = boot_tree(trees.qemu().remove("memory@80000000"))
    assert status == 2
    assert re.search(rf"^panic: the device tree at 0x\w+: {INCOMPLETE}$", log, re.M)


def test_a_machine_without_a_console_boots_and_ends_with_its_status(boot_tree):
    tree = trees.qemu()
    tree[trees.SERIAL].set(compatible="nobody,nothing")
    status, log = boot_tree(tree)
    assert (status, rvos.AWAKE in log) == (0, False)


# -- in QEMU, with a firmware that passes on any tree ---------------------------

TREE = 0x84000000


@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    """Our firmware, which does not look at the tree."""
    image = tmp_path_factory.mktemp("firmware") / "firmware.elf"
    done = rvos.run(builds.CROSS + "gcc", "-march=rv64imac_zicsr", "-mabi=lp64", "-nostdlib",
                    "-static", "-DHARTS=1", f"-DTREE={TREE:#x}", "-Wl,-Ttext=0x80000000",
                    "-Wl,-e,start", "-Wl,--build-id=none", "-o", image, "tests/host/firmware.S")
    assert done.returncode == 0, done.stdout
    return image


@pytest.fixture
def boot_blob(boot, firmware, tmp_path):
    """Boot a stage with any bytes for a tree; its machine."""
    def run(blob, image, **options):
        (tmp_path / "tree.dtb").write_bytes(blob)
        return boot(image, arguments=[
            "-bios", str(firmware), "-device",
            f"loader,file={tmp_path}/tree.dtb,addr={TREE:#x},force-raw=on"], **options)
    return run


@pytest.mark.parametrize("blob, said", {
    "nothing": (bytes(64), "the data is malformed"),
    "magic": (header(0, 0), "the data is malformed"),
    "size": (header(4, (2 << 20) + 8), "the data is malformed"),
    "version": (header(20, 16), "the data has a version that we cannot read"),
    "no harts": (trees.write(board(memory(0x80000000, MIB))), INCOMPLETE),
}.values())
def test_a_bad_tree_boots_into_a_panic_that_names_it(blob, said, stage, boot_blob):
    system = boot_blob(blob, rvos.image(stage))
    assert system.finish() == 2
    assert f"panic: the device tree at {TREE:#018x}: {said}\n" in system.log


def console(*parts):
    """A board with what a boot needs; the finisher is where QEMU has it."""
    return trees.write(board(memory(0x80000000, 128 * MIB), harts(hart(0)), soc(*parts)))


UART = device("ns16550a", 0x10000000)
FINISHER = device("sifive,test0", 0x100000, 0x1000)


@pytest.mark.parametrize("count, status", [(16, 0), (17, 2)])
def test_a_machine_boots_if_all_its_reservations_are_kept(count, status, boot_blob):
    tree = board(memory(0x80000000, 128 * MIB), harts(hart(0)),
                 soc(UART, FINISHER, *trees.slots(40, 0x10)))
    reservations = [(0x83000000 + 4096 * n, 4096) for n in range(count)]
    system = boot_blob(trees.write(tree, reservations), rvos.image(3))
    assert system.finish() == status
    assert ("panic: this machine reserves more memory" in system.log) == (status != 0)
    assert ("8 parts of this machine do not fit our tables." in system.log) == (status == 0)


def test_a_small_tree_boots(boot_blob):
    system = boot_blob(console(UART, FINISHER), rvos.image(3))
    assert system.finish() == 0
    assert "\n  a board\n" in system.log
    assert report(system.log)["arguments"] == ['""']


@pytest.mark.parametrize("reached, used", [([0], 0), ([1], 1)])
def test_of_two_plics_the_one_of_the_hart_that_boots_is_shown(reached, used, boot_blob):
    plics = [plic(*reached), plic(1 - reached[0]).set(reg=[0, PLICS[1], 0, 0x600000])]
    tree = board(memory(0x80000000, 128 * MIB), harts(hart(0), hart(1)),
                 soc(UART, FINISHER, *plics))
    system = boot_blob(trees.write(tree), rvos.image(3))
    assert system.finish() == 0
    said = report(system.log)
    assert said["plic"] == [f"{PLICS[used]:#x}, interrupt 0"]
    assert said["hart"] == ["0     context 1 of the PLIC, boots", "1     no context of the PLIC"]


@pytest.mark.parametrize("overlay, status", [(None, 0), ("panic", 2), ("wild-load", 2)])
def test_without_a_console_the_status_of_a_boot_is_right(overlay, status, boot_blob):
    system = boot_blob(console(FINISHER), rvos.image(3, overlay=overlay))
    assert system.finish() == status
    assert rvos.AWAKE not in system.log


def test_without_a_finisher_the_boot_ends_in_waiting(boot_blob):
    system = boot_blob(console(UART), rvos.image(3), qmp=True)
    system.expect("Nothing left to do")
    assert system.ask("query-status")["running"] is True
