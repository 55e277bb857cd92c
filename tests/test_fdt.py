"""The parser of device trees, fed with broken ones on the host.

`make fuzz` runs the same with COUNT trees and a new SEED; with TREE=file it
tries one case again that an earlier run has left in build/.
"""

import os
import re
from pathlib import Path

import pytest

import hosted
import rvos
import trees
from hosted import COMPILERS, EFFORT, SEED

pytestmark = pytest.mark.chapter(3)

COUNT = int(os.environ.get("RVOS_COUNT", 0)) or int(100_000 * EFFORT)
SHARDS = max(2, os.cpu_count())
SOURCES = ["kernel/fdt.c", "kernel/machine.c", "lib/base/string.c"]
COUNTED = ["-fsanitize-coverage=trace-pc"]
NUMBER_OF_MISTAKE_CASES = 60_000


@pytest.fixture(scope="session")
def blobs(tmp_path_factory):
    """Files of trees, in the order of their names."""
    folder = tmp_path_factory.mktemp("trees")
    for name, blob in (trees.seeds() | trees.unsound()).items():
        (folder / f"{name}.dtb").write_bytes(blob)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def crowds(tmp_path_factory):
    """Files of trees with so much of something that looking at each pair is too much."""
    folder = tmp_path_factory.mktemp("crowds")
    for kind in trees.MANY:
        blob = trees.many(kind, 400)
        if len(blob) < 30_000:
            (folder / f"{kind.replace(' ', '-')}.dtb").write_bytes(blob)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def program(source, tmp_path_factory):
    """The fuzzer by one compiler, built once: program(compiler, *flags)."""
    built = {}

    def get(compiler, *flags):
        if (compiler, flags) not in built:
            folder = tmp_path_factory.mktemp(f"fdt-{compiler}")
            built[compiler, flags] = hosted.build(compiler, "fdt", SOURCES, source, folder, flags)
        return built[compiler, flags]
    return get


