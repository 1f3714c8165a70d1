"""The image store: whole images or none, under their own hash, wherever a key tries to lead."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import uuid
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest

from data import file_system, image_store
from data.image_store import (
    IMAGES_VARIABLE,
    ORPHANS_FILE,
    OWNER_FILE,
    ImageStore,
    image_key,
    images_url,
)
from models.errors import (
    CatalogueUnavailable,
    ImageDamaged,
    InvalidConfiguration,
    InvalidField,
    NotFound,
    StorageFull,
)
from models.tracking_uri import var_folder
from tests.conftest import PROJECT
from tests.object_store import BUCKET, ObjectStore

DATA = b"the clean bytes of an image"
HASH = hashlib.sha256(DATA).hexdigest()
KEY = f"{HASH[:2]}/{HASH}.jpg"


@pytest.fixture(params=["folder", "file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, object_store: ObjectStore) -> ImageStore:
    """An empty store of each kind."""
    return ImageStore(
        {
            "folder": str(tmp_path / "images"),
            "file": f"file://{tmp_path}/images",
            "memory": f"memory://{uuid.uuid4().hex}/images",
            "s3": f"s3://{BUCKET}/{uuid.uuid4().hex}",
        }[request.param]
    )


def test_an_image_comes_back(store: ImageStore) -> None:
    assert not store.exists(KEY)
    assert store.put(HASH, ".jpg", DATA) == KEY == image_key(HASH, ".jpg")
    assert store.exists(KEY)
    assert store.get(KEY) == DATA


def test_again_is_the_same_as_once(store: ImageStore) -> None:
    assert store.put(HASH, ".png", DATA) == store.put(HASH, ".png", DATA)
    store.delete(image_key(HASH, ".png"))
    store.delete(image_key(HASH, ".png"))
    assert not store.exists(image_key(HASH, ".png"))


def test_what_is_not_there_is_not_found(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"no image {KEY}"):
        store.get(KEY)
    with pytest.raises(NotFound):
        store.fetch(KEY, tmp_path / "copies")
    store.put(HASH, ".jpg", DATA)
    store.delete(KEY)
    with pytest.raises(NotFound):
        store.get(KEY)


@pytest.mark.parametrize(
    "key",
    [
        "",
        KEY[3:],
        KEY.upper(),
        KEY + "\n",
        KEY + "/..",
        KEY.replace(".jpg", ".svg"),
        f"/{KEY}",
        f"zz/{HASH}.jpg",
        f"00/{HASH}.jpg" if HASH[:2] != "00" else f"11/{HASH}.jpg",
        f"../{KEY}",
        f"{HASH[:2]}/../../etc/passwd",
        f"{HASH[:2]}/{HASH}\0.jpg",
        f"{HASH[:2]}/{HASH[:-1]}\u0661.jpg",
        "s3://bucket/secret",
        "x" * 10_000,
    ],
    ids=lambda key: repr(key[:24]),
)
def test_no_key_leads_out_of_the_store(store: ImageStore, key: str, tmp_path: Path) -> None:
    for use in (
        store.get,
        store.exists,
        store.delete,
        lambda key: store.fetch(key, tmp_path / "copies"),
    ):
        with pytest.raises(InvalidField, match="is no image key") as refused:
            use(key)
        assert len(refused.value.message) < 300
    assert not (tmp_path / "copies").exists()


@pytest.mark.parametrize(
    ("content_hash", "suffix"),
    [("", ".jpg"), ("../../x", ".jpg"), (HASH.upper(), ".jpg"), (HASH, ""), (HASH, ".jpg/../x")],
)
def test_no_hash_leads_out_of_the_store(store: ImageStore, content_hash: str, suffix: str) -> None:
    with pytest.raises(InvalidField, match="is no image key"):
        store.put(content_hash, suffix, DATA)


def test_nothing_is_stored_under_another_hash(store: ImageStore) -> None:
    with pytest.raises(InvalidField, match="another SHA-256"):
        store.put(HASH, ".jpg", DATA + b"!")
    assert not store.exists(KEY)


def test_a_changed_image_is_noticed_and_can_be_stored_again(tmp_path: Path) -> None:
    store = ImageStore(str(tmp_path))
    store.put(HASH, ".jpg", DATA)
    (tmp_path / KEY).write_bytes(DATA[:-1])
    for read in (store.get, lambda key: store.fetch(key, tmp_path / "copies")):
        with pytest.raises(ImageDamaged, match=r"damaged\. Restore it"):
            read(KEY)
    assert not (tmp_path / "copies").exists()
    store.put(HASH, ".jpg", DATA)
    assert store.get(KEY) == DATA


def test_a_copy_is_fetched_once_and_repaired(store: ImageStore, tmp_path: Path) -> None:
    store.put(HASH, ".jpg", DATA)
    copy = store.fetch(KEY, tmp_path / "copies")
    assert copy == tmp_path / "copies" / f"{HASH}.jpg"
    assert copy.read_bytes() == DATA
    copy.write_bytes(b"half")
    assert store.fetch(KEY, tmp_path / "copies") == copy
    assert copy.read_bytes() == DATA
    store.delete(KEY)
    assert store.fetch(KEY, tmp_path / "copies") == copy
    assert [path.name for path in (tmp_path / "copies").iterdir()] == [copy.name]


def test_only_what_lies_where_it_should_is_stored(store: ImageStore) -> None:
    """A copy further down has the name of an image and is none."""
    store.put(HASH, ".jpg", DATA)
    for name in (f"backup/{KEY}", f"{KEY}.txt", f"{KEY[:2]}/notes.txt", KEY.replace("jpg", "png")):
        store._files.makedirs(store._path(name).rpartition("/")[0], exist_ok=True)
        store._files.pipe_file(store._path(name), DATA)
    assert sorted(store.stored()) == [KEY, KEY.replace("jpg", "png")]
    assert store.delete(KEY) is True
    assert store.delete(KEY) is str(store).startswith("s3:")  # which does not say
    assert list(store.stored()) == [KEY.replace("jpg", "png")]


def test_a_store_says_whose_it_is(store: ImageStore) -> None:
    assert store.owner() is None
    store.belong_to("c0ffee")
    assert store.owner() == "c0ffee"
    store.list_orphans([KEY])
    assert store._files.cat_file(store._path(ORPHANS_FILE)) == f"{KEY}\n".encode()
    assert list(store.stored()) == []


def test_a_store_that_cannot_be_read_does_not_belong_to_nobody(tmp_path: Path) -> None:
    place = tmp_path / "images"
    (place / OWNER_FILE).mkdir(parents=True)
    with pytest.raises(CatalogueUnavailable):
        ImageStore(str(place)).owner()
    shutil.rmtree(place)
    place.write_bytes(b"")
    with pytest.raises(CatalogueUnavailable):
        ImageStore(str(place)).owner()
    assert "s3cret" not in str(ImageStore("http://user:s3cret@host/images"))


def test_files_are_for_nobody_else(tmp_path: Path) -> None:
    ImageStore(str(tmp_path)).put(HASH, ".jpg", DATA)
    assert (tmp_path / KEY).stat().st_mode & 0o077 == 0


def test_readers_and_writers_of_one_image_see_it_whole(tmp_path: Path) -> None:
    data = os.urandom(500_000)
    content_hash = hashlib.sha256(data).hexdigest()
    key = ImageStore(str(tmp_path)).put(content_hash, ".jpg", data)
    failures: list[Exception] = []

    def use() -> None:
        store = ImageStore(str(tmp_path))
        try:
            for _ in range(20):
                store.put(content_hash, ".jpg", data)
                store.get(key)
        except Exception as error:  # any is a failure
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [path.name for path in (tmp_path / key).parent.iterdir()] == [Path(key).name]


def _run(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_what_was_acknowledged_survives_a_killed_writer(tmp_path: Path) -> None:
    script = """
        import hashlib, os, sys
        from data.image_store import ImageStore
        store = ImageStore(sys.argv[1])
        while True:
            data = os.urandom(300_000)
            print(store.put(hashlib.sha256(data).hexdigest(), ".png", data), flush=True)
        """
    writer = _run(script, tmp_path)
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().decode().strip() for _ in range(50)]
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate()
    acknowledged += rest.decode().splitlines()
    store = ImageStore(str(tmp_path))
    assert all(store.get(key) for key in acknowledged)
    # And nothing that has a name is torn.
    for path in tmp_path.rglob("*.png"):
        assert store.get(str(path.relative_to(tmp_path)))


def test_a_full_disk(tmp_path: Path) -> None:
    """The limit on a file's size ends a write in its middle, as a full disk does."""
    script = """
        import hashlib, resource, signal, sys
        from pathlib import Path
        from data.image_store import ImageStore
        from models.errors import StorageFull
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        store, folder = ImageStore(sys.argv[1]), Path(sys.argv[1])
        small, large = bytes(50_000), bytes(200_000)
        key = store.put(hashlib.sha256(small).hexdigest(), ".jpg", small)
        for use in (store.put, lambda *image: (ImageStore(sys.argv[2]).put(*image))):
            try:
                use(hashlib.sha256(large).hexdigest(), ".jpg", large)
            except StorageFull as error:
                assert "is full. Free some space" in error.message
            else:
                raise AssertionError("stored")
        assert store.get(key) == small
        assert [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()] == [key]
        """
    run = _run(script, tmp_path / "images", tmp_path / "others")
    _, errors = run.communicate()
    assert run.returncode == 0, errors.decode()


