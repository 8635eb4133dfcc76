"""Pseudonyms of learners: the same for the same key, and no id in any file that is written.

test_cli.py checks the files of a whole run.
"""

from __future__ import annotations

import base64
import stat

import numpy as np
import pandas as pd
import pytest
from conftest import SECRET, decoded
from reading import histories, stored_histories

from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.config import DataConfig, with_overrides
from kt_core.data import load_dataset, make_splits, pseudonyms
from kt_core.data.formats import long
from kt_core.data.formats.readers import read_table
from kt_core.data.pseudonyms import KEY, Pseudonyms, key_file
from kt_core.data.reading import ReadOptions
from kt_core.data.store import convert as conversion
from kt_core.data.store.read import stored_splits
from kt_core.runs.find import open_run
from kt_core.studies.audit import audit_files
from kt_core.training.train import train

IDS = [f"Zoe Quimby-{i:03d}" for i in range(40)]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    rng = np.random.default_rng(0)
    n = len(IDS) * 24
    table = pd.DataFrame(
        {
            "user": rng.permutation(np.repeat(IDS, 24)),
            "skill": rng.choice(["add", "sub", "times"], n),
            "correct": rng.integers(0, 2, n),
        }
    )
    path = tmp_path_factory.mktemp("answers") / "answers.csv"
    table.to_csv(path, index=False)
    return path


def files_with(text, folder):
    return {p.name for p in folder.rglob("*") if p.is_file() and text in decoded(p)}


def test_what_is_hidden_in_a_file_is_found(tmp_path):
    import matplotlib.pyplot as plt

    figure = plt.figure()
    figure.text(0.5, 0.5, IDS[3])
    for kind in ("svg", "pdf"):
        figure.savefig(tmp_path / f"x.{kind}")
    figure.savefig(tmp_path / "x.png", metadata={"Title": IDS[3]})
    picture = base64.b64encode((tmp_path / "x.png").read_bytes()).decode()
    (tmp_path / "x.html").write_text(f'<img src="data:image/png;base64,{picture}">')
    assert files_with(IDS[3], tmp_path) >= {"x.svg", "x.png", "x.html"}


def test_a_run_goes_on_under_its_key_and_no_other(answers, smoke, tmp_path, monkeypatch, capsys):
    config = with_overrides(
        smoke[0], {"data.path": str(answers), "data.pseudonymise": True, "train.epochs": 1}
    )
    splits = make_splits(load_dataset(config.data), config.data)
    run, names = tmp_path / "run", set(Pseudonyms(SECRET).of(pd.Series(IDS)))
    trained = train(config, splits, run)
    assert trained.provenance["pseudonyms"] == Pseudonyms(SECRET).fingerprint
    assert set(open_run(run)[1].test.learners) < names
    table = tmp_path / "mastery.csv"
    call = ["predict", str(run), "--data", str(answers), "--out", str(table)]
    assert main(call) == 0  # without --pseudonymise, which the run has
    assert set(pd.read_csv(table, dtype=str)["learner"]) == names
    assert main(["classroom", str(run), "--out", str(tmp_path / "class")]) == 0
    assert files_with(next(iter(splits.test.learners)), tmp_path / "class")
    for secret in ("Quimby", SECRET):
        assert not files_with(secret, tmp_path)
        assert secret not in "".join(capsys.readouterr())
    monkeypatch.setenv(KEY, "another key, also long")
    with pytest.raises(KTError, match=f"another key .fingerprint .* set {KEY}"):
        open_run(run)
    before = table.read_bytes()
    assert main(call) == 2 and table.read_bytes() == before
    assert "made with another key" in capsys.readouterr().err


def test_pseudonyms_on_disk_are_those_in_memory(answers, tmp_path, monkeypatch):
    names = Pseudonyms(SECRET)
    want = histories(read_table(answers, ReadOptions(pseudonyms=names))[0])
    raw = histories(read_table(answers)[0])
    assert want == {name: raw[i] for i, name in zip(IDS, names.of(pd.Series(IDS)), strict=True)}
    monkeypatch.setattr(long, "BLOCK_BYTES", 3000)
    monkeypatch.setattr(conversion, "BUCKET_BYTES", 3000)
    parts, remove = set(), conversion.shutil.rmtree
    monkeypatch.setattr(
        conversion.shutil,
        "rmtree",
        lambda path, **more: (parts.update(files_with("Quimby", path)), remove(path, **more)),
    )
    out = tmp_path / "stored"
    call = ["convert", "--data", str(answers), "--out", str(out), "--pseudonymise"]
    assert main(call) == 0
    assert stored_histories(out) == want
    assert parts == set() and not files_with("Quimby", out)
    config = DataConfig(path=str(out), pseudonymise=True)
    assert stored_splits(config).dataset.pseudonyms == names.fingerprint
    conversion.convert(answers, tmp_path / "raw")
    with pytest.raises(KTError, match="convert the source with --pseudonymise"):
        stored_splits(DataConfig(path=str(tmp_path / "raw"), pseudonymise=True))


