"""The allocator of frames: against a model on the host, and in machines of all sizes."""

import functools
import os
import tempfile

import pytest

import builds
import hosted
import measure
import rvos
from hosted import COMPILERS, EFFORT, SEED

pytestmark = pytest.mark.chapter(4)

SOURCES = ["lib/base/error.c"]      # frame.c is included by the program
OPERATIONS = {"frame": 1_000_000, "frame_release": 250_000}
PAGE = 4096
MEMORY = 0x80000000     # where it begins on QEMU's board
FRAMES, LIST = "kernel/mm/frame.c", "lib/base/list.h"


@pytest.mark.long(20)
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("build", ["frame", "frame_release"])
def test_the_allocator_agrees_with_its_model(build, compiler, source, tmp_path):
    program = hosted.build(compiler, build, SOURCES, source, tmp_path)
    done = rvos.run(program, SEED, int(OPERATIONS[build] * EFFORT), deadline=300 * EFFORT)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture(scope="module")
def program(source, tmp_path_factory):
    return hosted.build(COMPILERS[0], "frame", SOURCES, source, tmp_path_factory.mktemp("frame"))


@pytest.mark.parametrize("name, meaning", [
    ("empty", "a taken range without a size takes nothing and divides nothing"),
    ("zero", "frame 0 is left alone"),
    ("top", "ranges may reach into the last page and beyond the last address"),
    ("twice", "memory that two ranges name is handed out once"),
])
def test_the_allocator_keeps_its_word_where(name, meaning, program):
    done = rvos.run(program, SEED, int(100_000 * EFFORT), name, deadline=60 * EFFORT)
    assert (done.returncode, done.stdout) == (0, ""), meaning


def test_a_run_that_is_freed_by_two_harts_at_once_is_noticed(program):
    done = rvos.run(program, SEED, 0, "meanwhile")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("compiler", COMPILERS)
def test_lists_keep_their_order(compiler, source, tmp_path):
    program = hosted.build(compiler, "list", [], source, tmp_path)
    done = rvos.run(program, SEED, int(200_000 * EFFORT), deadline=60 * EFFORT)
    assert (done.returncode, done.stdout) == (0, "")


