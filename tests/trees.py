"""Device trees for tests: those of QEMU's machines, changed ones, and ours.

A tree is a Node: properties by name, in order, and children. A value may be a
number or a list of numbers (cells), a string or a list of strings, or bytes.
"""

import functools
import struct
import tempfile
from pathlib import Path

import rvos

BEGIN_NODE, END_NODE, PROPERTY, NOP, END = 1, 2, 3, 4, 9
PLIC = "soc/plic@c000000"
SERIAL = "soc/serial@10000000"


class Node:
    """A node of a tree; node["soc/plic@c000000"] is one further down."""

    def __init__(self, name="", properties=None, *children):
        self.name = name
        self.properties = {key: value(v) for key, v in (properties or {}).items()}
        self.children = list(children)

    def __getitem__(self, path):
        node = self
        for part in path.split("/"):
            node = next(child for child in node.children if child.name == part)
        return node

    def set(self, **properties):
        """Give properties values."""
        self.properties |= {key: value(content) for key, content in properties.items()}
        return self

    def add(self, *children):
        self.children += children
        return self

    def remove(self, path):
        """Remove a node further down."""
        parent, _, name = path.rpartition("/")
        node = self[parent] if parent else self
        node.children.remove(node[name])
        return self


def value(content):
    """A property's value as bytes."""
    if isinstance(content, bytes):
        return content
    parts = content if isinstance(content, (list, tuple)) else [content]
    return b"".join(part.encode("latin-1") + b"\0" if isinstance(part, str)
                    else struct.pack(">I", part) for part in parts)


def padded(content):
    return content + bytes(-len(content) % 4)


def text_at(blob, at):
    return blob[at:blob.index(b"\0", at)].decode("latin-1")


def read(blob):
    """The tree in a sound blob; its reservation block is left aside."""
    _, _, at, strings = struct.unpack(">4I", blob[:16])
    open_nodes = [Node()]
    while True:
        token, = struct.unpack_from(">I", blob, at)
        at += 4
        if token == BEGIN_NODE:
            node = Node(text_at(blob, at))
            at += len(padded(blob[at:at + len(node.name) + 1]))
            open_nodes[-1].add(node)
            open_nodes.append(node)
        elif token == PROPERTY:
            length, name = struct.unpack_from(">II", blob, at)
            open_nodes[-1].properties[text_at(blob, strings + name)] = blob[at + 8:at + 8 + length]
            at += 8 + len(padded(bytes(length)))
        elif token == END_NODE:
            open_nodes.pop()
        elif token == END:
            return open_nodes[0].children[0]


class Writer:
    """Flattens a tree: `nops` of them before each token."""

    def __init__(self, nops=0):
        self.structure, self.strings, self.nops = b"", b"", nops

    def token(self, *numbers):
        self.structure += struct.pack(">I", NOP) * self.nops
        self.structure += struct.pack(f">{len(numbers)}I", *numbers)

    def node(self, node):
        self.token(BEGIN_NODE)
        self.structure += padded(value(node.name))
        for name, content in node.properties.items():
            if value(name) not in self.strings:
                self.strings += value(name)
            self.token(PROPERTY, len(content), self.strings.index(value(name)))
            self.structure += padded(content)
        for child in node.children:
            self.node(child)
        self.token(END_NODE)


def write(root, reservations=(), nops=0):
    """The blob of a tree."""
    writer = Writer(nops)
    writer.node(root)
    writer.token(END)
    return join(writer, reservations)


def join(writer, reservations=()):
    """Header, reservations, structure and strings."""
    entries = b"".join(struct.pack(">QQ", *entry) for entry in (*reservations, (0, 0)))
    structure = 40 + len(entries)
    strings = structure + len(writer.structure)
    header = struct.pack(">10I", 0xd00dfeed, strings + len(writer.strings), structure, strings,
                         40, 17, 16, 0, len(writer.strings), len(writer.structure))
    return header + entries + writer.structure + writer.strings


@functools.cache
def _dumped(machine, options):
    with tempfile.TemporaryDirectory(prefix="rvos-") as folder:
        done = rvos.run("qemu-system-riscv64", "-machine", f"{machine},dumpdtb={folder}/dtb",
                        "-nographic", *options)
        assert done.returncode == 0, done.stdout
        return (Path(folder) / "dtb").read_bytes()


def qemu(*options, machine="virt"):
    """The tree of one of QEMU's machines, with the same seed for its random
    numbers each time."""
    root = read(_dumped(machine, options))
    for node in root.children:
        if "rng-seed" in node.properties:
            node.set(**{"rng-seed": bytes(32)})
    return root


