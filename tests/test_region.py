"""Regions of an address space against an array of pages, on the host."""

import math
import re

import pytest

import benches
import hosted
import rvos
from hosted import COMPILERS, EFFORT, SEED

pytestmark = pytest.mark.chapter(10)

TREE, REGIONS = "kernel/mm/region_tree.c", "kernel/mm/region.c"
SOURCES = [TREE, REGIONS]
OPERATIONS = 100_000
MANY = 10_000


@pytest.fixture(scope="module")
def program(source, tmp_path_factory):
    """The program that tests regions, built once for each compiler."""
    built = {}

    def get(compiler):
        if compiler not in built:
            folder = tmp_path_factory.mktemp(compiler)
            built[compiler] = hosted.build(compiler, "region", SOURCES, source, folder)
        return built[compiler]

    return get


@pytest.mark.fuzz
@pytest.mark.parametrize("compiler", COMPILERS)
def test_regions_agree_with_their_model(compiler, program):
    done = rvos.run(program(compiler), SEED, int(OPERATIONS * EFFORT), deadline=300 * EFFORT)
    assert (done.returncode, done.stdout) == (0, "")


def test_no_order_makes_the_tree_deep(program):
    """An AVL tree of n is less than 1.4405 log2(n + 2) - 0.3277 high: Knuth, 6.2.3."""
    done = rvos.run(program(COMPILERS[0]), SEED, MANY, "depth")
    assert done.returncode == 0, done.stdout
    heights = [int(height) for height in re.findall(r": (\d+)$", done.stdout, re.M)]
    assert len(heights) == 5
    assert all(math.log2(MANY) < height < 1.4405 * math.log2(MANY + 2) - 0.3277
               for height in heights)


def test_a_thousand_regions_are_found_in_a_few_steps(stage):
    """Neither the search for a hole nor any other looks at all of them."""
    cost = {name: count for name, (count, _) in benches.run(stage).items()}
    assert cost["region"] < cost["region_among_few"] < cost["region_among_1000"]
    assert cost["region_among_1000"] < 10 * cost["region"]


