"""Coverage-guided fuzzing of all code that reads data: expect a valid table or a KTError.

pip install -e '.[fuzz]'; python benchmarks/fuzz_readers.py --minutes 10

Atheris changes valid files of every format, guided by the edges of `kt_core.data` that it reaches.
Input with any other outcome (another exception, a library crash, 20 seconds, 3 GB) is kept in
--folder with its traceback, and fuzzing continues. The exit code is then 1. `outcome` does not need
Atheris; tests/data/test_fuzz_readers.py uses it with hypothesis.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import gzip
import hashlib
import io
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

FACTS = "store.json"
WORDS = ["user", "skill", "correct", "item", "timestamp", "fold", "concepts", "responses", "uid"]
WORDS += ['"', ",", ";", "\t", "\n", "\r", "\ufeff", "-1", "NA", "nan", "inf", "1e400", "PAR1"]
WORDS += ["2011-02-03 10:00:00", "1/13/2011", "\0", "9223372036854775808", "true", "\u0130"]


def long_table() -> str:
    rows = [
        f'u{i % 3},"s {i % 4}",{i % 2},{i // 2 % 3},2011-0{i % 9 + 1}-02,{i % 3 - 1}'
        for i in range(40)
    ]
    return "user,skill,correct,item,timestamp,fold\n" + "\n".join(rows) + "\n"


TRANSACTIONS = (
    "Anon Student Id\tTime\tTime Zone\tProblem Name\tStep Name\t"
    "Attempt At Step\tOutcome\tKC (D)\tKC (D)\n"
    "u\t2011-01-02 10:00:00\tUTC\tp\ts\t1\tHINT\ta\tb\n"
    "u\t2011-01-01 10:00:00\tUTC\tp\tt\t1\tCORRECT\ta\t\n"
    "u\t2011-01-01 10:00:09\tUTC\tp\tt\t2\tCORRECT\ta\t\n"
)
EEDI = (
    "QuestionId,UserId,AnswerId,IsCorrect,DateAnswered,SubjectId\n"
    '1,u,1,1,2020-01-02 10:00:00.000,"[3, 71, 98]"\n2,u,2,0,2020-01-01 10:00:00,"[3, 71, 99]"\n'
)
RIIID = (
    "row_id,timestamp,user_id,content_id,content_type_id,answered_correctly,part\n"
    "0,9,u,4,0,1,5\n1,7,u,3,1,-1,\n2,5,u,5,0,0,2\n"
)
WINDOWS = (
    "fold,uid,questions,concepts,responses,timestamps,selectmasks,is_repeat\n"
    '0,7,"5,5,6","1,2,1","1,1,0","3,3,4","1,1,1","0,1,0"\n'
    '0,7,"5,6,6","2,1,3","1,0,1","3,4,5","-1,-1,1","1,0,0"\n'
)


def _sheet() -> bytes:
    import openpyxl

    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in (("user", "skill", "correct"), ("a", "s", 1), (7, "t", 0.0), ("a", "s", True)):
        book.active.append(row)
    book.save(out)
    return out.getvalue()


def seeds() -> dict[str, list[bytes]]:
    """Return valid files for each kind of input (see `outcome`)."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    table = pyarrow.csv.read_csv(io.BytesIO(long_table().encode()))
    files = []
    for options in ({"compression": "none"}, {"use_dictionary": False}, {"version": "1.0"}):
        out = io.BytesIO()
        pq.write_table(table, out, **options)
        files.append(out.getvalue())
    out = io.BytesIO()
    few = pa.table({"user": [b"a", b"b"], "skill": [1.5, None], "correct": [True, False]})
    pq.write_table(few, out)
    files.append(out.getvalue())
    long = long_table().encode()
    tables = [long, long.replace(b",", b"\t"), long.replace(b",", b";").replace(b"\n", b"\r\n")]
    blocks = [b"2\n1,2\n1,0\n1\n3\n1\n", b"0,7\n1,2,\n1,0,\n1,8\n3\n1\n"]
    blocks += [b"0,7\n5,5\n1,2\n1,0\n1,8\n6\n3\n1\n"]
    blocks += [b'fold,uid,questions,concepts,responses,timestamps\n0,7,"5,6","1,2","1,0","3,4"\n']
    blocks += [b"7,2\n5,6\n1_2,1\n1,0\n3,4\nNA\n", WINDOWS.encode()]
    more = [text.encode() for text in (TRANSACTIONS, EEDI, RIIID)]
    store = stored_files()
    return {
        "text": tables + blocks + more,
        "gzip": tables + blocks,
        "agree": tables + blocks + more,
        "sheet": [_sheet()],
        "gzipped": [gzip.compress(tables[0])],
        "parquet": files,
        "convert": tables,
        "convert.parquet": files,
        **{name: [content] for name, content in store.items()},
    }


