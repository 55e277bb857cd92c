"""Channels: random operations against a model, on the host, and the random test of the kernel
with other seeds. What happens when tasks wait is tested in the kernel: tests/kernel/08-channels.nw."""

import re

import pytest

import hosted
import rvos
from hosted import COMPILERS, EFFORT, SEED
from test_boot import VERDICT

pytestmark = pytest.mark.chapter(8)

SOURCES = ["lib/base/string.c", "kernel/task/quota.c",
           *(f"kernel/ipc/{name}.c" for name in
             ("object", "handle", "view", "parcel", "channel", "watch", "ipc"))]
FLAGS = ["-DDEBUG=1"]
OPERATIONS = 200_000    # more than enough for each of the mistakes below


@pytest.fixture(scope="session")
def parts(source, tmp_path_factory):
    """Where the program was built without mistakes."""
    folder = tmp_path_factory.mktemp("ipc")
    hosted.build(COMPILERS[0], "ipc", SOURCES, source, folder, FLAGS)
    return folder


@pytest.mark.fuzz
@pytest.mark.long(8)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_channels_agree_with_their_model(compiler, source, tmp_path):
    program = hosted.build(compiler, "ipc", SOURCES, source, tmp_path, FLAGS)
    done = rvos.run(program, SEED, int(500_000 * EFFORT), deadline=300 * EFFORT)
    assert (done.returncode, done.stdout) == (0, "")


MISTAKES = {    # what to replace in which file, and by what
    "a message that is too long": ("ipc/parcel.c", "parcel->length > MESSAGE_BYTES ||", ""),
    "a message that goes beyond its memory": (
        "ipc/parcel.c", "MESSAGE_HEADER + parcel->length > message->size", "false"),
    "a handle named twice": ("ipc/parcel.c", "if (parcel->handles[i] == handle)", "if (false)"),
    "a copy without the right": ("ipc/parcel.c", "rights |= RIGHT_COPY;", "rights |= RIGHT_PASS;"),
    "a copy without a reference": ("ipc/parcel.c", "        if (!is_moved(parcel, n))\n"
                                   "            object_get", "        if (n < 3)\n"
                                   "            object_get"),
    "a refused copy that stays held": ("ipc/ipc.c", "    parcel_drop(&parcel);\n", ""),
    "a header with all handles": ("ipc/parcel.c", "8 + parcel->count * sizeof(handle_t)",
                                  "8 + (parcel->count + 1) % 5 * sizeof(handle_t)"),
    "a stale handle": ("ipc/handle.h", " || entry->uses != handle >> 16", ""),
    "a place outside of the table": ("ipc/handle.h", "if (place >= table->size)",
                                     "if (place > table->size)"),
    "a use that does not count": ("ipc/handle.c", "(uint16_t)(entry->uses + 1)", "entry->uses"),
    "free places that are forgotten": ("ipc/handle.c",
                                       "entries[size - 1].next = (uint16_t)table->free;", ";"),
    "a table that is not given back": ("ipc/handle.c", "if (old > 0)", "if (old > 8)"),
    "more rights than the original": ("ipc/ipc.c", "rights | RIGHT_COPY, &entry",
                                      "RIGHT_COPY, &entry"),
    "an end that leaks": ("ipc/channel.c", "        quota_free(quota, &endpoint_pool, first, "
                          "sizeof *first);\n", ""),
    "a letter's references": ("ipc/channel.c", "n < letter->parcel.count; n++)\n"
                              "        object_put", "n + 1 < letter->parcel.count; n++)\n"
                              "        object_put"),
    "a mailbox of 65": ("ipc/channel.c", "    if (end->peer->waiting == MESSAGE_QUEUE)\n"
                        "        error", "    if (end->peer->waiting > MESSAGE_QUEUE)\n"
                        "        error"),
    "a ring of two": ("ipc/channel.c", "if (!cycle && end->carried > 0)", "if (false)"),
    "capabilities counted wrong": ("ipc/channel.c",
                                   "    end->carried -= letter->parcel.count;\n",
                                   "    end->carried = 0;\n"),
    "an end moved through itself": ("ipc/channel.c", "(parcel->moved >> n & 1) != 0)", "false)"),
    "letters that stay": ("ipc/channel.c", "        list_insert(&doomed, first);\n", ""),
    "a charge for oneself alone": ("task/quota.c", "q != NULL; q = q->parent)\n        if (!add",
                                   "q == quota; q = q->parent)\n        if (!add"),
    "a charge that was refused": ("task/quota.c", "            take_back(quota, q, bytes);\n", ""),
    "a charge for nothing": ("task/quota.c", "        quota_release(quota, size);\n"
                             "        return ERR_MEMORY;", "        return ERR_MEMORY;"),
    "a watch that outlives its handle": ("ipc/handle.c", "        watch_end(entry->watch);\n",
                                         "        ;\n"),
    "a watch begun too late": ("ipc/watch.c", "if (is_ready(watch))", "if (false)"),
    "a watcher who is not told": ("ipc/watch.c", "l != all; l = l->next)\n        tell",
                                  "false; l = l->next)\n        tell"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_random_operations_find(mistake, source, parts, tmp_path):
    file, right, wrong = MISTAKES[mistake]
    change = f"kernel/{file}", right, wrong
    kept = parts if file.endswith(".c") else tmp_path / "nothing"
    program = hosted.build_spoilt(change, "ipc", SOURCES, source, kept, tmp_path, FLAGS)
    assert rvos.run(program, 1, OPERATIONS).returncode != 0


@pytest.mark.long(8)
@pytest.mark.parametrize("mode, mem, seed", [
    ("debug", "32M", 2), ("debug", "128M", 3), ("release", "32M", 4), ("release", "128M", 5)])
def test_the_self_tests_pass_with_other_seeds(mode, mem, seed, boot):
    system = boot(rvos.test_image(8, mode), mem=mem, arguments=["-append", f"seed={seed}"])
    assert system.finish(deadline=60) == 0
    assert VERDICT.search(system.log)[2] == "0"
    assert f"  the seed is {seed}\n" in system.log
    assert len(re.findall(r"^selftest: ipc_\w+ ok$", system.log, re.M)) >= 50
