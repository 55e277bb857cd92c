"""What lint leaves to other programs: clang-format, cppcheck, GCC's analyzer,
shellcheck and pyflakes. What they find in the tree is reported in the
chapters; what they found in a text before is remembered in build/lint."""

import difflib
import fcntl
import hashlib
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import builds
import nw
from lint_source import Finding
from lint_tree import tangle

COMPACT = ("{BasedOnStyle: InheritParentConfig, ColumnLimit: 80, "
           "AllowShortFunctionsOnASingleLine: All, AllowShortCaseLabelsOnASingleLine: true}")
ALIGNED = "{BasedOnStyle: InheritParentConfig, AlignOperands: Align}"
STYLES = ("file", COMPACT, ALIGNED)
SUPPRESSIONS = nw.ROOT / "tools/lint_cppcheck.txt"
ANALYZED = ("kernel/", "lib/", "user/")
NOTICE = re.compile(r"([^:\s]+):(\d+):(?:\d+:)? (.*)")


def run(*command, **options):
    """What a command prints, on either stream; its status says nothing new."""
    done = subprocess.run([str(word) for word in command], check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    return done.stdout


def notices(said):
    """[(file, line, text)] in what a program said. A program that said
    something else did not do its work, and that ends everything."""
    matches = [NOTICE.match(line) for line in said.splitlines()]
    if said.strip() and not any(matches):
        raise SystemExit(f"lint: {said.strip()}")
    return [(match[1].removeprefix("./"), int(match[2]), match[3]) for match in matches if match]


def digest(*texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


class Cache:
    """Answers by the digest of everything that they depend on. Only answers
    that were asked for since are kept."""

    def __init__(self, path):
        self.path, self.asked = path, {}
        try:
            self.known = json.loads(path.read_text())
        except (OSError, ValueError):
            self.known = {}

    def get(self, key, answer):
        if key not in self.known:
            self.known[key] = answer()
        self.asked[key] = self.known[key]
        return self.asked[key]

    def save(self):
        self.path.write_text(json.dumps(self.asked))


def findings(files, folder, scripts=True, jobs=2):
    """Run everything over the tree `files`, kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _findings(files, folder, scripts, jobs)


def _findings(files, folder, scripts, jobs):
    cache, src = Cache(folder / "cache.json"), folder / "src"
    src.mkdir(exist_ok=True)
    tangle.write_tree(src, {root: [row.text for row in file.rows] for root, file in files.items()})
    tasks = [lambda: _format(files, folder), lambda: _cppcheck(files, folder, cache, jobs)]
    tasks += _analyze(files, src, cache)
    if scripts:
        tasks += [lambda: _shellcheck(cache), lambda: _pyflakes(cache)]
    with ThreadPoolExecutor(jobs) as pool:
        results = [pool.submit(task) for task in tasks]
        found = [finding for result in results for finding in result.result()]
    cache.save()
    return found


def _placed(files, root, line, text):
    """A finding at a line of the tree, moved to the chapter."""
    if root in files:
        return files[root].finding(line, text)
    return Finding(root, line, text)


# -- clang-format ---------------------------------------------------------------

def _format(files, folder):
    """Lines that clang-format would change in each of the styles, for each of
    them is allowed."""
    roots = [root for root in files if root.endswith((".c", ".h"))]
    if not roots:
        return []
    (folder / ".clang-format").write_text((nw.ROOT / ".clang-format").read_text())
    changes = [_changes(files, roots, folder / f"format-{i}", style)
               for i, style in enumerate(STYLES)]
    found = []
    for root in roots:
        free, always = _free(files[root]), set.intersection(*(set(c[root]) for c in changes))
        wanted = {number: changes[0][root][number] for number in sorted(always - free)}
        found += [files[root].finding(number, f"clang-format wants: {text}")
                  for number, text in wanted.items() if wanted.get(number - 1) != text]
    return found


def _free(file):
    """The lines whose layout is the author's: macros, inline assembly, and
    tables, which are what stands between the braces of an enumeration or an
    initialiser."""
    free, depth, assembly = set(), 0, False
    for number, row in enumerate(file.rows, 1):
        text = re.sub(r'"(\\.|[^"])*"|//.*', "", row.text)
        assembly = assembly or re.search(r"\b(__)?asm(__)?\b", text)
        opens = re.search(r"=\s*\{[^}]*$|\)\{[^}]*$|^(typedef )?enum\b.*\{[^}]*$", text)
        if depth or opens:
            depth += text.count("{") - text.count("}")
        if depth or opens or assembly or text.startswith("#define") or text.endswith("\\"):
            free |= {number, number + 1} if depth or text.endswith("\\") else {number}
        assembly = assembly and ";" not in text
    return free


def _changes(files, roots, folder, style):
    """root → {line: what clang-format puts there}."""
    folder.mkdir(exist_ok=True)
    tangle.write_tree(folder, {root: files[root].text.split("\n")[:-1] for root in roots})
    said = run("clang-format", "-i", f"--style={style}", *[folder / root for root in roots])
    if said:
        raise SystemExit(f"clang-format: {said}")
    changed = {}
    for root in roots:
        before = [_level(row.text) for row in files[root].rows]
        after = [_level(line) for line in (folder / root).read_text().split("\n")[:-1]]
        changed[root] = {}
        steps = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        for kind, i, j, k, m in steps:
            if kind != "equal":
                wanted = " / ".join(line.strip() for line in after[k:m][:3]) or "(nothing)"
                changed[root].update({n + 1: wanted for n in range(i, max(j, i + 1))})
    return changed


def _level(line):
    """A line with its alignment taken out: one blank wherever there are more
    after the indentation, or before a backslash that continues it."""
    indent = line[:len(line) - len(line.lstrip())]
    return indent + re.sub(r"\s+", " ", line.strip())


# -- cppcheck and GCC -------------------------------------------------------------

def _cppcheck(files, folder, cache, jobs):
    options = ["--enable=warning,performance,portability", "--inline-suppr", "--quiet",
               "--std=c11", "--platform=unix64", "-D__riscv=1", "-D__riscv_xlen=64", "-DDEBUG=1",
               "-Iinclude", "-Ilib", "-I.", f"--suppressions-list={SUPPRESSIONS}",
               "--template={file}:{line}: {message} [{id}]"]
    roots = [root for root in files if root.endswith(".c")]
    if not roots:
        return []
    key = digest("cppcheck", *options, SUPPRESSIONS.read_text(),
                 *[root + files[root].text for root in files if root.endswith((".c", ".h"))])
    (folder / "cppcheck").mkdir(exist_ok=True)
    command = ["cppcheck", *options, f"-j{jobs}", "--cppcheck-build-dir=../cppcheck", *roots]
    said = cache.get(key, lambda: run(*command, cwd=folder / "src"))
    return [_placed(files, file, line, f"cppcheck: {text}") for file, line, text in notices(said)]


def _compiler():
    """The kernel's compiler and flags, as the build has them."""
    rule = "lint-flags:\n\t@echo $(CC) $(KCFLAGS) $(OPTIMISE)\n"
    said = run("make", "-s", "-f", "tools/build.mk", "-f", "-", "OUT=none", "lint-flags",
               cwd=nw.ROOT, env=builds.environment(), input=rule)
    return said.split()


def _analyze(files, src, cache):
    """One task for each C file of the kernel, the libraries and the programs."""
    compiler = _compiler()
    headers = digest(*[root + file.text for root, file in files.items() if file.has(".h")])
    command = [*compiler, "-fanalyzer", "-I.", "-Iinclude", "-Ilib", "-fdiagnostics-plain-output",
               "-c", "-o", "/dev/null"]
    roots = [root for root in files if root.endswith(".c") and root.startswith(ANALYZED)]

    def task(root):
        key = digest("gcc", *command, headers, root + files[root].text)
        said = cache.get(key, lambda: run(*command, root, cwd=src))
        return [_placed(files, file, line, f"gcc: {text}") for file, line, text in notices(said)
                if re.match(r"(warning|error|fatal error):", text)]

    return [lambda root=root: task(root) for root in roots]


# -- scripts -------------------------------------------------------------------------

def _scripts(suffix, shebang):
    """Our own scripts of a kind."""
    paths = [path for folder in (".ci", "tools", "tests", "exercises", "book")
             for path in sorted((nw.ROOT / folder).rglob("*")) if path.is_file()]
    return [path for path in paths if path.suffix == suffix
            or (not path.suffix and re.match(shebang, path.read_text(errors="replace")))]


def _check_scripts(name, paths, command, cache):
    if not paths:
        return []
    key = digest(*command, *[f"{path}\0{path.read_text()}" for path in paths])
    said = cache.get(key, lambda: run(*command, *[path.relative_to(nw.ROOT) for path in paths],
                                      cwd=nw.ROOT))
    return [Finding(file, line, f"{name}: {text}") for file, line, text in notices(said)]


def _shellcheck(cache):
    paths = _scripts(".sh", r"#!.*\b(ba|da)?sh\b")
    return _check_scripts("shellcheck", paths, ["shellcheck", "--format=gcc"], cache)


def _pyflakes(cache):
    paths = _scripts(".py", r"#!.*\bpython3?\b")
    return _check_scripts("pyflakes", paths, [sys.executable, "-m", "pyflakes"], cache)