def stored_files() -> dict[str, bytes]:
    from kt_core.data.store.convert import convert

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "long.csv"
        source.write_text(long_table(), encoding="utf-8")
        store = convert(source, Path(folder) / "stored")
        return {p.name: p.read_bytes() for p in store.iterdir()}


def outcome(kind: str, content: bytes, folder: Path, store: dict[str, bytes]) -> str:
    """Read a file and return what happened; unexpected outcomes raise an exception.

    Parameters
    ----------
    kind : ``text``, ``gzip`` (compressed here), ``gzipped``, ``parquet``, all read into memory;
        ``convert``, ``convert.parquet``; or the name of a file of stored data to be replaced.
    store : result of `stored_files`.

    Returns
    -------
    ``read`` or ``refused``.
    """
    from kt_core.base.errors import KTError

    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    try:
        _read(kind, content, folder, store)
    except KTError as error:
        assert str(folder) in str(error) or "input" in str(error), f"names no file: {error}"
        assert not list(folder.glob(".*")), "temporary files are left behind"
        return "refused"
    return "read"


def _read(kind: str, content: bytes, folder: Path, store: dict[str, bytes]) -> None:
    from kt_core.config import DataConfig
    from kt_core.data.formats.readers import read_table
    from kt_core.data.reading import ReadOptions
    from kt_core.data.store.convert import convert
    from kt_core.data.store.read import stored_splits

    if kind in store:
        target = folder / "stored"
        target.mkdir()
        for name, own in store.items():
            (target / name).write_bytes(content if name == kind else own)
        if kind != FACTS:  # as someone who knows of the digests would leave it
            _sign(target)
        _check_splits(stored_splits(DataConfig(path=str(target), min_length=2)))
        return
    suffix = {"sheet": "xlsx"}.get(kind, "parquet" if "parquet" in kind else "csv")
    path = folder / f"input.{suffix}"
    path.write_bytes(gzip.compress(content, 1) if kind == "gzip" else content)
    if kind == "agree":
        _check_agreement(path, folder / "stored")
    elif kind.startswith("convert"):
        convert(path, folder / "stored")
        assert {p.name for p in folder.iterdir()} == {path.name, "stored"}
    else:
        choices = ("auto", "auto", "auto", "long", "pykt", "akt", "triple")
        chosen = choices[len(content) % len(choices)] if kind in ("text", "gzip") else "auto"
        _check_table(*read_table(path, ReadOptions(chosen, expand_skills=len(content) % 2 == 1)))