def two_nodes(first, second, size):
    """Options that split a machine in two, each part with these harts and so much memory."""
    return [part for name, cpus in (("a", first), ("b", second)) for part in (
        "-object", f"memory-backend-ram,id={name},size={size}",
        "-numa", f"node,memdev={name},cpus={cpus}")]


# -- trees of our own -----------------------------------------------------------

def hart(number, **more):
    """A hart with its own interrupt controller, whose phandle is 16 + number."""
    return Node(f"cpu@{number:x}", {"device_type": "cpu", "reg": number, **more},
                Node("interrupt-controller", {"compatible": "riscv,cpu-intc",
                                              "phandle": 16 + number}))


def harts(*which):
    return Node("cpus", {"#address-cells": 1, "#size-cells": 0,
                         "timebase-frequency": 10_000_000}, *which)


def memory(*ranges, **more):
    """A node of memory, with addresses and sizes of two cells."""
    reg = [cell for number in ranges for cell in (number >> 32, number & 0xffffffff)]
    return Node(f"memory@{ranges[0]:x}", {"device_type": "memory", "reg": reg, **more})


def device(kind, start, size=0x100, **more):
    return Node(f"device@{start:x}", {"compatible": kind, "reg": [0, start, 0, size], **more})


def plic(*harts_of_contexts, kind=("sifive,plic-1.0.0", "riscv,plic0")):
    """A PLIC with a machine and a supervisor context for each hart, in order."""
    pairs = [cell for number in harts_of_contexts
             for cell in (16 + number, 11, 16 + number, 9)]
    return device(list(kind), 0xc000000, 0x600000, **{"interrupts-extended": pairs})


def soc(*devices, **more):
    return Node("soc", {"#address-cells": 2, "#size-cells": 2, "ranges": b"", **more}, *devices)


def slots(count, step=0x1000):
    """VirtIO slots, the last one first."""
    return [device("virtio,mmio", 0x10001000 + step * n, interrupts=n + 1)
            for n in reversed(range(count))]


def board(*children, **more):
    """A root with what every test wants: sizes of cells and a name."""
    return Node("", {"#address-cells": 2, "#size-cells": 2, "model": "a board", **more}, *children)


def usual(*children):
    """A small sound machine: two harts, memory, a serial port, a PLIC."""
    return board(memory(0x80000000, 0x8000000), harts(hart(0), hart(1)),
                 soc(device("ns16550a", 0x10000000, interrupts=10), plic(0, 1)), *children)


def chosen(arguments):
    return Node("chosen", {"bootargs": arguments})


def reserved_memory(*children):
    return Node("reserved-memory", {"#address-cells": 2, "#size-cells": 2, "ranges": b""},
                *children)


def nest(depth, **more):
    """A board in which nodes are nested so deep, the root included."""
    node = Node("leaf", {"reg": [1, 2], **more})
    for level in range(depth - 2):
        node = Node(f"n{level}", {"ranges": b"", "#size-cells": level % 3}, node)
    return board(node)


def seeds():
    """Sound blobs to begin with when things are to be broken, by name."""
    blobs = {
        "least": write(Node()),
        "usual": write(usual(chosen("hello demo=1 a=2"))),
        "nops": write(board(memory(1, 2), harts(hart(0))), [(4096, 8192)], nops=2),
        "deep": write(nest(16)),
        "cells": write(cells()),
        "reserved": write(usual(reserved_memory(
            Node("a", {"reg": [0, 16, 0, 32, 0, 64, 0, 64]}), Node("b", {"status": "disabled"}))),
            [(1 << 40, 1 << 41), (7, 9)]),
        "status": write(board(memory(0, 9, status="ok"), harts(
            hart(0, status="okay"), hart(1, status="disabled"), hart(2, status=b"")))),
        "slots": write(board(soc(*slots(4), device("sifive,test0", 0x100000, 0x1000)))),
        "ranges": write(board(memory(1 << 64 - 1, 1 << 62), memory((1 << 64) - 4096, 4096),
                              memory((1 << 64) - 4096, 4095), memory(1, (1 << 64) - 1))),
        "words": write(board(chosen("  a=1 ab=22  hello long=1234567 a=3 =x demo"),
                             Node("x", {"compatible": ["", "a", ""], "": b"x", "a": b"\0\0"}))),
        "many": write(board(memory(*range(1, 41)), harts(*map(hart, range(66))))),
        "many-slots": write(board(soc(*slots(34)))),
    }
    machines = {
        "virt": qemu(), "virt-5": qemu("-smp", "5"),
        "virt-aia": qemu("-smp", "2", machine="virt,aia=aplic-imsic,aia-guests=1"),
        "virt-aclint": qemu("-smp", "2", machine="virt,aclint=on"),
        "numa": qemu("-smp", "4", "-m", "256M", *two_nodes("0-1", "2-3", size="128M")),
        "spike": qemu("-smp", "3", machine="spike"),
        "sifive_u": qemu("-smp", "5", machine="sifive_u"),
    }
    return blobs | {name: write(root) for name, root in machines.items()}