def test_a_full_disk_for_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ImageStore(str(tmp_path / "images"))
    store.put(HASH, ".jpg", DATA)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        store.fetch(KEY, tmp_path)
    assert list(tmp_path.glob("*.jpg")) == list(tmp_path.glob(".*")) == []


def test_a_store_that_is_no_folder(tmp_path: Path) -> None:
    place = tmp_path / "images"
    place.write_bytes(b"")
    store = ImageStore(str(place))
    with pytest.raises(CatalogueUnavailable, match=f"{place} does not work"):
        store.put(HASH, ".jpg", DATA)
    with pytest.raises((CatalogueUnavailable, NotFound)):
        store.get(KEY)
    place.unlink()
    store.put(HASH, ".jpg", DATA)
    shutil.rmtree(place / KEY[:2])
    (place / KEY).mkdir(parents=True)
    with pytest.raises(CatalogueUnavailable):
        store.get(KEY)
    with pytest.raises(CatalogueUnavailable):
        store.put(HASH, ".jpg", DATA)


def test_a_place_that_is_gone_is_no_missing_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be stored is to be sent again; "not found" would say that it need not be."""

    def no_bucket(path: str, data: bytes, **_: object) -> None:
        raise FileNotFoundError("The specified bucket does not exist")

    with pytest.raises(CatalogueUnavailable, match="/proc/nowhere does not work"):
        ImageStore("/proc/nowhere").put(HASH, ".jpg", DATA)
    store = ImageStore(f"memory://{uuid.uuid4().hex}")
    monkeypatch.setattr(store._files, "pipe_file", no_bucket)
    with pytest.raises(CatalogueUnavailable, match="does not work"):
        store.put(HASH, ".jpg", DATA)


def test_a_store_without_an_answer() -> None:
    """What drivers raise is of no common kind; none of it reaches a caller."""
    store = ImageStore("http://127.0.0.1:9/images")
    with pytest.raises(CatalogueUnavailable, match=r"http://127\.0\.0\.1:9/images does not work"):
        store.put(HASH, ".jpg", DATA)


def test_an_object_store_that_is_away_for_a_while(object_store: ObjectStore) -> None:
    """What was stored is there again, and nobody takes its absence for the image's."""
    store = ImageStore(f"s3://{BUCKET}/{uuid.uuid4().hex}")
    store.put(HASH, ".jpg", DATA)
    other = hashlib.sha256(b"another").hexdigest()
    with object_store.away():
        for use in (
            lambda: store.put(other, ".jpg", b"another"),
            lambda: store.exists(KEY),
            lambda: store.get(KEY),
            lambda: store.delete(KEY),
            lambda: list(store.stored()),
            store.owner,
        ):
            with pytest.raises(CatalogueUnavailable, match=f"s3://{BUCKET}/.* does not work"):
                use()
    assert store.get(KEY) == DATA
    assert list(store.stored()) == [KEY]
    assert store.put(other, ".jpg", b"another") == image_key(other, ".jpg")