def _sign(store: Path) -> None:
    """Put the digests of the files as they are into their facts."""
    from kt_core.data.store.read import _digest_of_facts, _digests

    facts = json.loads((store / FACTS).read_text(encoding="utf-8"))
    facts["digests"] = {name: d for name, d in _digests(store).items() if name != FACTS}
    facts["digests"][FACTS] = _digest_of_facts(facts)
    (store / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _check_agreement(path: Path, target: Path) -> None:
    """Reading into memory and on disk agree, also on what they refuse."""
    from kt_core.base.errors import KTError
    from kt_core.data.formats.readers import read_table
    from kt_core.data.store.convert import convert
    from kt_core.data.store.read import stored_note

    try:
        table, note = read_table(path)
    except KTError:
        try:
            convert(path, target)
        except KTError:
            raise
        raise AssertionError("refused in memory, and converted") from None
    _check_table(table, note)
    assert stored_note(convert(path, target)) == note


def _check_table(table, note) -> None:
    assert len(table) > 0 and {"user", "skill", "correct"} <= set(table)
    assert set(table) <= {"user", "skill", "correct", "item", "timestamp", "fold"}
    assert set(table["correct"]) <= {0, 1}
    for name in ("user", "skill"):
        assert all(isinstance(x, str) and x.strip() for x in table[name])
    changes = (table["user"] != table["user"].shift()).sum()
    assert changes == table["user"].nunique(), "a learner's rows are not contiguous"
    if "timestamp" in table:
        for _, times in table.groupby("user")["timestamp"]:
            assert times.is_monotonic_increasing
    if "fold" in table:
        assert table["fold"].dtype.kind == "i" and table["fold"].min() >= -1
    assert all(isinstance(count, int) and count > 0 for count in note.counts.values())
    assert note.sizes["answers"] == len(table) and str(note)


def _check_splits(splits) -> None:
    for part in (splits.train, splits.valid, splits.test):
        assert part.lengths.sum() == len(part.skill) == len(part.response) == len(part.item)
        assert part.skill.min() >= 0 and part.skill.max() < len(splits.vocabulary.skills)
        assert part.item.min() >= 0 and part.item.max() <= len(splits.vocabulary.items)
        assert set(part.response.tolist()) <= {0, 1}
        assert part.learner.max() < len(part.learners)


def fuzz(folder: Path, arguments: list[str]) -> None:
    """Run one process of Atheris, which exits on its own."""
    import atheris

    with atheris.instrument_imports(include=["kt_core.data"]):
        import kt_core.data.store.convert  # noqa: F401
    logging.disable()
    store, scratch = stored_files(), Path(tempfile.mkdtemp(prefix="fuzz-", dir=_memory()))
    kinds, counts = list(seeds()), collections.Counter()

    def target(content: bytes) -> None:
        if not content:
            return
        kind = kinds[content[0] % len(kinds)]
        try:
            found = outcome(kind, content[1:], scratch, store)
        except Exception:
            found = "found"
            _keep(folder, kind, content)
        counts[kind, found] += 1
        if sum(counts.values()) % 500 == 0:
            lines = [f"{kind}\t{what}\t{n}" for (kind, what), n in counts.items()]
            (folder / f"counts-{scratch.name}").write_text("\n".join(lines))

    atheris.Setup([sys.argv[0], *arguments], target)
    atheris.Fuzz()


def _keep(folder: Path, kind: str, content: bytes) -> None:
    """Keep one input for each place where an exception was raised."""
    kind_, error, trace = sys.exc_info()
    places = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(trace)]
    key = hashlib.sha256(f"{kind_}{places}".encode()).hexdigest()[:10]
    file = folder / f"found-{key}"
    if not file.exists():
        file.write_bytes(content)
        text = "".join(traceback.format_exception(error))
        file.with_suffix(".txt").write_text(f"{kind}\n{text}", encoding="utf-8")


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--folder", type=Path, default=Path("fuzz"), help="corpus and findings")
    parser.add_argument("--process", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.process is not None:
        fuzz(args.folder, args.process)
        return 0
    corpus = args.folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, (kind, files) in enumerate(seeds().items()):
        for i, content in enumerate(files):
            (corpus / f"seed-{kind}-{i}").write_bytes(bytes([number]) + content)
    words = args.folder / "words"
    hexadecimal = ("".join(f"\\x{byte:02x}" for byte in w.encode()) for w in WORDS)
    words.write_text("".join(f'"{word}"\n' for word in hexadecimal))
    end, edges, executions = time.monotonic() + args.minutes * 60, 0, 0
    while (left := int(end - time.monotonic())) > 0:  # restart after a crash of the process
        options = [f"-max_total_time={left}", "-timeout=20", "-rss_limit_mb=3000"]
        options += ["-max_len=8192", f"-dict={words}", f"-artifact_prefix={args.folder}/crash-"]
        command = [sys.executable, __file__, "--folder", str(args.folder), "--process", *options]
        with subprocess.Popen([*command, str(corpus)], stderr=subprocess.PIPE, text=True) as child:
            n = 0
            for line in child.stderr:
                if match := re.match(r"#(\d+)\s.*cov: (\d+)", line):
                    n, edges = int(match[1]), max(edges, int(match[2]))
                elif not line.startswith(("#", "INFO", "WARNING")):
                    print(line, end="", file=sys.stderr)
            executions += n
        if n == 0:
            print("Atheris could not be started", file=sys.stderr)
            return 2
    return summary(args.folder, executions, edges)


def summary(folder: Path, executions: int, edges: int) -> int:
    """Print the counts and findings; return the exit code."""
    counts = collections.Counter()
    for file in folder.glob("counts-*"):
        for line in file.read_text().splitlines():
            kind, what, n = line.split("\t")
            counts[kind, what] += int(n)
        file.unlink()
    print(f"{executions:,} executions, {edges:,} edges of kt_core.data\n")
    print("| input | read | refused | anything else |\n|---|---|---|---|")
    for kind in sorted({kind for kind, _ in counts}):
        row = " | ".join(f"{counts[kind, what]:,}" for what in ("read", "refused", "found"))
        print(f"| {kind} | {row} |")
    found = sorted([*folder.glob("found-*.txt"), *folder.glob("crash-*")])
    for file in found:
        last = file.read_text().splitlines()[-1] if file.suffix == ".txt" else "ended the process"
        print(f"{file}: {last}")
    return 1 if found else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
