"""Every session that the book and the README show happens as they show it."""

import random
import subprocess

import pytest

import nw
import rvos
import session

MARKUP = nw.markup_program()
README = rvos.ROOT / "README.md"


def pytest_generate_tests(metafunc):
    if "block" in metafunc.fixturenames:
        files = [*nw.chapter_files(), *([README] if README.exists() else [])]
        metafunc.parametrize("block", [
            pytest.param(block, id=block.where, marks=pytest.mark.chapter(block.stage or 1000))
            for file in files for block in session.blocks(file)])


def test_the_session_happens_as_printed(block):
    found = session.problems(block, session.run(block))
    assert not found, "\n".join(found)


def write(folder, *lines, name="01-sample.nw"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_session_is_split_at_its_prompts(tmp_path):
    path = write(tmp_path, "Text.", "```{.console stage=1 mem=32M}", "$ make run", "…", "one",
                 "rvos> help", "two", "rvos> shutdown", "```")
    block, = session.blocks(path)
    assert block.line == 2
    assert block.attributes == {"stage": "1", "mem": "32M"}
    assert [(s.prompt, s.command, s.pattern) for s in block.steps] == [
        ("$ ", "make run", ["…", "one"]), ("rvos> ", "help", ["two"]), ("rvos> ", "shutdown", [])]


def test_what_looks_like_a_session_in_code_or_in_another_fence_is_none(tmp_path):
    path = write(tmp_path, "<<a.c>>=", "```{.console}", "$ make run", "```", "@ %def a",
                 "````", "```{.console}", "$ make run", "```", "````",
                 "```console", "$ make run", "```")
    assert [block.line for block in session.blocks(path)] == [11]


@pytest.mark.parametrize("lines, line, said", [
    (["```{.console}", "hello", "```"], 2, "begins with a command"),
    (["```{.console}", "rvos> help", "```"], 2, "begins with a command"),
    (["```{.console replay=no}", "$ make run", "```"], 1, "no attribute replay"),
    (["```{.console}", "$ rm -rf build", "```"], 1, "may not run"),
    (["```{.console}", "$ make clean", "```"], 1, "may not run"),
    (["```{.console}", "$ make test", "```"], 1, "may not run"),
    (["```{.console}", "$ make run; reboot", "```"], 1, "may not run"),
    (["```{.console}", "$ make run -f other.mk", "```"], 1, "may not run"),
])
def test_a_session_that_breaks_the_rules_is_an_error_with_file_and_line(lines, line, said,
                                                                        tmp_path):
    path = write(tmp_path, *lines)
    with pytest.raises(nw.SourceError) as error:
        session.blocks(path)
    assert str(error.value).startswith(f"{path}:{line}: error: ")
    assert said in str(error.value)


def test_escaping_is_what_noweb_undoes(tmp_path):
    """Whatever a machine prints, noweb reads its escaped form as the same text,
    and so do we."""
    rng = random.Random(1)
    pieces = ["<<", ">>", "@", " ", "a", "[[", "]]", "@<<", "@@", "x=1", "`", "<", "["]
    lines = ["".join(rng.choice(pieces) for _ in range(rng.randint(1, 6))) for _ in range(500)]
    path = write(tmp_path, *map(session.escape, lines))
    read = nw.read([path])[0].lines
    assert [line.text for line in read] == lines
    assert [session.unescape(session.escape(line)) for line in lines] == lines


def stage_1_session(folder, *output, attributes="stage=1"):
    return write(folder, "Look:", "", f"```{{.console {attributes}}}", "$ make run STAGE=1",
                 *output, "```", "That was it.")


def refresh(path):
    done = rvos.run("tools/transcripts", "--refresh", path)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_refreshing_puts_the_real_output_between_the_ellipses(tmp_path):
    path = stage_1_session(tmp_path, "…", "rvOS is asleep.", "…", "Nothing left to do.")
    before = path.read_text()
    refresh(path)
    assert path.read_text() == before.replace("asleep", "awake").replace(
        "Nothing left to do.", "Nothing left to do: powering off.")


def test_refreshing_leaves_a_session_alone_that_is_right(tmp_path):
    path = stage_1_session(tmp_path, "…", "rvOS is aw….", "…")
    before = path.read_text()
    assert refresh(path) == ""
    assert path.read_text() == before


def test_refreshing_says_which_lines_it_dropped(tmp_path):
    path = stage_1_session(tmp_path, "…", "XYZZY", "…")
    assert f"{path}:3: nothing is like this any more: XYZZY" in refresh(path)


def test_the_wrong_exit_status_is_an_error(tmp_path):
    path = stage_1_session(tmp_path, "…", attributes="stage=1 status=2")
    done = rvos.run("tools/transcripts", "--check", path)
    assert done.returncode == 1
    assert f"{path}:3: error: the exit status is 0, the text says 2" in done.stdout


def test_a_session_with_gdb_is_typed_at_its_prompt(tmp_path):
    path = write(tmp_path, "```{.console stage=1}", "$ make debug STAGE=1", "…",
                 "(gdb) print 6 * 7", "$1 = 41", "(gdb) print 6 * 9", "$2 = 54", "```")
    done = rvos.run("tools/transcripts", "--check", path)
    assert f"{path}:1: error: `(gdb) print 6 * 7` prints something else" in done.stdout
    assert "-$1 = 41\n+$1 = 42\n" in done.stdout
    assert "6 * 9" not in done.stdout


def test_typing_at_what_has_ended_is_an_error(tmp_path):
    path = write(tmp_path, "```{.console stage=1}", "$ make run STAGE=1", "…", "rvos> help", "…",
                 "```")
    done = rvos.run("tools/transcripts", "--check", path)
    assert done.returncode == 1
    assert f"{path}:1: error: `rvos> help` comes too late" in done.stdout


def test_an_exit_status_that_never_comes_is_an_error(tmp_path):
    path = write(tmp_path, "```{.console stage=1 status=0}", "$ make debug STAGE=1", "…",
                 "(gdb) print 1", "…", "```")
    done = rvos.run("tools/transcripts", "--check", path)
    assert f"{path}:1: error: there is no exit status: the session does not end" in done.stdout


def test_a_session_whose_system_cannot_be_built_shows_why(tmp_path):
    overlay = write(tmp_path, "<<kernel/demo/99-wrong.c>>=", "wrong", "@", name="wrong.nw")
    path = stage_1_session(tmp_path, "…", attributes=f"stage=1 overlay={overlay}")
    done = rvos.run("tools/transcripts", "--check", path)
    assert done.returncode == 1
    assert f"{path}:3: error: what `make run STAGE=1` boots cannot be built" in done.stdout
    assert f"{overlay}:2" in done.stdout


def test_noweb_is_content_with_a_refreshed_chapter(tmp_path):
    path = stage_1_session(tmp_path, "nothing like it")
    refresh(path)
    done = subprocess.run([MARKUP, path], check=False, capture_output=True, text=True)
    assert (done.returncode, "@fatal" in done.stdout) == (0, False)