def test_a_bucket_that_is_gone_is_no_missing_image(object_store: ObjectStore) -> None:
    store = ImageStore("s3://nobodys-bucket/images")
    for use in (lambda: store.put(HASH, ".jpg", DATA), lambda: store.get(KEY), store.owner):
        with pytest.raises(CatalogueUnavailable, match="does not work"):
            use()


def test_an_object_store_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the upload that waits for it."""
    monkeypatch.setattr(file_system, "PATIENCE_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        try:
            store = ImageStore(f"s3://{BUCKET}/images")
            for use in (lambda: store.put(HASH, ".jpg", DATA), lambda: store.get(KEY)):
                with pytest.raises(CatalogueUnavailable, match="does not work: FSTimeoutError"):
                    use()
        finally:
            fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_nobody_waits_long_for_a_store_that_the_last_one_waited_for_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(image_store, "time", SimpleNamespace(monotonic=lambda: clock.now))
    store = ImageStore(f"memory://{uuid.uuid4().hex}")
    tries = 0

    def silent(path: str, data: bytes) -> None:
        nonlocal tries
        tries += 1
        clock.now += file_system.PATIENCE_S
        raise TimeoutError

    with monkeypatch.context() as away:
        away.setattr(store._files, "pipe_file", silent)
        for _ in range(5):
            with pytest.raises(CatalogueUnavailable, match="does not"):
                store.put(HASH, ".jpg", DATA)
        assert tries == 1
        clock.now += image_store.PAUSE_S
        with pytest.raises(CatalogueUnavailable):
            store.put(HASH, ".jpg", DATA)
        assert tries == 2
    clock.now += image_store.PAUSE_S
    assert store.get(store.put(HASH, ".jpg", DATA)) == DATA


def test_a_store_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(InvalidConfiguration, match=r"pip install 'dermserve\[s3\]'"):
        ImageStore(f"s3://{BUCKET}/images")


@pytest.mark.parametrize("url", ["nosuch://bucket/images", "nosuch://[::1/images"])
def test_what_is_no_store_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidConfiguration, match=f"Set {IMAGES_VARIABLE}"):
        ImageStore(url)


def test_no_password_is_told() -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        ImageStore("nosuch://user:s3cret@host/images")
    assert "s3cret" not in refused.value.message


def test_the_environment_names_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(IMAGES_VARIABLE, raising=False)
    assert images_url() == str(var_folder() / "images")
    monkeypatch.setenv(IMAGES_VARIABLE, str(tmp_path))
    ImageStore().put(HASH, ".jpg", DATA)
    assert (tmp_path / KEY).read_bytes() == DATA


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("images", "{here}/images"),
        ("./a b/images", "{here}/a b/images"),
        ("~/images", "{home}/images"),
        ("/images", "/images"),
        ("s3://bucket/images", "s3://bucket/images"),
        ("simplecache::s3://bucket/images", "simplecache::s3://bucket/images"),
    ],
)
def test_every_process_means_the_same_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(IMAGES_VARIABLE, named)
    assert images_url() == url.format(here=tmp_path, home=Path.home())


def test_a_relative_folder_stays_where_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    store = ImageStore("images")
    monkeypatch.chdir("/")
    store.put(HASH, ".jpg", DATA)
    assert (tmp_path / "images" / KEY).exists()
