"""Properties of the comparison and the refreshing of transcripts, on random ones."""

import random
import re

import pytest

import align

WORDS = ["hart", "0", "3", "ok", "failed", "at", "0x80200000", "text", "KiB", "=", "kernel"]
SEEDS = range(300)


def random_line(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 6)))


def random_output(rng):
    return [random_line(rng) if rng.random() < 0.9 else "" for _ in range(rng.randint(0, 9))]


def blurred(rng, lines):
    """A pattern that matches the lines: some stretches and some words are `…`."""
    pattern = []
    for line in lines:
        if rng.random() < 0.2:
            if pattern[-1:] != [align.ANY]:
                pattern.append(align.ANY)
        elif rng.random() < 0.3 and line:
            words = line.split(" ")
            words[rng.randrange(len(words))] = align.ANY
            text = " ".join(words)
            pattern.append("0" + text if text == align.ANY and line == "0" else text)
        else:
            pattern.append(line)
    return pattern


def as_regex(pattern):
    """The meaning of a pattern, said in another way."""
    parts = [r"(?:[^\n]*\n)*" if align.is_gap(line) else
             "[^\n]*".join(map(re.escape, line.split(align.ANY))) + "\n" for line in pattern]
    return re.compile("".join(parts))


def cases(seed):
    rng = random.Random(seed)
    output = random_output(rng)
    return rng, output, blurred(rng, output)


@pytest.mark.parametrize("seed", SEEDS[:100])
def test_matching_means_what_a_regular_expression_would(seed):
    rng, output, pattern = cases(seed)
    for lines in (output, random_output(rng), output[1:], output + [random_line(rng)]):
        means = as_regex(pattern).fullmatch("".join(line + "\n" for line in lines))
        assert align.matches(pattern, lines) == bool(means)


def test_refreshing_a_pattern_that_matches_changes_nothing():
    matched = 0
    for seed in SEEDS:
        _, output, pattern = cases(seed)
        if align.matches(pattern, output):
            assert align.refresh(pattern, output) == (pattern, [])
            matched += 1
    assert matched > len(SEEDS) / 2


def test_a_refreshed_pattern_matches_the_output():
    for seed in SEEDS:
        rng, _, pattern = cases(seed)
        output = random_output(rng)
        fresh, _ = align.refresh(pattern, output)
        assert align.matches(fresh, output), (pattern, output, fresh)


def test_refreshing_twice_is_refreshing_once():
    for seed in SEEDS:
        rng, _, pattern = cases(seed)
        output = random_output(rng)
        fresh, _ = align.refresh(pattern, output)
        assert align.refresh(fresh, output) == (fresh, [])


def test_every_ellipsis_survives_unless_its_line_is_reported_lost():
    for seed in SEEDS:
        rng, _, pattern = cases(seed)
        fresh, lost = align.refresh(pattern, random_output(rng))
        assert sum(map(align.is_gap, fresh)) == sum(map(align.is_gap, pattern))
        count = sum(line.count(align.ANY) for line in pattern)
        assert sum(line.count(align.ANY) for line in fresh + lost) == count


def test_a_difference_is_empty_of_changes_only_if_the_pattern_matches():
    for seed in SEEDS:
        rng, output, pattern = cases(seed)
        for lines in (output, random_output(rng)):
            changed = any(line[0] in "+-" for line in align.difference(pattern, lines))
            assert changed != align.matches(pattern, lines)


@pytest.mark.parametrize("pattern, output, fresh", [
    (["…", "hello"], ["banner", "", "hello, world"], ["…", "hello, world"]),
    (["…", "bye"], ["banner", "bye", "bye"], ["…", "bye"]),
    (["a", "…", "z"], ["a", "new", "y"], ["a", "…"]),
    (["time … ms"], ["time 5 ms, load 3"], ["time … ms, load 3"]),
    (["hart …, tree at 0x…"], ["hart 0, device tree at 0x87e00000"],
     ["hart …, device tree at 0x…"]),
    (["text 8 KiB", "data 4 KiB"], ["text 4 KiB", "data 4 KiB"], ["text 4 KiB", "data 4 KiB"]),
    (["one", "three"], ["one", "two", "three"], ["one", "two", "three"]),
    (["one", "two", "three"], ["one", "three"], ["one", "three"]),
    ([], ["anything"], ["anything"]),
    (["…"], [], ["…"]),
])
def test_refreshing_keeps_what_still_holds(pattern, output, fresh):
    assert align.refresh(pattern, output)[0] == fresh
