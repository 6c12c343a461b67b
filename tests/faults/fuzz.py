# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Damage datasets and configurations at random; find hangs, tracebacks and unnoticed damage.

`python tests/faults/fuzz.py --count 5000` damages 5,000 files, with a new seed each time, which
is printed; `--seed` makes the same ones again, `--only N` one of them. Each is given to
`kryloset check`, `info` and `info --config`, to what reads datasets, and to one of `reproduce`,
`report`, `restore` and `diff`, or to `kryloset config`, in a process of its own. What is found is
kept in `fuzz-findings/`.
"""

# ruff: noqa: E402  (what other tests have must be in reach first)

import argparse
import contextlib
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py
import numpy as np

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "dataset")]

from resealing import seal_again
from various_runs import various

# What the commands load is loaded once, for all processes.
from kryloset import __main__ as kryloset_command
from kryloset import cli, snakefile  # noqa: F401
from kryloset.config import dump_dataset
from kryloset.dataset import description, diff, restore  # noqa: F401
from kryloset.dataset.integrity import SEALS
from kryloset.dataset.reader import Dataset
from kryloset.dataset.structure import CREATED
from kryloset.errors import KrylosetError
from kryloset.learn.models import registry  # noqa: F401
from kryloset.report import page  # noqa: F401
from kryloset.run import check, report, reproduce  # noqa: F401

#: Seconds after which a process counts as hanging, on a machine with other load.
LIMIT = 120.0
#: The share of the cases that are configurations.
CONFIGURATIONS = 0.2
FINDINGS = Path("fuzz-findings")
FAMILIES = (("Various", 2), ("Meshed", 2), ("Moving", 1))

type Mutation = Callable[[random.Random, bytearray], bytearray]


def _flip(dice: random.Random, data: bytearray) -> bytearray:
    for _ in range(dice.choice([1, 1, 1, 2, 10])):
        data[_place(dice, data)] ^= 1 << dice.randrange(8)
    return data


def _bytes(dice: random.Random, data: bytearray) -> bytearray:
    place, length = _place(dice, data), dice.choice([1, 2, 4, 8])
    data[place : place + length] = dice.choice([dice.randbytes(length), b"\xff" * length])
    return data


def _zero(dice: random.Random, data: bytearray) -> bytearray:
    place, length = _place(dice, data), dice.choice([8, 64, 512, 4096])
    data[place : place + length] = bytes(len(data[place : place + length]))
    return data


def _swap(dice: random.Random, data: bytearray) -> bytearray:
    length = dice.choice([8, 64, 512])
    one, other = sorted(dice.randrange(len(data) // length - 1) * length for _ in range(2))
    if one != other:
        data[one : one + length], data[other : other + length] = (
            data[other : other + length],
            data[one : one + length],
        )
    return data


def _truncate(dice: random.Random, data: bytearray) -> bytearray:
    return data[: dice.randrange(len(data))]


def _append(dice: random.Random, data: bytearray) -> bytearray:
    return data + dice.randbytes(dice.choice([1, 100, 5000]))


BLIND: tuple[Mutation, ...] = (_flip, _flip, _flip, _bytes, _zero, _swap, _truncate, _append)


def _place(dice: random.Random, data: bytearray) -> int:
    """Return a random place, half of the time in HDF5's own structure."""
    if dice.random() < 0.5:
        sign = dice.choice([b"OHDR", b"FAHD", b"FADB", b"GCOL", b"FRHP", b"BTHD", b"EAHD"])
        starts, at = [], data.find(sign)
        while at >= 0:
            starts.append(at)
            at = data.find(sign, at + 1)
        if starts:
            return min(dice.choice(starts) + dice.randrange(400), len(data) - 1)
    return dice.randrange(len(data))


