"""Every number in the prose that the build knows is the build's."""

import re

import pytest

import builds
import measure
import nw
import rvos

values = rvos.tool("values")


def pytest_generate_tests(metafunc):
    if "file" in metafunc.fixturenames:
        metafunc.parametrize("file", [
            pytest.param(file, id=file.name, marks=pytest.mark.chapter(nw.chapter_number(file)))
            for file in nw.chapter_files()])


def test_the_numbers_of_a_chapter_are_those_of_the_build(file):
    found = values.problems(file)
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("number, text, rendered", [
    (6144, "6 KiB", "6 KiB"),
    (6143, "6 KiB", "6 KiB"),
    (6656, "6 KiB", "7 KiB"),
    (6112, "1.0 KiB", "6.0 KiB"),
    (3 << 20, "2 MiB", "3 MiB"),
    (6112, "6 100 bytes", "6 112 bytes"),
    (6112, "6\u202f100 bytes", "6\u202f112 bytes"),
    (6112, "6100 bytes", "6112 bytes"),
    (6112, "999 bytes", "6\u202f112 bytes"),
    (1234567, "6 112", "1 234 567"),
    (0x80200000, "0x80201234", "0x80200000"),
    (3, "two C files", "three C files"),
    (12, "two", "twelve"),
    (13, "twelve lines", "13 lines"),
    (1, "7", "1"),
])
def test_a_number_keeps_the_form_it_was_written_in(number, text, rendered):
    assert values.rendered(number, text) == rendered


@pytest.mark.parametrize("text", ["about 6 KiB", "many", "", "0xZZ"])
def test_a_text_that_is_no_number_is_an_error(text):
    with pytest.raises(measure.Unknown):
        values.rendered(1, text)


def sample(folder, *lines):
    path = folder / "01-sample.nw"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_wrong_number_is_an_error_with_both_values(tmp_path):
    path = sample(tmp_path, "Text.", 'It starts at [0x1000]{.value of="stage1.symbol.boot"}.')
    assert [str(problem) for problem in values.problems(path)] == [
        f"{path}:2: error: stage1.symbol.boot: the text says 0x1000, the build says 0x80200000"]


@pytest.mark.parametrize("key, said", [
    ("stage1.symbol.nobody", "no symbol nobody"),
    ("stage1.sizeof.nobody", "No struct type named nobody"),
    ("stage1.instructions.nobody", "no function nobody"),
    ("stage1.size", "the form is size: FUNCTION"),
    ("stage1.text.x", "the form is text: bytes of code"),
    ("stage1.beauty", "is not stageN.KIND"),
    ("stage999.text", "there is no stage 999"),
    ("stage1.count.boot", "the form is count.FROM.TO"),
    ("stage1.count.power_off.boot", "does not go from power_off to boot"),
])
def test_a_key_that_means_nothing_is_an_error_that_helps(key, said, tmp_path):
    path = sample(tmp_path, "", "", f'[1]{{.value of="{key}"}}')
    problem, = values.problems(path)
    assert str(problem).startswith(f"{path}:3: error: ")
    assert said in str(problem)


def test_code_is_not_prose(tmp_path):
    span = '[1]{.value of="stage1.beauty"}'
    path = sample(tmp_path, "<<a.c>>=", span, "@ %def", "```", span, "```", span)
    assert [problem.line for problem in values.problems(path)] == [7]


def test_refreshing_corrects_the_numbers_and_nothing_else(tmp_path):
    path = sample(tmp_path, 'At [0x1000]{.value of="stage1.symbol.boot"} and in a span that goes',
                  'on [1',
                  'byte]{.value', '  of="stage1.symbol.boot"}; <<a.c>>= [0]{.value of="x"}')
    before = path.read_text()
    assert values.refresh(path) != []       # stage x is unknown, and still reported
    after = path.read_text()
    assert after.replace("0x80200000", "0x1000").replace(
        f"[{values.grouped(0x80200000, values.THIN)}\nbyte]", "[1\nbyte]") == before


@pytest.mark.chapter(1)
def test_the_numbers_agree_with_what_the_tools_say(stage):
    """Measured in another way: sections by size, functions by disassembly."""
    image = builds.build(stage)
    said = rvos.run(builds.CROSS + "size", "-A", "-d", image).stdout
    sizes = dict(re.findall(r"^\.(\w+) +(\d+) +[1-9]", said, re.M))
    for name in ("text", "rodata", "data", "bss"):
        assert measure.value(f"stage{stage}.{name}") == int(sizes[name])
    del sizes["bss"]
    assert measure.value(f"stage{stage}.image") == sum(map(int, sizes.values()))
    listing = rvos.run("gdb-multiarch", "-nx", "-batch", "-ex", "disassemble kmain", image).stdout
    assert measure.value(f"stage{stage}.instructions.kmain") == len(
        re.findall(r"^ +0x\w+ <\+\d+>:", listing, re.M))


def test_counting_instructions_gives_the_same_number_every_time():
    once, again = measure.Build(1, "debug"), measure.Build(1, "debug")
    assert len(once.trace) == len(again.trace) > 1000
    assert once.trace == again.trace
    assert once.trace[0] == measure.value("stage1.symbol.boot")


def test_a_count_between_two_functions_is_the_length_of_the_way():
    boot = measure.value("stage1.count.boot.kmain")
    work = measure.value("stage1.count.kmain.power_off")
    assert boot + work == measure.value("stage1.count.boot.power_off")
    assert boot + work < measure.value("stage1.count")
    assert boot > measure.value("stage1.bss") / 8, "clearing the bss takes a store a word"