def _properties(count, name=0):
    return [PROPERTY, 0, name] * count


def _nodes(count, inside=()):
    return [BEGIN_NODE, 0, *inside, END_NODE] * count


def _reg(count):
    return [PROPERTY, 12 * count, 0, *[0, 1, 1] * count]


MANY = {    # what there is much of: tokens inside of the root, and the strings
    "nodes": lambda n: (_nodes(n), "x\0"),
    "names of nodes": lambda n: ([BEGIN_NODE, *[0x61616161] * n, 0, END_NODE] * 8, "x\0"),
    "nothing": lambda n: ([NOP] * n + _nodes(9, [NOP] * n), "x\0"),
    "properties": lambda n: (_properties(n), "x\0"),
    "properties of many nodes": lambda n: (_nodes(n, _properties(4)), "reg\0"),
    "long names": lambda n: (_properties(n), "x" * 8 * n + "\0"),
    "long names without an end": lambda n: (_properties(n), "\0" + "x" * 8 * n),
    "names alike": lambda n: (_properties(n), "#address-cellular\0"),
    "strings": lambda n: ([PROPERTY, 4 * n, 4, *[0] * n, *_reg(1)], "reg\0compatible\0"),
    "entries": lambda n: (_properties(n, 4) + _reg(n), "reg\0x\0"),
    "entries of memory": lambda n: (_nodes(1, [PROPERTY, 7, 6, 0x6d656d6f, 0x72790000]
                                           + _properties(n, 4) + _reg(n)),
                                    "reg\0r\0device_type\0"),
    "contexts": lambda n: board(harts(*map(hart, range(64))), soc(plic(*[77] * n))),
    "contexts of many": lambda n: board(
        harts(*map(hart, range(64))),
        soc(*(plic(*[77] * (n // 9)) for _ in range(9)), plic(*range(64)))),
    "harts": lambda n: board(harts(*map(hart, range(n)))),
    "slots": lambda n: board(soc(*slots(n))),
    "reservations": lambda n: (board(), [(1, 0)] * (4 * n)),
}


def many(kind, count):
    """A sound tree with very much of something."""
    made = MANY[kind](count)
    if isinstance(made, Node):
        return write(made)
    if isinstance(made[0], Node):
        return write(*made)
    tokens, strings = made
    writer = Writer()
    writer.token(BEGIN_NODE, 0, *tokens, END_NODE, END)
    writer.strings = strings.encode()
    return join(writer)


def unsound():
    """Blobs that are refused, to begin with when they are to be broken further."""
    structures = {
        "nothing": [], "only an end": [END], "no end": [BEGIN_NODE, 0, END_NODE],
        "end first": [END_NODE, BEGIN_NODE, 0, BEGIN_NODE, 0, END_NODE, END],
        "two roots": [BEGIN_NODE, 0, END_NODE, BEGIN_NODE, 0, END_NODE, END],
        "not ended": [BEGIN_NODE, 0, BEGIN_NODE, 0, END_NODE, END],
        "ended twice": [BEGIN_NODE, 0, END_NODE, END_NODE, END],
        "property first": [PROPERTY, 0, 0, BEGIN_NODE, 0, END_NODE, END],
        "property behind a child": [BEGIN_NODE, 0, BEGIN_NODE, 0, END_NODE, PROPERTY, 0, 0,
                                    END_NODE, END],
        "property behind the root": [BEGIN_NODE, 0, END_NODE, PROPERTY, 0, 0, END],
        "unknown": [BEGIN_NODE, 0, 5, END_NODE, END],
    }
    blobs = {"too deep": write(nest(17))}
    for name, tokens in structures.items():
        writer = Writer()
        writer.token(*tokens)
        writer.strings = value("x")
        blobs[name] = join(writer)
    return blobs


def cells():
    """Nodes under parents with all sizes of cells, reachable and not."""
    kinds = [(a, s) for a in range(4) for s in range(4)]
    return board(*(Node(f"bus@{a}{s}", {"#address-cells": a, "#size-cells": s,
                                        **({"ranges": bytes(4 * (s % 2))} if a % 2 else {})},
                        Node("d", {"reg": list(range(5)), "compatible": "ns16550a"}))
                   for a, s in kinds))
