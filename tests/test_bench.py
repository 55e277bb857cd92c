"""The benchmarks end, agree with the book, and notice when something gets dearer."""

import json
import re
import shlex

import pytest

import benches
import builds
import measure
import nw
import rvos

pytestmark = pytest.mark.chapter(7)

ROW = re.compile(r"^  (\w+) +(\d+)  (\S.*)$", re.M)
BOOT_LIMIT = 400_000    # instructions from the kernel's first to task_init


@pytest.fixture(scope="module")
def report():
    """What `make bench` prints for stage 7."""
    done = rvos.run("make", "bench", "STAGE=7")
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_table_has_every_benchmark_of_the_book(report):
    rows = ROW.findall(report)
    files = [nw.chapter_files(7)[-1], *nw.kernel_tests(7)]
    defined = dict(re.findall(r"^BENCH\((\w+), \"(.*)\"\)$",
                              "\n".join(file.read_text() for file in files), re.M))
    assert {name: what for name, _, what in rows} == defined
    assert len(rows) == len(defined) >= 16
    assert all(10 <= int(count) < 100_000 for _, count, _ in rows)


def test_the_table_says_what_was_measured(report):
    assert re.match(r"Instructions, stage 7, release build, commit \w+\+?:\n", report)


def test_the_table_is_stored(report):
    stored = json.loads((rvos.ROOT / "build/bench.json").read_text())
    assert stored["stage"] == 7
    assert [(name, str(row["instructions"]), row["what"])
            for name, row in stored["benches"].items()] == ROW.findall(report)


def test_the_same_image_costs_the_same_every_time(stage):
    assert list(benches.run(stage).items()) == list(benches.run(stage).items())


def test_a_part_costs_less_than_the_whole(stage):
    """Not that the numbers are right, but that they are of what they say."""
    cost = {name: count for name, (count, _) in benches.run(stage).items()}
    switch = measure.value(f"stage{stage}.release.instructions.task_switch")
    assert switch + cost["lock"] < cost["yield"] < cost["handover"] < cost["task_life"]
    assert cost["lock"] < cost["yield_alone"] < cost["yield"]
    for name in ("yield", "handover"):
        assert cost[name] == cost[f"{name}_and_back"] // 2
    assert cost["frame"] < cost["stack"] < cost["task_life"]
    assert cost["deadline_among_1000"] < 2 * cost["deadline"]
    assert cost["deadline_after_worst"] < 0.6 * cost["deadline_worst"]


def test_the_cost_of_a_trap_is_the_one_counted_by_the_clock(boot):
    """Measured in another way: a thousand traps, by the time register."""
    system = boot(rvos.image(7, "release", overlay="trap-cost"), arguments=["-icount", "shift=0"])
    assert system.finish() == 0
    clock = int(re.search(r"a trap and back: (\d+) instructions", system.log)[1])
    assert abs(clock - measure.value("stage7.release.bench.trap")) <= 3


def test_without_counted_instructions_there_are_no_numbers(boot):
    image = builds.build(7, "release", goal="bench-image")
    for options in ([], ["-icount", "shift=1"]):
        system = boot(image, arguments=options)
        assert system.finish() == 1
        assert "bench: this machine does not count instructions\n" in system.log
        assert not benches.FOUND.search(system.log)


def test_a_counter_that_may_not_be_read_gives_no_numbers(tmp_path):
    """gdb takes from the kernel what the firmware has allowed, all but the clock."""
    image = builds.build(7, "release", goal="bench-image")
    steps = ("break bench_run", "continue", "set variable $mcounteren = 2", "continue")
    flags = ["-batch", *(word for step in steps for word in ("-ex", step))]
    rvos.run("tools/debug", image, GDB_FLAGS=" ".join(map(shlex.quote, flags)),
             RVOS_CONSOLE=str(tmp_path / "console"))
    said = (tmp_path / "console").read_text(errors="replace").replace("\r", "")
    assert said.endswith("bench: this machine does not count instructions\n"), said


def test_only_the_bench_image_has_benchmarks():
    for goal, there in (("image", False), ("test-image", False), ("bench-image", True)):
        said = rvos.run(builds.CROSS + "nm", builds.build(7, "release", goal=goal)).stdout
        assert bool(re.search(r" bench_lock$", said, re.M)) is there, goal


@pytest.mark.parametrize("overlay, said", [
    ("bench-for-ever", "the benchmarks did not end in"),
    ("bench-panic", "the benchmarks ended with status 2"),
])
def test_benchmarks_that_fail_are_reported_with_the_console(overlay, said):
    done = rvos.run("tools/bench", "--stage", "7", "--overlay", f"tests/overlays/{overlay}.nw",
                    "--deadline", "3", RVOS_PATIENCE=str(rvos.PATIENCE))
    assert done.returncode == 1
    assert done.stdout.startswith(said), done.stdout
    assert rvos.AWAKE in done.stdout
    assert not ROW.search(done.stdout)