def _edit(dice: random.Random, path: Path) -> str:
    """Edit a file with HDF5 and return a description of the edit."""
    with h5py.File(path, "r+") as file:
        paths: list[str] = []
        file.visit(paths.append)
        name = dice.choice(paths)
        node = file[name]
        kind = dice.choice(["attribute", "delete", "link", "external", "number", "new", "text"])
        if kind == "attribute":
            key = dice.choice([*node.attrs, "extra"])
            value = dice.choice(
                [1, -1.5, "m", np.nan, [], np.arange(3), b"\xff\xfe", h5py.Empty("f"), 2**63]
            )
            if key in node.attrs and dice.random() < 0.3:
                del node.attrs[key]
            else:
                node.attrs[key] = value
        elif kind == "delete":
            del file[name]
        elif kind in ("link", "external"):
            del file[name]
            target = dice.choice(["/", f"/{name}", "/x", "/nowhere"])
            file[name] = (
                h5py.SoftLink(target) if kind == "link" else h5py.ExternalLink("a.h5", target)
            )
        elif kind == "number" and isinstance(node, h5py.Dataset) and node.size and node.ndim:
            place = tuple(dice.randrange(n) for n in node.shape)
            node[place] = dice.choice([0, 1, 77]) if node.dtype.kind == "i" else dice.random()
        elif kind == "text":
            key = dice.choice(["provenance/config", "provenance/family", SEALS])
            text = file[key].asstr()[()]
            del file[key]
            file.create_dataset(key, data=_garble(dice, text), dtype=h5py.string_dtype())
        else:
            shape = dice.choice([(10**15,), (3,), (), (0,), (2, 10**9)])
            name = dice.choice([f"{name}_new", "zz"]) if kind == "new" else name
            with contextlib.suppress(KeyError, ValueError):
                del file[name]
            with contextlib.suppress(KeyError, ValueError, OSError):
                chunks = tuple(min(n, 10) or 1 for n in shape) if shape and all(shape) else None
                file.create_dataset(name, shape, dice.choice(["f8", "i4", "S3"]), chunks=chunks)
    return f"{kind} of {name}"


def _seal_again(path: Path) -> None:
    """Seal the edited file with its new digests, if possible."""
    with contextlib.suppress(Exception):
        seal_again(path)


TOKENS = (
    ".inf", "-.inf", ".nan", "true", "no", "2147483648", "-1", "0", "1e400", "''", "null", "[]",
    "{}", "[" * 20_000, "&a [*a]", "*b", "'" + "n" * 256 + "'", "!!python/object:os.system x",
    "2001-01-01", "1" * 5000, "'\\0'", '"\\ud800"', "1:2:3", "0x7fffffffffffffffffff",
)  # fmt: skip
BOMB = "\n".join(["a: &a0 [x, x]", *(f"b{i}: &a{i + 1} [*a{i}, *a{i}]" for i in range(60))])


def _garble(dice: random.Random, text: str) -> str:
    """Change a YAML text."""
    lines = text.split("\n")
    for _ in range(dice.choice([1, 1, 2, 5])):
        place, kind = dice.randrange(len(lines)), dice.randrange(7)
        head, colon, _ = lines[place].partition(":")
        if kind < 3 and colon:
            lines[place] = f"{head}: {dice.choice(TOKENS)}"
        elif kind == 3:
            lines.insert(place, lines[place])
        elif kind == 4:
            lines.insert(place, BOMB if dice.random() < 0.2 else dice.choice(TOKENS))
        elif kind == 5:
            del lines[place : place + dice.choice([1, 3])]
            lines = lines or [""]
        else:
            at = dice.randrange(len(lines[place]) + 1)
            lines[place] = lines[place][:at] + chr(dice.randrange(1, 0x300)) + lines[place][at:]
    return "\n".join(lines)


def everything(path: Path) -> dict[str, object]:
    """Return everything that a reader can see in a file."""
    found: dict[str, object] = {}

    def see(name: str, node: h5py.HLObject) -> None:
        # The time of making has no digest.
        unsealed = ("REFERENCE_LIST", "DIMENSION_LIST", *([CREATED] if name == "/" else []))
        found[name] = {k: repr(value) for k, value in node.attrs.items() if k not in unsealed}
        if isinstance(node, h5py.Dataset):
            scales = [[scale.name for scale in axis.values()] for axis in node.dims]
            values = np.asarray(node[()]).tobytes() if node.ndim else node[()]
            found[name + ":"] = (values, node.shape, str(node.dtype), scales)

    with h5py.File(path) as file:
        see("/", file)
        file.visititems(see)
    return found


@dataclass(frozen=True)
class Sound:
    """The undamaged inputs: datasets, their contents, and the configuration of one."""

    datasets: tuple[bytes, ...]
    contents: tuple[dict[str, object], ...]
    config: str


@cache
def sound() -> Sound:
    """Make the undamaged inputs."""
    datasets, contents = [], []
    with tempfile.TemporaryDirectory() as name:
        for number, (family, dimension) in enumerate(FAMILIES):
            run = various(Path(name, str(number)), family, dimension, count=4)
            path = run.merge()
            datasets.append(path.read_bytes())
            contents.append(everything(path))
        config = dump_dataset("set", run.config)
    return Sound(tuple(datasets), tuple(contents), config)


def _read(path: Path) -> None:
    """Read everything that `Dataset` can read."""
    with Dataset(path) as data:
        for index in range(min(len(data), 4)):
            data.instance(index), data.solution(index), data.inside(index)
            for points in data.config.mesh.grids:
                data.resampled(points, index)
        data.meshes(), data.splits(), data.grid
        for name in (*data.parameters, *data.fields):
            data.statistics(name)


