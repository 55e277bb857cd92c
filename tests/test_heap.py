"""The heap: mistakes of its users on the host and in the machine, and what it costs.

Random operations against a model are in test_host.py; here are the mistakes
that they, and the cases of tests/host/heap_misuse.c, must find in the heap.
"""

import os
import re
import tempfile

import pytest

import hosted
import rvos
from hosted import COMPILERS
from test_boot import HOST_MEMORY, VERDICT

pytestmark = pytest.mark.chapter(5)

HEAP = "kernel/mm/heap.c"
OPERATIONS = 200_000    # more than enough for each of the mistakes below

IN_BOTH = ["none", "freed twice, in an empty slab", "freed after its slab",
           "a size of another class", "an account of somebody else", "the middle of an object",
           "the header of a slab", "behind the last object", "never the heap's",
           "frames of somebody else", "the n-th allocation"]
IN_DEBUG = ["a byte behind the end", "any byte behind the end", "a write after the end",
            "a write to a link", "freed twice", "freed twice, with a fence"]
MISUSES = [("heap_misuse", case) for case in IN_BOTH + IN_DEBUG] + [
    ("heap_misuse_release", case) for case in IN_BOTH]


@pytest.fixture(scope="session")
def program(source, tmp_path_factory):
    """A program by one compiler, built once: program(name, compiler)."""
    built = {}

    def get(name, compiler):
        if (name, compiler) not in built:
            folder = tmp_path_factory.mktemp(f"heap-{compiler}")
            built[name, compiler] = hosted.build(compiler, name, [], source, folder)
        return built[name, compiler]
    return get


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name, case", MISUSES)
def test_every_misuse_is_caught_in_all_its_ways(name, case, compiler, program):
    done = rvos.run(program(name, compiler), case)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_case_of_misuse_is_tried():
    table = (hosted.HOST / "heap_misuse.c").read_text().split("mistakes[] = {")[1]
    cases = re.findall(r'^    \{ "(.+)", \w+ \},$', table, re.M)
    assert sorted(cases) == sorted(IN_BOTH + IN_DEBUG)


