"""Stored data that was tampered with, and bad downloads: one message, and no half-written file."""

from __future__ import annotations

import functools
import http.server
import json
import pickle
import threading

import pandas as pd
import pytest
from test_robustness_readers import GOOD

from kt_core.base.errors import KTError
from kt_core.config import DataConfig
from kt_core.data import load_dataset, registry
from kt_core.data.store import convert as conversion
from kt_core.data.store.columns import ColumnWriter, mapped
from kt_core.data.store.convert import convert
from kt_core.data.store.read import TYPES, _digest_of_facts, _digests, stored_note, stored_splits

# --- stored data -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    (folder / "good.csv").write_text(GOOD)
    return convert(folder / "good.csv", folder / "stored")


def facts(change):
    def apply(store):
        file = store / "store.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return apply


def interactions(name, value):
    def apply(store):
        path = store / "interactions.arrow"
        columns = {n: c.copy() for n, c in mapped(path).items()}
        columns[name][5] = value
        with ColumnWriter(path, len(columns["skill"]), TYPES) as writer:
            writer.append(**columns)

    return apply


def learners(column, value):
    def apply(store):
        table = pd.read_parquet(store / "learners.parquet")
        table.loc[1, column] = value
        table.to_parquet(store / "learners.parquet")

    return apply


def list_for_facts(store):
    (store / "store.json").write_text("[1, 2]")


def shorter_split(store):
    stored_splits(DataConfig(path=str(store)))
    (file,) = store.rglob("train.parquet")
    pd.read_parquet(file)[1:].to_parquet(file)


def pickled_items(store):
    facts(lambda f: f.update(items=1))(store)
    pd.DataFrame({"item": ["a"], "skill": [0]}).to_parquet(store / "items.parquet")
    sign(store)
    stored_splits(DataConfig(path=str(store)))
    (file,) = store.rglob("items.npy")
    file.write_bytes(pickle.dumps(print))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (list_for_facts, "store.json: damaged or changed by hand"),
        (facts(lambda f: f.update(version=99)), "of version 99, not 2; convert the data again"),
        (facts(lambda f: f.pop("rows")), "store.json: rows: damaged"),
        (facts(lambda f: f.update(rows="many")), "store.json: rows: damaged"),
        (facts(lambda f: f.update(rows=10**12)), "learners.parquet: damaged"),
        (learners("steps", 10**9), "learners.parquet: damaged"),
        (learners("user", "u0"), "learners.parquet: damaged"),
        (interactions("skill", 4), "interactions.arrow: skill: damaged"),
        (interactions("response", 2), "interactions.arrow: response: damaged"),
        (shorter_split, "train.arrow: damaged"),
        (pickled_items, "damaged, or its splits cannot be written"),
    ],
)
def test_a_stored_data_set_that_was_tampered_with(tmp_path, good_store, damage, words):
    store = tmp_path / "stored"
    conversion.shutil.copytree(good_store, store)
    damage(store)
    sign(store)  # by someone who knows of the digests
    with pytest.raises(KTError, match=words) as caught:
        stored_splits(DataConfig(path=str(store)))
    assert str(store) in str(caught.value) and "convert the data again" in str(caught.value)


def sign(store):
    """Put the digests of the files as they are now into the places where they are kept."""
    file = store / "store.json"
    content = json.loads(file.read_text())
    if isinstance(content, dict):
        digests = _digests(store)
        del digests["store.json"]
        content["digests"] = digests
        content["digests"]["store.json"] = _digest_of_facts(content)
        file.write_text(json.dumps(content))
    for file in store.rglob("digests.json"):
        file.unlink()
        file.write_text(json.dumps(_digests(file.parent)))


def one_bit(name, at):
    def apply(store):
        stored_splits(DataConfig(path=str(store)))
        (file,) = store.rglob(name)
        content = bytearray(file.read_bytes())
        content[at] ^= 1
        file.write_bytes(content)

    return apply


def test_a_changed_fact_is_noticed(tmp_path, good_store):
    store = tmp_path / "stored"
    conversion.shutil.copytree(good_store, store)
    for change in (lambda f: f["note"]["sizes"].update(right=0), lambda f: f.update(inflated=True)):
        kept = (store / "store.json").read_bytes()
        facts(change)(store)
        with pytest.raises(KTError, match="store.json: damaged or changed by hand"):
            stored_splits(DataConfig(path=str(store)))
        (store / "store.json").write_bytes(kept)


@pytest.mark.parametrize("name", ["interactions.arrow", "names.parquet", "test.arrow"])
@pytest.mark.parametrize("at", [-1, -400])
def test_one_flipped_bit_of_stored_data_is_noticed(tmp_path, good_store, name, at):
    store = tmp_path / "stored"
    conversion.shutil.copytree(good_store, store)
    one_bit(name, at)(store)
    with pytest.raises(KTError, match=rf"{name}: missing, damaged or changed by hand .its digest"):
        stored_splits(DataConfig(path=str(store)))


@pytest.mark.parametrize("content", ["[]", "{}", "not JSON"])
def test_damaged_digests_are_refused(tmp_path, good_store, content):
    store = tmp_path / "stored"
    conversion.shutil.copytree(good_store, store)
    stored_splits(DataConfig(path=str(store)))
    (file,) = store.rglob("digests.json")
    file.write_text(content)
    with pytest.raises(KTError, match="convert the data again"):
        stored_splits(DataConfig(path=str(store)))
    (store / "store.json").write_text(content)
    with pytest.raises(KTError, match="store.json: damaged|of version None"):
        stored_note(store)


def test_a_run_knows_its_stored_answers(tmp_path, good_store):
    store = tmp_path / "stored"
    conversion.shutil.copytree(good_store, store)
    was = stored_splits(DataConfig(path=str(store))).dataset.sources
    interactions("response", 1 - mapped(store / "interactions.arrow")["response"][5])(store)
    sign(store)
    assert stored_splits(DataConfig(path=str(store))).dataset.sources != was


# --- downloads -------------------------------------------------------------------------------


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Redirects one file to an address without TLS, and cuts another one short."""

    def do_GET(self):
        if "moved" in self.path:
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/x.csv")
            self.end_headers()
        else:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(GOOD.encode()[:100])

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("home", "file", "words"),
    [
        ("http://example.invalid", "x.csv", "http://example.invalid is not an https address"),
        ("ftp://example.invalid", "x.csv", "ftp://example.invalid is not an https address"),
        ("{server}", "moved.csv", "http://example.invalid/x.csv is not an https address"),
        ("{server}", "short.csv", "short.csv could not be downloaded"),
    ],
)
def test_a_download_that_is_not_what_it_should_be(tmp_path, monkeypatch, home, file, words):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=functools.partial(server.serve_forever, 0.02), daemon=True).start()
    monkeypatch.setattr(registry, "cache", lambda name: tmp_path / "cache")
    monkeypatch.delenv("KT_DATA_DIR", raising=False)
    home = home.format(server=f"http://127.0.0.1:{server.server_address[1]}")
    digest = registry.hashlib.sha256(GOOD.encode()).hexdigest()
    spec = registry.Public("toy", home, "long", {file: digest})
    monkeypatch.setitem(registry.DATASETS, "toy", spec)
    try:
        with pytest.raises(KTError, match=words) as caught:
            load_dataset(DataConfig(dataset="toy"))
    finally:
        server.shutdown()
        server.server_close()
    assert "set KT_DATA_DIR to the folder above it" in str(caught.value)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
