"""Compare what a transcript says with what was printed, and bring it up to date.

A pattern is text in which `…` stands for anything: alone on a line for any
number of lines, inside a line for any characters. `refresh` finds the cheapest
way to turn a pattern into one that matches the output. `…` absorbs output for
nothing, so a pattern that matches already costs nothing and stays as it is.
"""

import re

ANY = "…"
KEEP, ABSORB, INSERT, DELETE, CHANGE = range(5)
DELETED, INSERTED = 1.0, 0.6    # what a line costs that only one side has
PIECE_INSERTED = 0.1            # within a line, more costs far less than less


def is_gap(line):
    """Does this line of a pattern stand for any number of lines?"""
    return line.strip() == ANY


def line_matches(pattern, line):
    """Does one line of a pattern, with `…` inside, match one line of output?"""
    literal = [re.escape(part) for part in pattern.split(ANY)]
    return re.fullmatch(".*".join(literal), line) is not None


def matches(pattern, lines):
    """Do the lines of a pattern match the lines of output?"""
    reachable = {0}
    for wanted in pattern:
        if is_gap(wanted):
            reachable = set(range(min(reachable), len(lines) + 1))
        else:
            reachable = {at + 1 for at in reachable
                         if at < len(lines) and line_matches(wanted, lines[at])}
        if not reachable:
            return False
    return len(lines) in reachable


def _cheapest(pattern, actual, change, inserted):
    """The cheapest steps [(step, i, j)] from pattern to actual, where i and j
    count what is used up before the step. `change(i, j)` is the price of
    taking pattern[i] for actual[j]: 0 keeps it, None is impossible."""
    rows, columns = len(pattern) + 1, len(actual) + 1
    cost = [[float("inf")] * columns for _ in range(rows)]
    came = [[None] * columns for _ in range(rows)]
    cost[0][0] = 0.0

    def offer(price, step, i, j, down, right):
        if price < cost[i + down][j + right]:
            cost[i + down][j + right] = price
            came[i + down][j + right] = (step, i, j)

    for i in range(rows):
        for j in range(columns):
            here, gap = cost[i][j], i < len(pattern) and is_gap(pattern[i])
            if i < len(pattern) and j < len(actual) and not gap:
                price = change(i, j)
                if price is not None:
                    offer(here + price, CHANGE if price else KEEP, i, j, 1, 1)
            if gap:
                offer(here, KEEP, i, j, 1, 0)
                if j < len(actual):
                    offer(here, ABSORB, i, j, 0, 1)
            elif i < len(pattern):
                offer(here + DELETED, DELETE, i, j, 1, 0)
            if j < len(actual):
                offer(here + inserted, INSERT, i, j, 0, 1)

    steps, at = [], (len(pattern), len(actual))
    while at != (0, 0):
        step, i, j = came[at[0]][at[1]]
        steps.append((step, i, j))
        at = (i, j)
    return steps[::-1], cost[-1][-1]


def _within_line(old, new):
    """What becomes of the pieces of a pattern's line when they have to match
    the pieces of a line of output, and what that costs."""
    steps, cost = _cheapest(old, new, lambda i, j: 0 if old[i] == new[j] else None,
                            PIECE_INSERTED)
    return "".join(new[j] if step == INSERT else old[i]
                   for step, i, j in steps if step in (KEEP, INSERT)), cost


def _by_words(pattern, line):
    """A pattern that matches the line, made word by word, and how much of the
    old one is in it, from 0 to 1."""
    old, new = (re.findall(r"…|\w+|\s+|[^\w\s]", text) for text in (pattern, line))
    text, cost = _within_line(old, new)
    worst = sum(piece != ANY for piece in old) * DELETED + len(new) * PIECE_INSERTED
    return text, 1 - cost / worst if worst else 1.0


def refresh_line(pattern, line):
    """A pattern that matches the line and keeps each `…`."""
    text, _ = _within_line(pattern, line)
    return _by_words(pattern, line)[0] if is_gap(text) else text


def _line_steps(pattern, lines):
    """The cheapest steps between a pattern and the lines of output."""
    def change(i, j):
        if line_matches(pattern[i], lines[j]):
            return 0
        text, likeness = _by_words(pattern[i], lines[j])
        # A line of nothing but `…` would say "any number of lines".
        return None if is_gap(text) else (1 - likeness) * (DELETED + INSERTED)

    return _cheapest(pattern, lines, change, INSERTED)[0]


def refresh(pattern, lines):
    """(a pattern that matches the lines, the old lines that found no likeness)."""
    fresh, lost = [], []
    for step, i, j in _line_steps(pattern, lines):
        if step == KEEP:
            fresh.append(pattern[i])
        elif step == CHANGE:
            fresh.append(refresh_line(pattern[i], lines[j]))
        elif step == INSERT:
            fresh.append(lines[j])
        elif step == DELETE:
            lost.append(pattern[i])
    return fresh, lost


def difference(pattern, lines):
    """What separates a pattern from output that does not match it, as the
    lines of a diff: both have it, -the pattern has it, +the output has it."""
    said = []
    for step, i, j in _line_steps(pattern, lines):
        if step == KEEP:
            said.append(" " + pattern[i])
        if step in (DELETE, CHANGE):
            said.append("-" + pattern[i])
        if step in (INSERT, CHANGE):
            said.append("+" + lines[j])
    return said