LAST = "    if (cache->empty > 0)\n        drop_slab(slab);\n    else\n        cache->empty++;"
MISTAKES = {    # in heap.c: what to replace, and by what
    "no reserve": (LAST, "    cache->empty++;\n    cache->empty--;\n    drop_slab(slab);"),
    "every slab in reserve": (LAST, "    cache->empty++;"),
    "a reserve that is not counted": (LAST, LAST.replace("cache->empty++", "cache->empty += 0")),
    "a reserve that counts when it is used": ("slab->cache->empty--;", "slab->cache->empty += 0;"),
    "a reserve that counts when it is gone": ("                caches[i].empty--;\n", ""),
    "a new slab that does not count": ("    cache->empty++;\n    return slab;",
                                       "    return slab;"),
    "a full slab in the ring": ("        list_remove(&slab->link);\n    return object;",
                                "        (void)0;\n    return object;"),
    "a full slab that is forgotten": ("list_insert(cache->slabs.next, &slab->link);", "(void)0;"),
    "a slab that leaves its ring too late": ("    list_remove(&slab->link);\n    slab->magic",
                                             "    slab->magic"),
    "a slab of half the frames": ("slab->cache->frames);", "slab->cache->frames / 2);"),
    "trimming too much": ("if (slab->used == 0) {", "if (slab->used <= 1) {"),
    "trimming one cache less": ("    bool any = false;\n\n    for (size_t i = 0;",
                                "    bool any = false;\n\n    for (size_t i = 1;"),
    "reserves that are kept to the end": (" && drop_empty_slabs())", " && fail_at == 1000)"),
    "reserves that go for nothing": ("                any = true;", "                any = false;"),
    "trying again in vain": ("        object = take(cache, taken);\n    if (object != NULL)",
                             "        (void)take(cache, taken);\n    if (object != NULL)"),
    "pools shown without the lock": ("    spin_lock(&lock);\n    for (struct list *l = pools.next;",
                                     "    for (struct list *l = pools.next;"),
    "objects without a header": ("char *first = (char *)(slab + 1);",
                                 "char *first = (char *)slab;"),
    "objects out of line": ("char *first = (char *)(slab + 1);",
                            "char *first = (char *)(slab + 1) + 8;"),
    "an object too many": ("for (size_t n = room / cache->size; n-- > 0;)",
                           "for (size_t n = room / cache->size + 1; n-- > 0;)"),
    "an object too few": ("for (size_t n = room / cache->size; n-- > 0;)",
                          "for (size_t n = room / cache->size - 1; n-- > 0;)"),
    "a class too large": ("while (cache->size < size)", "while (cache->size <= size)"),
    "a class too small": ("while (cache->size < size)", "while (cache->size + 1 < size)"),
    "the largest class missed": ("if (size > LARGEST) {", "if (size >= LARGEST) {"),
    "frames rounded down": ("(size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE",
                            "size / PAGE_SIZE * PAGE_SIZE"),
    "a frame too many": ("(size + PAGE_SIZE - 1) / PAGE_SIZE", "(size + PAGE_SIZE) / PAGE_SIZE"),
    "a size that wraps around": (" || size > SIZE_MAX / 2", ""),
    "a size of nothing": ("size == 0 || ", ""),
    "a slab that could not be made": ("    if (slab == NULL)\n        return NULL;\n", ""),
    "frames that could not be had": ("        if (frame_alloc(size / PAGE_SIZE, 0, &start) != OK)\n"
                                     "            return NULL;",
                                     "        (void)frame_alloc(size / PAGE_SIZE, 0, &start);"),
    "a failure that is charged": ("    if (object != NULL)\n        charge(pool, taken);",
                                  "    charge(pool, taken);"),
    "a charge of what was asked for": ("charge(pool, taken);\n    spin_unlock(&lock);\n    if",
                                       "charge(pool, size);\n    spin_unlock(&lock);\n    if"),
    "a peak that falls": ("    if (pool->bytes > pool->peak)\n", ""),
    "objects that are not counted": ("    pool->objects--;", ""),
    "allocations that are taken back": ("    pool->objects--;",
                                        "    pool->objects--;\n    pool->allocations--;"),
    "a pool in the list twice": ("if (pool->allocations++ == 0)",
                                 "pool->allocations++;\n    if (pool->objects == 0)"),
    "a pool left out": ("struct list *l = pools.next;", "struct list *l = pools.next->next;"),
    "nothing that is freed": ("    if (object == NULL)\n        return;\n", ""),
    "a lock that is kept": ("    discharge(pool, taken);\n    spin_unlock(&lock);",
                            "    discharge(pool, taken);"),
    "no lock": ("    spin_lock(&lock);\n    void *object = take(cache, taken);",
                "    void *object = take(cache, taken);"),
    "a fence inside the object": ("memset((char *)object + asked, FENCED,",
                                  "memset((char *)object + asked - 1, FENCED,"),
    "poison in the neighbour": ("memset((char *)object + LINK, FREED, size - LINK);",
                                "memset((char *)object + LINK, FREED, size);"),
    "a failure of each allocation": ("fail_at != 0 && --fail_at == 0", "fail_at != 0"),
    "a failure one too late": ("--fail_at == 0;", "fail_at-- == 0;"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_random_operations_find(mistake, source, tmp_path):
    spoilt = hosted.spoil(HEAP, *MISTAKES[mistake], source, tmp_path)
    program = hosted.build(COMPILERS[0], "heap", [], spoilt, tmp_path)
    assert rvos.run(program, 1, OPERATIONS).returncode != 0


CARELESS = {    # in heap.c: what to replace and by what, and the cases that must find it
    "no red zone": ("#define RED_ZONE (DEBUG ? 16 : 0)", "#define RED_ZONE 0",
                    "a byte behind the end"),
    "a fence that begins too late": (
        "!filled((const char *)object + asked, size - asked,",
        "!filled((const char *)object + asked + 1, size - asked - 1,", "a byte behind the end"),
    "a fence that ends too early": (
        "!filled((const char *)object + asked, size - asked,",
        "!filled((const char *)object + asked, size - asked - 1,", "any byte behind the end"),
    "a fence of less than asked for": ("FENCED, size - asked);",
                                       "FENCED, size > 64 ? RED_ZONE : size - asked);", "none"),
    "a fence looked at in part": ("!filled((const char *)object + asked, size - asked,",
                                  "!filled((const char *)object + asked, size - asked > 8 ? 8 : 0,",
                                  "any byte behind the end"),
    "a fence that nobody looks at": ("        check_fence(object, size, taken);\n        poison",
                                     "        poison", "a byte behind the end"),
    "a fence behind frames that nobody looks at": (
        "    check_fence(object, size, taken);\nframe_free", "    (void)0;\nframe_free",
        "a byte behind the end"),
    "frames whose fence is looked at first": (
        "if (frame_check(start, count) == OK)\n", "", "a size of another class"),
    "poison that nobody looks at": ("check_poison(object, size);", "check_poison(object, LINK);",
                                    "a write after the end"),
    "poison that begins too late": ("!filled((const char *)object + LINK, size - LINK,",
                                    "!filled((const char *)object + LINK + 1, size - LINK - 1,",
                                    "a write after the end"),
    "poison that ends too early": ("!filled((const char *)object + LINK, size - LINK,",
                                   "!filled((const char *)object + LINK, size - LINK - 1,",
                                   "a write after the end"),
    "links that are followed": (
        "    ASSERT(object->next == NULL || is_object(slab, object->next));\n", "",
        "a write to a link"),
    "a chain that nobody looks through": ("        if (o == object)\n", "        if (o == NULL)\n",
                                          "freed twice"),
    "a chain of one": ("o = o->next)", "o = NULL)", "freed twice, with a fence"),
    "a slab in which nothing is in use": ("        slab->used == 0 || ", "        ",
                                          "freed twice, in an empty slab"),
    "any cache": ("slab->cache != cache ||", "", "a size of another class"),
    "any page": ("slab->magic != SLAB_MAGIC ||", "", "never the heap's"),
    "any place in a slab": (" || !is_object(slab, object))", ")", "the middle of an object"),
    "any place behind a header": ("return offset % size == 0 &&", "return",
                                  "the middle of an object"),
    "any multiple of the size": ("offset / size < room / size", "offset / size <= room / size",
                                "behind the last object"),
    "a place in the header": ("offset / size < room / size", "(long)offset < (long)room",
                              "the header of a slab"),
    "any account": ("pool->objects == 0 || pool->bytes < bytes", "false",
                    "an account of somebody else"),
    "an account with too few bytes": (" || pool->bytes < bytes", "", "an account of somebody else"),
    "the allocation after": ("--fail_at == 0;", "fail_at-- == 0;", "the n-th allocation"),
    "all allocations after": ("--fail_at == 0;", "(fail_at == 0 ? ++fail_at : 0) != 0;",
                              "the n-th allocation"),
}


@pytest.mark.parametrize("mistake", CARELESS)
def test_misuse_finds(mistake, source, tmp_path):
    right, wrong, case = CARELESS[mistake]
    spoilt = hosted.spoil(HEAP, right, wrong, source, tmp_path)
    program = hosted.build(COMPILERS[0], "heap_misuse", [], spoilt, tmp_path)
    assert rvos.run(program, case).returncode not in (0, 2)


SAYS = {    # overlay: what a debug build says, and what a release build
    "heap-overrun": ("0x[0-9a-f]+, of 40 bytes, was written behind its end", None),
    "heap-use-after-free": ("0x[0-9a-f]+ was written to after it had been freed", None),
    "heap-double-free": ("0x[0-9a-f]+ is freed twice", None),
    "heap-wrong-size": ("0x[0-9a-f]+ is not an object of 64 bytes",
                        "0x[0-9a-f]+ is not an object of 48 bytes"),
    "heap-not-an-object": ("0x[0-9a-f]+ is not an object of 512 bytes",) * 2,
    "heap-part-of-frames": (r"frames 0x[0-9a-f]+ \(4 of them\) given back: "
                            "it does not belong to the caller",) * 2,
}


@pytest.mark.parametrize("overlay", SAYS)
def test_a_debug_build_ends_with_2_and_names_the_object(overlay, boot):
    system = boot(rvos.image(5, overlay=overlay))
    assert system.finish() == 2
    said = rf"^panic: {SAYS[overlay][0]}\n  at chapters/0[45]-\w+.nw:\d+$"
    assert re.search(said, system.log, re.M)


@pytest.mark.parametrize("overlay", [overlay for overlay in SAYS if SAYS[overlay][1]])
def test_a_release_build_refuses_what_is_no_object_of_that_size(overlay, boot):
    system = boot(rvos.image(5, "release", overlay=overlay))
    assert system.finish() == 2
    assert re.search(rf"^panic: {SAYS[overlay][1]}$", system.log, re.M)


def test_each_allocation_that_fails_unnoticed_fails_the_test(boot):
    system = boot(rvos.test_image(5, overlay="heap-careless"))
    assert system.finish() == 1
    assert sorted(re.findall(r"^selftest: (\w+) FAILED$", system.log, re.M)) == [
        "scenario_that_gives_up", "scenario_that_leaks", "scenario_that_notices_nothing"]
    assert "selftest: scenario_that_is_careful ok\n" in system.log
    assert "selftest: scenario_without_allocations ok\n" in system.log


@pytest.mark.long(25)
@pytest.mark.parametrize("mem", ["32M", "33333K", "36868K", "127M", "1000M", pytest.param(
    "8G", marks=pytest.mark.skipif(HOST_MEMORY < 10 << 30, reason="8 GiB and more to spare"))])
@pytest.mark.parametrize("mode", ["debug", "release"])
def test_the_self_tests_pass_on_machines_of_odd_sizes(mode, mem, boot):
    system = boot(rvos.test_image(5, mode), mem=mem)
    assert system.finish(deadline=180) == 0
    assert VERDICT.search(system.log)[2] == "0"
    for name in ("objects_do_not_overlap", "gives_frames_back", "runs_out_and_recovers",
                 "refuses_absurd_sizes", "failures_can_be_injected"):
        assert f"selftest: heap_{name} ok\n" in system.log


@pytest.mark.parametrize("mode", ["debug", "release"])
def test_running_out_of_eight_gib_does_not_touch_them_all(mode, boot):
    """The machine's memory is a file in memory, which has what was touched."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.truncate(8 << 30)
        ram = f"memory-backend-file,id=ram,size=8G,mem-path={file.name},share=on"
        system = boot(rvos.test_image(5, mode), mem="8G",
                      arguments=["-object", ram, "-machine", "memory-backend=ram"])
        assert system.finish() == 0
        assert os.stat(file.name).st_blocks * 512 < 100 << 20
    assert "selftest: heap_runs_out_and_recovers ok\n" in system.log


def test_the_cost_of_an_object_does_not_depend_on_how_many_there_are(boot):
    system = boot(rvos.image(5, "release", overlay="heap-live"), arguments=["-icount", "shift=0"])
    assert system.finish() == 0
    found = re.findall(r"^  (\w+): (\d+) instructions, (\d+) in use$", system.log, re.M)
    costs = {what: int(cost) for what, cost, _ in found}
    assert [(what, int(count)) for what, _, count in found] == [
        ("few", 10), ("many", 10_000), ("thin", 5_000)]
    assert 30 < costs["few"] < 400
    assert abs(costs["many"] - costs["few"]) <= 1
    assert abs(costs["thin"] - costs["few"]) <= 1


def test_a_debug_build_looks_at_no_more_than_one_slab(boot):
    system = boot(rvos.image(5, overlay="heap-live"), arguments=["-icount", "shift=0"])
    assert system.finish() == 0
    costs = re.findall(r"^  (\w+): (\d+) instructions", system.log, re.M)
    assert [what for what, _ in costs] == ["few", "many", "thin"]
    assert max(int(cost) for _, cost in costs) < 5_000     # 63 objects in a slab