def test_two_learners_with_one_pseudonym_are_an_error(answers, tmp_path, monkeypatch):
    monkeypatch.setattr(pseudonyms, "DIGITS", 1)
    monkeypatch.setattr(conversion, "DIGITS", 1)
    monkeypatch.setattr(conversion, "BUCKET_BYTES", 3000)
    names = Pseudonyms(SECRET)
    for read in (
        lambda: read_table(answers, ReadOptions(pseudonyms=names)),
        lambda: conversion.convert(answers, tmp_path / "stored", ReadOptions(pseudonyms=names)),
    ):
        with pytest.raises(KTError, match="two learners have the same pseudonym") as caught:
            read()
        assert "Quimby" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("Quimby,s,1\nQuimby,t,0\n", {}),
        ("user,skill,correct\na,s,Quimby\n", {}),
        ("user,skill,correct,time\na,s,1,Quimby\n", {}),
        ("user,skill,correct,fold\na,s,1,Quimby\n", {}),
        ("user,skill,right\na,s,1\na,s,Quimby\n", {"correct": "right"}),
        ("user,skill,correct\nQuimby,s\n", {}),
        ("user,skill,correct\nQuimby\xff,s,1\n", {}),
        ("Quimby,skill,correct\na,s,1\n", {}),
        ("user,skill,correct,Quimby,Quimby\na,s,1,1,1\n", {"item": "Quimby"}),
        ('user,skill,correct\na,s,"Quimby\n', {}),
        ("fold,concepts,responses,Quimby\n0,1,1,1\n", {}),
    ],
)
def test_messages_while_reading_show_no_value(tmp_path, text, columns):
    path = tmp_path / "bad.csv"
    path.write_bytes(text.encode("latin1"))
    names = Pseudonyms(SECRET)
    options = ReadOptions(columns=columns or {}, pseudonyms=names)
    reads = [lambda: read_table(path, options)]
    if "concepts" not in text:
        reads.append(lambda: conversion.convert(path, tmp_path / "x", options))
    for read in reads:
        with pytest.raises(KTError, match="bad.csv") as caught:
            read()
        assert "Quimby" not in str(caught.value).replace("no column for 'Quimby'", "")


def test_an_audit_by_pseudonyms(answers, tmp_path):
    table, _ = read_table(answers)
    table["step"] = table.groupby("user").cumcount() + 1
    mastery = table.rename(columns={"user": "learner"}).assign(mastery=0.6)
    mastery[["learner", "step", "skill", "mastery"]].to_csv(tmp_path / "m.csv", index=False)
    audited = audit_files(
        tmp_path / "m.csv", answers, "pre", {"data.pseudonymise": True}, resamples=20
    )
    assert audited.covered == 1
    assert set(audited.beliefs.learners) == set(Pseudonyms(SECRET).of(pd.Series(IDS)))


def test_the_key_is_made_once_and_for_the_user_alone(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    first = pseudonyms.pseudonyms()
    file = key_file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and len(file.read_text().strip()) == 64
    assert pseudonyms.pseudonyms().fingerprint == first.fingerprint
    pseudonyms._make(file)  # as by a process that did not see the key in time
    assert pseudonyms.pseudonyms().fingerprint == first.fingerprint
    assert [p.name for p in file.parent.iterdir()] == [file.name]
    file.chmod(0o644)
    with pytest.raises(KTError, match="others can read this key; chmod 600"):
        pseudonyms.pseudonyms()
    file.chmod(0o600)
    file.write_text("short\n")
    with pytest.raises(KTError, match="pseudonym.key: expected a key of 16 characters or more"):
        pseudonyms.pseudonyms()
    monkeypatch.setenv(KEY, "")
    with pytest.raises(KTError, match=f"{KEY}: expected a key of 16 characters or more"):
        pseudonyms.pseudonyms()
    monkeypatch.delenv(KEY)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(file))
    with pytest.raises(KTError, match=f"neither read nor made .*; set {KEY}"):
        pseudonyms.pseudonyms()


@pytest.mark.parametrize(
    "key",
    [
        "a" * 64,
        "ab" * 32,
        "passwordpassword",
        "correct horse! " * 3,
        "0123456789abcdef",
        "fedcba9876543210",
        "abcdefghijklmnopqrstuvwxyz",
        "qwertyuiopasdfghjkl",
        "QwErTyUiOp1234567890",
        "aaaaaaaaaaaaaaaaaaaaaaaabcdefgh",
        "1111222233334444555566667777",
        "abcdefg" + "\0" * 30,
    ],
)
def test_a_key_that_can_be_guessed_is_refused(key, monkeypatch):
    monkeypatch.setattr(pseudonyms.os, "environ", {KEY: key})
    with pytest.raises(KTError, match=f"{KEY}: expected a key of 16 .*at least 8 differ") as caught:
        pseudonyms.pseudonyms()
    assert key not in str(caught.value)


def test_keys_that_openssl_makes_are_accepted(monkeypatch):
    rng = np.random.default_rng(0)
    for _ in range(300):
        monkeypatch.setenv(KEY, rng.bytes(32).hex())
        assert pseudonyms.pseudonyms().fingerprint


def test_pseudonyms_are_keyed_readable_and_told_apart_from_the_fingerprint():
    ids = pd.Series(["a", "b", "a", "é"])
    one, other = (Pseudonyms(key).of(ids) for key in (SECRET, SECRET + "!"))
    assert one[0] == one[2] != one[1] and not set(one) & set(other)
    assert one.str.fullmatch("[0-9a-f]{12}").all()
    assert not one.str.startswith(Pseudonyms(SECRET).fingerprint).any()
