"""The harness itself: waiting, typing, giving up, and the verdict at the end."""

import re

import pytest

import rvos

PYTEST = ("/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider")


@pytest.mark.chapter(1)
def test_expect_waits_for_what_the_machine_prints(boot):
    system = boot(rvos.image(1))
    assert system.expect(r"rvOS is (\w+)\.").group(1) == "awake"
    assert "OpenSBI" in system.log
    assert system.finish() == 0


def test_expect_gives_up_when_the_machine_ends(boot):
    system = boot(rvos.image(1))
    with pytest.raises(AssertionError, match="the machine ended before it printed 'sesame'"):
        system.expect("sesame")


def test_expect_and_finish_give_up_at_the_deadline(boot):
    system = boot(rvos.image(1), arguments=["-S"])
    with pytest.raises(AssertionError, match="s passed before it printed 'awake'"):
        system.expect("awake", deadline=0.1)
    with pytest.raises(AssertionError, match="the machine did not end in"):
        system.finish(deadline=0.1)


def test_what_is_sent_is_typed(boot):
    """Ctrl-A C leads to QEMU's monitor, which answers."""
    system = boot(rvos.image(1), arguments=["-S"])
    system.send("\x01cinfo status")
    system.expect(r"VM status: paused")


def test_an_error_of_the_monitor_is_a_failure(boot):
    system = boot(rvos.image(1), arguments=["-S"], qmp=True)
    with pytest.raises(AssertionError, match="sesame"):
        system.ask("sesame")


def verdict(*arguments, **environment):
    """(exit status, last line) of a pytest run; no other line is a verdict."""
    done = rvos.run(*PYTEST, *arguments, **environment)
    verdicts = re.findall(r"^\d+ passed, \d+ failed$", done.stdout, re.M)
    assert verdicts == done.stdout.splitlines()[-1:], done.stdout
    return done.returncode, verdicts[0]


SOUND = "tests/test_mutations.py::test_the_book_itself_has_none_of_these_mistakes"


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_the_last_line_counts_what_passed_and_what_failed(workers, tmp_path):
    assert verdict(SOUND, *workers) == (0, "1 passed, 0 failed")
    chapters = rvos.chapters_copy(tmp_path)
    (chapters / "99-wrong.nw").write_text("# Wrong\n\n<<nobody uses this>>=\n@\n")
    status, line = verdict(SOUND, *workers, RVOS_CHAPTERS=str(chapters))
    assert (status != 0, line) == (True, "0 passed, 1 failed")


def test_a_run_that_cannot_begin_has_failed(tmp_path):
    chapters = rvos.chapters_copy(tmp_path)
    (chapters / "99-wrong.nw").write_text("# Wrong\n\n```{.console}\nno command\n```\n")
    status, line = verdict("tests/test_transcripts.py", RVOS_CHAPTERS=str(chapters))
    assert (status != 0, line) == (True, "0 passed, 1 failed")


def test_a_failure_shows_the_console(tmp_path):
    """The self-tests of a spoilt chapter fail, and the report has their words."""
    chapters = rvos.chapters_copy(tmp_path)
    chapter = next(chapters.glob("01-*.nw"))
    chapter.write_text(chapter.read_text().replace('"[     abc]"', '"[abc]"'))
    done = rvos.run(*PYTEST, "tests/test_boot.py", "--stage", "1", "-k",
                    "self_tests_pass and 128M-1 and debug", RVOS_CHAPTERS=str(chapters))
    assert "console of " in done.stdout
    assert 'got "[     abc]", want "[abc]"' in done.stdout