IN_TREE = {     # what to replace, and by what
    "a height of one side": ("height = child->height > height ?", "height = side == 0 ?"),
    "a gap of one side": ("child->gap > gap ?", "child->gap > gap && side == 0 ?"),
    "a gap without the own hole": ("uint64_t gap = root->hole;", "uint64_t gap = 0;"),
    "a lift that leaves a parent behind": ("        inner->parent = root;\n", "        ;\n"),
    "a lift that updates one": ("    update(root);\n    update(top);\n", "    update(top);\n"),
    "a lift in the wrong order": ("    update(root);\n    update(top);\n",
                                  "    update(top);\n    update(root);\n"),
    "a tree that leans by two": ("-1 <= lean && lean <= 1", "-2 <= lean && lean <= 2"),
    "a tree that leans to one side": ("-1 <= lean && lean <= 1", "lean <= 1"),
    "an inner side that stays": ("if (height(high->child[!side]) > height(high->child[side]))",
                                 "if (height(high->child[!side]) > 1000)"),
    "equal sides turned twice": ("height(high->child[!side]) > height(high->child[side])",
                                 "height(high->child[!side]) >= height(high->child[side])"),
    "a new top that nobody knows": ("        if (top != region)\n", "        if (top == region)\n"),
    "the wrong child replaced": ("parent->child[1] == old", "parent->child[0] == old"),
    "a parent that is not known": ("        new->parent = parent;\n", "        ;\n"),
    "a repair that ends too early": ("        if (region == pass)\n", "        if (pass != NULL)\n"),
    "a repair that looks at heights": ("top->height == old_height &&\n            top->gap == old_gap",
                                       "top->height == old_height"),
    "a repair that looks at holes": ("top->height == old_height &&\n            top->gap == old_gap",
                                     "top->gap == old_gap"),
    "a repair that does nothing": ("    while (region != NULL) {\n        struct region *parent",
                                   "    while (region != NULL && region->height == 0) {\n"
                                   "        struct region *parent"),
    "a hole that is not measured": ("    region->hole = region->start - below;\n",
                                    "    (void)below;\n"),
    "a new one with children": ("    region->child[0] = region->child[1] = NULL;\n",
                                "    region->child[0] = NULL;\n"),
    "a new one with an old height": ("    region->height = 0;\n", "    region->height = 1;\n"),
    "a new one in the place of another": ("before != NULL && before->child[1] == NULL;",
                                          "before != NULL;"),
    "the next one's hole as before": ("        behind->hole = behind->start - region->end;\n",
                                      "        ;\n"),
    "a hole that does not grow": ("behind->hole += region->hole + (region->end - region->start);",
                                  "behind->hole += region->end - region->start;"),
    "a stand-in that is not repaired": ("behind->parent != region ? behind->parent : behind",
                                        "behind"),
    "a stand-in repaired from above": ("behind->parent != region ? behind->parent : behind",
                                       "behind->parent"),
    "a stand-in that loses what it had": ("behind->parent, behind, behind->child[1])",
                                          "behind->parent, behind, NULL)"),
    "a stand-in with one child": ("for (unsigned side = 0; side < 2; side++) {\n"
                                  "    behind->child",
                                  "for (unsigned side = 0; side < 1; side++) {\n"
                                  "    behind->child"),
    "a stand-in with its old height": ("behind->height = region->height;\n", ""),
    "an end that is inside": ("if (region->end > address) {", "if (region->end >= address) {"),
    "a region that is found too early": (" && region->start <= address ?", " ?"),
    "a hole that is too low": ("bool enough = root->start >= from;",
                               "bool enough = root->end >= from;"),
    "a start that is just high enough": ("root->start >= from;", "root->start > from;"),
    "a hole before the right one": ("lowest_hole(regions, size, low + size)",
                                    "lowest_hole(regions, size, low)"),
    "a hole that is larger than needed": ("else if (root->hole >= size)", "else if (root->hole > size)"),
    "a hole on the other side": ("if (gap(root->child[0]) >= size)", "if (gap(root->child[0]) > size)"),
    "only what is remembered": ("enough && (root->hole >= size ||", "enough && (false ||"),
    "only the region itself": ("                       gap(root->child[1]) >= size))",
                               "                       false))"),
    "the first that was found": ("            found = root;\n", "            found = found ? found : root;\n"),
    "what is behind first": ("found == NULL || found->hole >= size", "found == NULL || "
                             "(found->hole >= size && gap(found->child[1]) < size)"),
    "a subtree that is left out": ("while (gap(root) >= size)", "while (gap(root) > size)"),
    "a hole of half pages": ("(size | low | high) % PAGE_SIZE", "(low | high) % PAGE_SIZE"),
    "a hole of nothing": ("    if (size == 0)\n        return ERR_RANGE;\n", ""),
    "a hole below the limit": ("        hole = low;\n", "        ;\n"),
    "a hole above the limit": ("hole > high || high - hole < size", "hole > high"),
    "a hole far above the limit": ("hole > high || high - hole < size", "high - hole < size"),
}
IN_REGIONS = {
    "two in reserve": ("    if (regions->spare != NULL)\n        return OK;\n    enum", "    enum"),
    "no quota": ("    if (error != OK)\n        return error;\n    regions->spare",
                 "    regions->spare"),
    "a charge for nothing": ("    quota_release(regions->quota, size);\n    return ERR_MEMORY;",
                             "    return ERR_MEMORY;"),
    "a charge for ever": ("    quota_release(regions->quota, sizeof *region);\n", ""),
    "a reserve that is used twice": ("    regions->spare = NULL;\n    region->start",
                                     "    region->start"),
    "an object forgotten": ("    region->object = like->object;\n", "    region->object = NULL;\n"),
    "an offset forgotten": ("    region->offset = like->offset;\n", "    region->offset = 0;\n"),
    "flags forgotten": ("    region->flags = like->flags;\n", "    region->flags = 0;\n"),
    "a row of one": ("        region->child[1] = *gone;\n", "        region->child[1] = NULL;\n"),
    "a reserve that is lost": ("    } else if (regions->spare == NULL) {", "    } else if (true) {"),
    "a reference that is kept": ("        object_put(region->object);\n", ""),
    "half pages": ("(start | end) % PAGE_SIZE", "start % PAGE_SIZE"),
    "an empty range": ("return start < end ? OK", "return start <= end ? OK"),
    "half a page of an object": ("    if (like->offset % PAGE_SIZE != 0)\n        return ERR_ALIGN;\n",
                                 ""),
    "one over the other": ("behind != NULL && behind->start < like->end", "false"),
    "neighbours that are in the way": ("behind->start < like->end)", "behind->start <= like->end)"),
    "objects that join": ("region->object == NULL &&\n", "true &&\n"),
    "an object that joins": ("like->object == NULL && region->flags", "region->flags"),
    "flags that join": (" && region->flags == like->flags", ""),
    "neighbours that are far": ("continues(before, like) && before->end == like->start",
                                "continues(before, like)"),
    "higher ones that are far": ("continues(behind, like) &&\n                  "
                                 "behind->start == like->end", "continues(behind, like)"),
    "no neighbours": ("    if (lower) {\n", "    if (lower && !higher) {\n"),
    "a hole that joining leaves": ("    } else if (higher) {\n",
                                   "    } else if (higher && !before) {\n"),
    "a neighbour that does not go": ("    let_go(regions, behind, NULL);\n", ""),
    "a neighbour that ends too early": ("    end = behind->end;\n", ""),
    "a hole behind that is not measured": ("before->end = end;\nregion_measure(regions, behind, end);",
                                           "before->end = end;"),
    "a hole in the range": ("    while (region != NULL && region->end < end)\n"
                            "        region = regions_find(regions, region->end);\n",
                            "    while (region != NULL && region->end < end)\n"
                            "        region = regions_from(regions, region->end);\n"),
    "an end that is not there": ("while (region != NULL && region->end < end)", "while (false)"),
    "no reserve": ("    if (region->start < start && end < region->end)\n        return",
                   "    if (regions == NULL)\n        return"),
    "a reserve for all": ("    if (region->start < start && end < region->end)\n        return",
                          "    if (region->start < start || end < region->end)\n        return"),
    "one piece": ("if (next == end)", "if (next != start)"),
    "a piece too many": ("region->end < end ? region->end : end", "end"),
    "an offset that stays": ("        region->offset += start - region->start;\n", "        ;\n"),
    "a reference too few": ("        object_get(rest.object);\n", "        ;\n"),
    "a start that stays": ("    begin_at(&rest, end);\n", ""),
    "an end that stays": ("    region->end = start;\n    enter", "    enter"),
    "the end taken for the middle": ("    if (region->end == end) {\n", "    if (region == NULL) {\n"),
    "the beginning taken for all": ("} else if (end < region->end) {", "} else if (!region) {"),
    "nothing of the lower ones": ("    let_all_go(regions, root->child[0], gone);\n", ""),
    "nothing of the higher ones": ("    let_all_go(regions, root->child[1], gone);\n", ""),
    "a reserve at the end": ("        release(regions, regions->spare);\n", "        ;\n"),
    "a root at the end": ("regions->root = regions->spare = NULL;", "regions->spare = NULL;"),
}
MISTAKES = [pytest.param((file, *change), id=name)
            for file, mistakes in ((TREE, IN_TREE), (REGIONS, IN_REGIONS))
            for name, change in mistakes.items()]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_random_operations_find(mistake, source, program, tmp_path):
    parts = rvos.Path(program(COMPILERS[0])).parent
    spoilt = hosted.build_spoilt(mistake, "region", SOURCES, source, parts, tmp_path,
                                 ["-fno-sanitize=all", "-O1"])
    assert rvos.run(spoilt, SEED, OPERATIONS).returncode != 0