MISTAKES = {    # in frame.c: what to replace, and by what
    "joining across zones": ("!in_zone(zone, frame) ||", ""),
    "joining with a smaller one": ("state_of(zone, buddy) != (FREE | order)",
                                   "(state_of(zone, buddy) & 0xe0) != FREE"),
    "joining always to the right": ("frame ^ 1ul << order;", "frame + (1ul << order);"),
    "joining without end": ("for (; order < ORDERS - 1; order++)",
                            "for (; order < ORDERS; order++)"),
    "a head that remains in use": ("    set_state(zone, frame, INSIDE);\n    for", "    for"),
    "taken ranges rounded inwards": ("end / PAGE_SIZE + (end % PAGE_SIZE != 0)",
                                     "end / PAGE_SIZE"),
    "memory rounded outwards": (".end = (range->start + range->size) / PAGE_SIZE",
                                ".end = (range->start + range->size + 4095) / PAGE_SIZE"),
    "a run that just fits": ("if (count <= 1ul << order) {", "if (count < 1ul << order) {"),
    "rounding a length down": ("while (1ul << order < count)", "while (2ul << order < count)"),
    "a first piece too small": ("2ul << order <= count)", "2ul << order < count)"),
    "a last piece that is kept": (
        "order-- > 0;)\n    if (count & 1ul << order) {\n        free_block",
        "order-- > 1;)\n    if (count & 1ul << order) {\n        free_block"),
    "a run that may begin anywhere": ("state_of(zone, frame) != (kind | order)",
                                      "(state_of(zone, frame) | kind | FREE) != (REST | order)"),
    "a run that may go on": ("if ((state_of(zone, frame) & REST) == REST)", "if (kind == FREE)"),
    "a rest like a run": ("            kind = REST;\n            frame += 1ul << order;\n"
                          "            count", "            frame += 1ul << order;\n"
                          "            count"),
    "too few cuts": ("while (k-- > order)", "while (k-- > order + 1)"),
    "a section that is forgotten": ("zone->written[section / 8] |= bit;", ""),
    "a section full of junk": ("memset(zone->states + section * SECTION, INSIDE, SECTION);", ""),
    "bits full of junk": ("memset(zone->written, 0, (sections + 7) / 8);", ""),
    "half a section too few": ("(all.end - all.start + SECTION - 1) / SECTION",
                               "(all.end - all.start) / SECTION"),
    "a zone with a frame too many": ("return frame - zone->first < zone->count;",
                                     "return frame - zone->first <= zone->count;"),
    "taken ranges in order": ("i = (size_t)-1;", ""),
    "tables that are given away": ("gap.start += tables;", ""),
    "tables in a gap too small": ("gap.end - gap.start > tables", "gap.end > gap.start"),
    "blocks smaller than they could be": ("gap.end - frame >= 2ul << order",
                                          "gap.end - frame > 2ul << order"),
    "blocks out of line": ("frame % (2ul << order) == 0 &&", ""),
    "blocks larger than they can be": ("order < ORDERS - 1 && frame", "order < ORDERS && frame"),
    "an order that seems to have blocks": ("orders_free &= ~(1u << order);", "orders_free &= ~0u;"),
    "freeing without a look": ("    if (error == OK) {\n", "    if (error != ERR_ALIGN) {\n"),
    "freeing without a word": ("    if (error != OK)\n        panic",
                               "    if (error == ERR_ALIGN)\n        panic"),
    "half an address": ("start.value % PAGE_SIZE != 0", "start.value % 8 != 0"),
    "a run too long": ("count > 1ul << (ORDERS - 1))\n        return ERR_RANGE;\n    while",
                       "count > 1ul << ORDERS)\n        return ERR_RANGE;\n    while"),
    "a run too long to be given back": (
        "zone == NULL || count == 0 || count > 1ul << (ORDERS - 1))",
        "zone == NULL || count == 0 || count > 1ul << ORDERS)"),
    "half the zeros": ("count * PAGE_SIZE / sizeof", "(count + 1) / 2 * PAGE_SIZE / sizeof"),
    "no zeros": ("flags & FRAME_ZERO", "flags > FRAME_ZERO"),
    "a lock that is kept": ("    spin_unlock(&lock);\n    if (frame == 0)", "    if (frame == 0)"),
    "half a pattern": ("0xdf, PAGE_SIZE", "0xdf, PAGE_SIZE / 2"),
    "a pattern in a frame too many": ("0xdf, PAGE_SIZE", "0xdf, (count + 1) * PAGE_SIZE"),
    "no pattern": ("if (DEBUG)\n", "if (!DEBUG)\n"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_model_finds(mistake, source, tmp_path):
    spoilt = hosted.spoil(FRAMES, *MISTAKES[mistake], source, tmp_path)
    program = hosted.build(COMPILERS[0], "frame", SOURCES, spoilt, tmp_path)
    done = rvos.run(program, 1, 200_000)
    assert done.returncode != 0


def test_a_look_without_the_lock_is_found(source, tmp_path):
    right = ("    spin_lock(&lock);\n    enum error error = check_run(start, count);\n"
             "    if (error == OK) {")
    wrong = ("    enum error error = frame_check(start, count);\n    spin_lock(&lock);\n"
             "    if (error == OK) {")
    spoilt = hosted.spoil(FRAMES, right, wrong, source, tmp_path)
    program = hosted.build(COMPILERS[0], "frame", SOURCES, spoilt, tmp_path)
    assert rvos.run(program, 1, 0, "meanwhile").returncode != 0


def test_memory_that_is_named_twice_and_given_away_twice_is_found(source, tmp_path):
    spoilt = hosted.spoil(FRAMES, "|| overlaps_a_zone(&all)", "|| (overlaps_a_zone(&all) && 0)",
                           source, tmp_path)
    program = hosted.build(COMPILERS[0], "frame", SOURCES, spoilt, tmp_path)
    assert rvos.run(program, 1, 100_000, "twice").returncode != 0


@pytest.mark.parametrize("line", ["element->previous = next->previous;",
                                  "next->previous->next = element;", "next->previous = element;",
                                  "element->next->previous = element->previous;",
                                  "list_init(element);"])
def test_a_line_missing_in_a_list_is_found(line, source, tmp_path):
    spoilt = hosted.spoil(LIST, f"    {line}\n", "", source, tmp_path)
    program = hosted.build(COMPILERS[0], "list", [], spoilt, tmp_path)
    assert rvos.run(program, 1, 1000).returncode != 0


@pytest.mark.parametrize("mode", ["debug", "release"])
@pytest.mark.parametrize("mem", ["1000M", "3G"])
def test_machines_of_odd_sizes_get_through_it(mem, mode, boot):
    system = boot(rvos.image(4, mode), mem=mem)
    assert system.finish() == 0
    assert "when they are back" in system.log


@pytest.mark.long(10)
@pytest.mark.parametrize("mode, mem", [("debug", "1000M"), ("release", "1000M"),
                                       ("release", "3G")])
def test_the_self_tests_pass_on_machines_of_odd_sizes(mode, mem, boot):
    system = boot(rvos.test_image(4, mode), mem=mem)
    assert system.finish() == 0
    assert "selftest: frames_run_out_and_come_back ok" in system.log


@pytest.mark.parametrize("mode", ["debug", "release"])
def test_giving_a_frame_back_twice_ends_with_2(mode, boot):
    system = boot(rvos.image(4, mode, overlay="double-free"))
    assert system.finish() == 2
    assert "(1 of them) given back: it does not belong to the caller\n" in system.log


def instructions(monkeypatch, mem):
    """From the first to the demonstration, and of these from frame_init on."""
    with monkeypatch.context() as patch:
        patch.setattr(builds, "environment", functools.partial(builds.environment, MEM=mem))
        build = measure.Build(4, "release")
        return [measure.instructions_run(build, f"{start}.demo_show")
                for start in ("boot", "frame_init")]


@pytest.mark.long(15)
def test_a_large_machine_starts_as_fast_as_a_small_one(monkeypatch):
    small, large = (instructions(monkeypatch, mem) for mem in ("128M", "8G"))
    assert large[0] < small[0] * 1.1
    assert large[1] < small[1] * 2      # there are more orders to have blocks of


def pages_changed(file, fill):
    """The numbers of the pages of a file that are not full of one byte, or if
    fill is None, of those to which anything at all has been written."""
    changed, whole, end = [], bytes([fill or 0]) * PAGE, os.stat(file.fileno()).st_size
    try:
        at = os.lseek(file.fileno(), 0, os.SEEK_DATA)
        while at < end:
            if fill is None or os.pread(file.fileno(), PAGE, at) != whole:
                changed.append(at // PAGE)
            at = os.lseek(file.fileno(), at + PAGE, os.SEEK_DATA)
    except OSError:     # there are no data any more
        pass
    return changed


def pages_of_tree(file, pages):
    """The MiB that QEMU loads with the device tree, whose first word is known."""
    for page in pages:
        if os.pread(file.fileno(), 4, page * PAGE) == b"\xd0\x0d\xfe\xed":
            return range(page, page + 256)
    raise AssertionError("there is no device tree")


@pytest.mark.parametrize("mem, fill", [("128M", 0x5a), ("8G", None)])
def test_starting_leaves_free_memory_alone(mem, fill, boot):
    """The machine's memory is a file: full of a pattern, or of holes, of which
    a file in memory has one for each page that nobody has touched."""
    image = rvos.image(4, overlay="power-off-early")
    size = int(mem[:-1]) << {"M": 20, "G": 30}[mem[-1]]
    with tempfile.NamedTemporaryFile(dir=None if fill else "/dev/shm") as file:
        if fill:
            file.write(bytes([fill]) * size)
        file.truncate(size)
        file.flush()
        ram = f"memory-backend-file,id=ram,size={mem},mem-path={file.name},share=on"
        system = boot(image, mem=mem, arguments=["-object", ram, "-machine", "memory-backend=ram"])
        assert system.finish() == 0
        assert rvos.AWAKE in system.log
        changed = pages_changed(file, fill)
        tree = pages_of_tree(file, changed)
    kernel_end = (measure.Build(4, "debug").symbols["image_end"] - MEMORY) // PAGE
    ours = [page for page in changed if page > kernel_end and page not in tree]
    assert 10 < len(ours) < 75      # heads of blocks, and what the tables say of these