def test_a_benchmark_that_is_not_run_is_missed():
    done = rvos.run("tools/bench", "--stage", "7", "--overlay", "tests/overlays/bench-early-end.nw")
    assert done.returncode == 1
    assert "not measured: " in done.stdout and "yield_and_back" in done.stdout


def test_a_stage_without_benchmarks_says_so():
    done = rvos.run("make", "bench", "STAGE=1")
    assert done.returncode != 0
    assert done.stdout.startswith("stage 1 has no benchmarks\n")


def test_the_book_and_the_benchmarks_agree():
    done = rvos.run("make", "bench-check", "STAGE=7")
    assert done.returncode == 0, done.stdout
    names = re.findall(r"^  (\w+) +\d+ +\d+ +[-+]\d+\.\d %$", done.stdout, re.M)
    assert names == benches.names(7)


@pytest.mark.long(10)
def test_a_number_above_the_book_s_fails_the_check(tmp_path):
    chapters = rvos.chapters_copy(tmp_path)
    spoil(chapters, lambda text: yield_times(0.9, text))
    done = rvos.run("make", "bench-check", "STAGE=7", RVOS_CHAPTERS=str(chapters))
    assert done.returncode != 0
    assert re.search(r"^  yield +\d+ +\d+ +\+1\d\.\d %  FAIL: more than 5 % above$",
                     done.stdout, re.M), done.stdout


def spoil(chapters, edit):
    """Edit chapter 7, which must have what is to be edited."""
    file = next(chapters.glob("07-*.nw"))
    text = file.read_text()
    spoilt = edit(text)
    assert spoilt != text
    file.write_text(spoilt)


def yield_times(factor, text):
    """The cost of `yield` in the table and in the prose, times a factor."""
    less = str(round(measure.value("stage7.release.bench.yield") * factor))
    text = re.sub(r"^(  yield  +)\d+(?=  )", rf"\g<1>{less}", text, flags=re.M)
    return re.sub(r'\[\d+\](?=\{\.value\s+of="stage7\.release\.bench\.yield"\})', f"[{less}]",
                  text)


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """What the comparison says of an edited chapter 7: a function of the edit,
    which returns (all is well, what is printed). The numbers are the book's."""
    found = benches.run(7)
    chapters = rvos.chapters_copy(tmp_path)
    monkeypatch.setattr(nw, "CHAPTERS", chapters)

    def compare(edit):
        spoil(chapters, edit)
        return rvos.tool("bench").check(7, found), capsys.readouterr().out
    return compare


@pytest.mark.parametrize("factor, verdict", [
    (0.90, r"\+1\d\.\d %  FAIL: more than 5 % above"),
    (0.96, r"\+[34]\.\d %"),
    (1.50, r"-3\d\.\d %"),
])
def test_more_than_five_per_cent_are_too_many(factor, verdict, check):
    well, said = check(lambda text: yield_times(factor, text))
    assert well is ("FAIL" not in verdict), said
    assert re.search(rf"^  yield +\d+ +\d+ +{verdict}$", said, re.M), said
    assert said.count("FAIL") == verdict.count("FAIL")


def test_the_lower_of_two_numbers_counts(check):
    """The table alone is changed; the prose still has the right number."""
    well, said = check(lambda text: re.sub(r"^(  lock  +)\d+(?=  )", r"\g<1>20", text, flags=re.M))
    assert not well
    assert re.search(r"^  lock .*FAIL: more than 5 % above$", said, re.M), said


def test_a_benchmark_that_no_chapter_prints_is_reported(check):
    well, said = check(lambda text: re.sub(r"^  frame  .*\n", "", text, flags=re.M))
    assert not well
    assert re.search(r"^  frame +\d+ +FAIL: no chapter prints it$", said, re.M), said


def test_a_number_that_nobody_measures_any_more_is_reported(check):
    row = "  frame_of_gold          5  the same of gold\n"
    well, said = check(lambda text: re.sub(r"^(?=  frame  )", row, text, flags=re.M))
    assert not well
    assert re.search(r"^  frame_of_gold +5 +FAIL: it is not measured any more$", said, re.M), said


def test_a_number_in_words_is_an_error(check):
    with pytest.raises(benches.Failed, match="lock is quoted as `forty`"):
        check(lambda text: re.sub(r'\[\d+\](?=\{\.value\s+of="stage7\.release\.bench\.lock"\})',
                                  "[forty]", text))


@pytest.mark.long(10)
@pytest.mark.parametrize("mem", ["128M", "8G"])
def test_the_way_to_the_first_task_is_short_on_every_machine(mem):
    count = measure.value(f"stage7.release.count.boot.task_init.{mem}")
    assert count < BOOT_LIMIT


def test_more_memory_hardly_lengthens_the_way():
    small, large = (measure.value(f"stage7.release.count.boot.task_init.{mem}")
                    for mem in ("128M", "8G"))
    assert small <= large < 1.25 * small