def _command(*arguments: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        sys.argv = ["kryloset", *arguments, str(path)]
        kryloset_command.main()

    return run


def _diff(path: Path) -> None:
    """Compare the file with an undamaged one."""
    other = path.with_name("sound.h5")
    other.write_bytes(sound().datasets[0])
    _command("diff", str(other))(path)


#: What each damaged dataset meets.
DATASET = {
    "check": _command("check"),
    "info": _command("info"),
    "info --config": _command("info", "--config"),
    "readers": _read,
}
#: Those that take longer: each file meets one of them.
IN_TURN: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("reproduce", _command("reproduce", "--instance", "1")),
    ("report", _command("report", "--output", "page.html")),
    ("restore", lambda path: _command("restore", str(path))(path.with_name("again"))),
    ("diff", _diff),
)
CONFIGURATION = {"config": _command("config")}


def _end_of(work: Callable[[Path], None], path: Path) -> tuple[str, str]:
    """Run in a separate process; return passed, refused, hang or traceback, and the output."""
    log = path.with_name("log")
    child = os.fork()
    if child == 0:
        _run(work, path, log)
    deadline, status = time.monotonic() + LIMIT, None
    while status is None:
        ended, found = os.waitpid(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(found)
        elif time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang", log.read_text(errors="replace")
        else:
            time.sleep(0.003)
    said = log.read_text(errors="replace")
    if status not in (0, 1) or "Traceback" in said:
        return "traceback", f"{said}\nended with {status}"
    return ("refused" if status else "passed"), said


def _run(work: Callable[[Path], None], path: Path, log: Path) -> None:
    code = 2
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = (
            open(number, "w", buffering=1, closefd=False)  # noqa: SIM115
            for number in (1, 2)
        )
        os.chdir(path.parent)
        work(path)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except KrylosetError:
        code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


@dataclass(frozen=True)
class Case:
    """A damaged file and how the commands coped with it.

    Attributes:
        number: Of the case.
        what: What was done.
        ends: How each command ended.
        faults: What should not have been.
    """

    number: int
    what: str
    ends: dict[str, str]
    faults: list[str]


def examine(seed: int, number: int) -> Case:
    """Damage a file and run commands on it; keep the file if one of them fails."""
    dice, whole = random.Random(f"{seed} {number}"), sound()
    with tempfile.TemporaryDirectory() as folder:
        if dice.random() < CONFIGURATIONS:
            path, expected, what = Path(folder, "c.yaml"), None, "a configuration"
            text = _garble(dice, whole.config).encode(errors="surrogatepass")
            data = bytearray(text)
            if dice.random() < 0.2:
                data = _bytes(dice, data)
            path.write_bytes(data)
            commands = CONFIGURATION
        else:
            kind = dice.randrange(len(whole.datasets))
            path, expected = Path(folder, "d.h5"), whole.contents[kind]
            data = bytearray(whole.datasets[kind])
            commands = DATASET | dict([IN_TURN[number % len(IN_TURN)]])
            if dice.random() < 0.6:
                mutation = dice.choice(BLIND)
                what = mutation.__name__
                path.write_bytes(mutation(dice, data))
            else:
                path.write_bytes(data)
                what = _edit(dice, path)
                if dice.random() < 0.5:
                    _seal_again(path)
                    # With recomputed digests, values that cannot be derived may differ.
                    what, expected = f"{what}, sealed again", None
        found = {name: _end_of(work, path) for name, work in commands.items()}
        faults = [
            f"{name}: {end}\n{said}"
            for name, (end, said) in found.items()
            if end in ("hang", "traceback")
        ]
        if expected is not None and found["check"][0] == "passed" and everything(path) != expected:
            faults.append("check passes, and the file says otherwise")
        if faults:
            FINDINGS.mkdir(exist_ok=True)
            shutil.copy(path, FINDINGS / f"{seed}-{number}{path.suffix}")
        return Case(number, what, {name: end for name, (end, _) in found.items()}, faults)


def run(seed: int, numbers: range) -> Iterator[Case]:
    """Examine the cases of a seed, on all processors."""
    sound()  # once, for all processes
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(mp_context=context) as pool:
        for case in as_completed(pool.submit(examine, seed, number) for number in numbers):
            yield case.result()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    only, ends, faulty = options.only, Counter[str](), 0
    for case in run(options.seed, range(options.count) if only is None else range(only, only + 1)):
        ends.update(f"{name} {end}" for name, end in case.ends.items())
        faulty += bool(case.faults)
        for fault in case.faults:
            print(f"case {case.number} ({case.what}): {fault}", flush=True)
    print("\n".join(f"{number:6} {end}" for end, number in sorted(ends.items())))
    print(f"{faulty} files with a fault")
    sys.exit(bool(faulty))


if __name__ == "__main__":
    main()