def fuzz(program, first, count, folder, blobs, seed=SEED):
    return rvos.run(program, seed, first, count, folder, *blobs, deadline=60 + count // 1000)


@pytest.mark.fuzz
@pytest.mark.long(15)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_broken_tree_leads_the_parser_astray(shard, program, blobs):
    first, end = COUNT * shard // SHARDS, COUNT * (shard + 1) // SHARDS
    done = fuzz(program(COMPILERS[shard % len(COMPILERS)]), first, end - first, "build", blobs)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.fuzz
def test_no_broken_tree_takes_more_steps_than_its_size_allows(program, blobs, crowds):
    done = fuzz(program(COMPILERS[0], *COUNTED), 0, int(10_000 * EFFORT), "build", blobs + crowds)
    assert (done.returncode, done.stdout) == (0, "")


SLOW = {        # mistakes that make the work grow with the square of the size
    "names that are searched for their ends": (
        "fdt", "name >= fdt->strings_end - fdt->strings)",
        "name >= fdt->strings_end - fdt->strings ||\n"
        "        strlen((const char *)fdt->blob + fdt->strings + name) >= fdt->size)"),
    "a list that is found for each entry": (
        "machine", "fdt_entry(node, &reg, n, &range)", "fdt_reg(&machine.tree, node, n, &range)"),
    "reservations that are counted for each": (
        "fdt", "    if (n >= fdt->reservation_count)\n", """
        uint32_t count = 0;
        const uint8_t *p = fdt->blob + fdt->reservations;
        while (big64(p + 16 * count) != 0 || big64(p + 16 * count + 8) != 0)
            count++;
        if (n >= count)\n"""),
}


@pytest.mark.parametrize("mistake", SLOW)
def test_crowds_find(mistake, source, program, crowds, tmp_path):
    name, right, wrong = SLOW[mistake]
    parts = Path(program(COMPILERS[0], *COUNTED)).parent
    slow = hosted.build_spoilt((f"kernel/{name}.c", right, wrong), "fdt", SOURCES, source,
                               parts, tmp_path, COUNTED)
    done = rvos.run(slow, "--again", *crowds)
    assert done.returncode != 0
    assert re.search(r"\d+ bytes take more than \d+ steps", done.stdout)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_sound_trees_are_accepted_and_others_refused(compiler, program, blobs):
    done = rvos.run(program(compiler), "--again", *blobs)
    said = dict(zip((blob.stem for blob in blobs), done.stdout.splitlines()))
    assert done.returncode == 0, done.stdout
    assert all(said[name].startswith("accepted") for name in trees.seeds())
    assert all(said[name].startswith("refused") for name in trees.unsound())


@pytest.mark.skipif("RVOS_TREE" not in os.environ, reason="make fuzz TREE=file")
@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_case_again(compiler, program):
    done = rvos.run(program(compiler), "--again", os.environ["RVOS_TREE"])
    assert done.returncode == 0, done.stdout


MISTAKES = {    # in fdt.c or machine.c: what to replace, and by what
    "a length near the end of 32 bits": ("fdt", "if (size > left || ", "if ("),
    "a length beyond the end": ("fdt", "if (size > left || (size + 3) / 4 * 4 > left)",
                                "if (size > left)"),
    "a string that goes on": ("fdt", "i < fdt->structure_end; i++)",
                              "i < fdt->structure_end + 9; i++)"),
    "a name that leaves its block": ("fdt", "fdt->strings_end > fdt->strings &&",
                                     "false &&"),
    "a name far outside": ("fdt", " ||\n        name >= fdt->strings_end - fdt->strings)", ")"),
    "a block whose end wraps around": ("fdt", "offset <= fdt->size && size <= fdt->size - offset",
                                       "offset + size <= fdt->size"),
    "a blob shorter than it says": ("fdt", "fdt->size > limit || ", ""),
    "a blob shorter than its header": ("fdt", "if (limit < HEADER_SIZE || ", "if ("),
    "an odd structure": ("fdt", "fdt->structure % 4 != 0 || ", ""),
    "an old version": ("fdt", "big32(blob + VERSION) < 17 ||", ""),
    "reservations without an end": ("fdt", "holds(fdt, at, 16)", "holds(fdt, at, 1)"),
    "a nest too deep": ("fdt", "depth == FDT_DEPTH || ", ""),
    "a nest less deep": ("fdt", "depth == FDT_DEPTH || ", "depth == FDT_DEPTH - 1 || "),
    "two roots": ("fdt", " || (depth == 0 && last != NOP)", ""),
    "a property behind a child": ("fdt", "last != BEGIN_NODE && last != PROPERTY", "last == NOP"),
    "an end too early": ("fdt", "depth == 0 && last == END_NODE ? OK", "last == END_NODE ? OK"),
    "nothing at all": ("fdt", "depth == 0 && last == END_NODE ? OK", "depth == 0 ? OK"),
    "a token where none is": ("fdt", "(uint32_t)(p - fdt->blob) + (size + 3) / 4 * 4;",
                              "(uint32_t)(p - fdt->blob) + size;"),
    "a token that means nothing": ("fdt", "while (item->token == NOP);\n    if (item->token == BEG",
                                   "while (false);\n    if (item->token == BEG"),
    "a letter forgotten": ("fdt", "node->letters |= letter", "node->letters = letter"),
    "a list without its NUL": ("fdt", "list->length == 0 || end[-1] != '\\0'", "list->length == 0"),
    "a string without its NUL": ("fdt", "value.length == 0 ||\n        "
                                 "value.bytes[value.length - 1] != '\\0')", "value.length == 0)"),
    "an empty string": ("fdt", "|| value.length == 0 ||", "||"),
    "a number of another length": ("fdt", " || value.length != 4)", ")"),
    "an entry that is not there": ("fdt", "n >= list->length / (4 * (address + size))", "n >= 1000"),
    "an entry cut short": ("fdt", "n >= list->length / (4 * (address + size))",
                           "n > list->length / (4 * (address + size))"),
    "three cells": ("fdt", "size > 2 ||\n", "size > 3 ||\n"),
    "a range that wraps around": ("fdt", "size < most ? size : most", "size"),
    "a bus that cannot be reached": ("fdt", "level->addressable && same", "same"),
    "too many ranges": ("machine", "*count < MACHINE_RANGES", "*count <= MACHINE_RANGES"),
    "too many harts": ("machine", "machine.hart_count == MACHINE_HARTS",
                       "machine.hart_count > MACHINE_HARTS"),
    "too many slots": ("machine", "if (i == MACHINE_SLOTS)", "if (i > MACHINE_SLOTS)"),
    "slots out of order": ("machine", "below->registers.start < device.registers.start",
                           "below->registers.start > device.registers.start"),
    "a controller without a hart": ("machine", "machine.hart != NULL &&\n", ""),
    "a value too long": ("machine", "end - start : size - 1;", "end - start : size;"),
    "a word that begins alike": ("machine", "(end > length && word[length] != '=')", "false"),
}


@pytest.fixture(scope="session")
def parts(program):
    """The folder in which the fuzzer was built."""
    return Path(program(COMPILERS[0])).parent


@pytest.mark.parametrize("mistake", MISTAKES)
def test_broken_trees_find(mistake, source, parts, blobs, tmp_path):
    name, right, wrong = MISTAKES[mistake]
    spoilt_program = hosted.build_spoilt((f"kernel/{name}.c", right, wrong), "fdt", SOURCES,
                                         source, parts, tmp_path)
    done = fuzz(spoilt_program, 0, NUMBER_OF_MISTAKE_CASES, tmp_path, blobs, seed=1)
    assert done.returncode != 0
    case, = tmp_path.glob("fdt-*.dtb")
    assert f"make fuzz TREE={case}" in done.stdout
    assert rvos.run(spoilt_program, "--again", case).returncode != 0
