"""Both clients against a running server: every route, and the examples of the documentation."""

from __future__ import annotations

import doctest
import io
import itertools
from pathlib import Path

import pytest

import dermserve_client
from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from dermserve_client import (
    Conflict,
    DeadlineExceeded,
    InvalidImage,
    InvalidRequest,
    NotFound,
    async_client,
    client,
)
from models.classes import CLASSES
from tests.dermserve_client.conftest import Asked, Connect

# Pictures that no other test has uploaded.
_SEEDS = itertools.count(91_000)


@pytest.fixture
def ask(server: LocalServer, connect: Connect) -> Asked:
    return connect(url=server.url)


async def test_health(ask: Asked) -> None:
    health = await ask("wait_until_ready", timeout_s=60)
    assert (health.status, await ask("ready")) == ("ok", True)
    assert (await ask("service_info")).name == "DermServe"
    assert (await ask("health")).model["version"] == health.model["version"]


async def test_one_image(ask: Asked, jpeg: bytes) -> None:
    prediction = await ask("predict", jpeg)
    assert prediction.predicted_class in CLASSES
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    hurried = await ask("predict", io.BytesIO(jpeg), priority="bulk", timeout_s=15)
    assert hurried.probabilities == pytest.approx(prediction.probabilities)
    with pytest.raises(InvalidImage) as raised:
        await ask("predict", b"no image")
    assert raised.value.code == "unsupported_image"
    assert raised.value.request_id
    with pytest.raises(DeadlineExceeded):
        await ask("predict", jpeg, timeout_s=1e-6)


async def test_many_images(ask: Asked, jpeg: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lesion.jpg"
    path.write_bytes(jpeg)
    images = [path, b"no image", jpeg, b""]
    items = await ask("predict_batch", images, chunk_images=3, timeout_s=15)
    assert [item.index for item in items] == [0, 1, 2, 3]
    assert [item.name for item in items] == [str(path), "", "", ""]
    codes = [item.error and item.error.code for item in items]
    assert codes == [None, "unsupported_image", None, "empty_image"]
    assert items[0].prediction.probabilities == pytest.approx(items[2].prediction.probabilities)


async def test_an_explanation(ask: Asked, jpeg: bytes) -> None:
    explained = await ask("explain", jpeg, explained_class="mel")
    assert explained.png.startswith(b"\x89PNG")
    assert explained.explained_class == "mel"
    with pytest.raises(InvalidRequest):
        await ask("explain", jpeg, explained_class="moon")


async def test_uploads_and_a_retraining(ask: Asked) -> None:
    new = [synthetic_jpeg(code, next(_SEEDS)) for code in ("nv", "mel")]
    answer = await ask(
        "upload",
        [*new, new[0], b"no image"],
        ["nv", None, "nv", "nv"],
        label_source="expert",
        lesion_ids=["L-client", None, None, None],
        uploader="client",
    )
    verdicts = [result.verdict for result in answer.results]
    assert verdicts == ["accepted", "needs_label", "duplicate", "rejected"]
    assert answer.counts["accepted"] == 1
    labelled, waiting = (answer.results[place].id for place in (0, 1))
    assert answer.results[2].duplicate_of == labelled

    upload = await ask("get_upload", labelled)
    assert (upload.label, upload.label_source, upload.lesion_id, upload.uploader) == (
        "nv",
        "expert",
        "L-client",
        "client",
    )
    page = await ask("list_uploads", label="nv", lesion_id="L-client", uploader="client")
    assert page.uploads == [upload]
    queue = await ask("list_uploads", status="needs_label", order="uncertainty", limit=200)
    assert waiting in [each.id for each in queue.uploads]
    assert (await ask("upload_image", labelled))[:2] == b"\xff\xd8"
    changed = await ask("change_upload", waiting, {"label": "mel", "lesion_id": "L-2"})
    assert (changed.label, changed.label_source, changed.lesion_id) == ("mel", "user", "L-2")
    assert (await ask("change_upload", waiting, {"lesion_id": None})).lesion_id is None
    with pytest.raises(InvalidRequest):
        await ask("change_upload", waiting, {"label": "moon"})

    run = await ask("retrain", "head")
    with pytest.raises(Conflict):
        await ask("retrain")
    assert (await ask("cancel_retrain")).id == run.id
    runs = await ask("follow_run", run.id)
    assert {each.id for each in runs} == {run.id}
    assert [each.state for each in runs if each.over] == ["cancelled"]
    status = await ask("retrain_status")
    assert status.last == runs[-1]
    assert (await ask("retrain_events", most=1))[0].last.id == run.id
    history = await ask("retrain_history", limit=1)
    assert [each.id for each in history.runs] == [run.id]
    with pytest.raises(Conflict):
        await ask("cancel_retrain")
    with pytest.raises(NotFound):
        await ask("follow_run", run.id + 1000)

    for upload_id in (labelled, waiting):
        assert (await ask("delete_upload", upload_id)).id == upload_id
    with pytest.raises(NotFound):
        await ask("get_upload", labelled)


async def test_models(ask: Asked) -> None:
    models = await ask("models")
    champion = await ask("model")
    assert (champion.version, champion.champion) == (models.champion, True)
    assert models.champion in [model.version for model in models.models]
    assert (await ask("model", models.champion)).package_hash == champion.package_hash
    assert "<html" in await ask("model_report")
    assert (await ask("model_evaluation"))["model_version"] == models.champion
    with pytest.raises(Conflict) as raised:
        await ask("promote", models.champion)
    assert raised.value.code == "already_champion"
    with pytest.raises(NotFound):
        await ask("promote", "no-such-version", force=True)
    if models.previous is None:
        with pytest.raises(NotFound):
            await ask("rollback")


@pytest.fixture
def reader(
    server: LocalServer, jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody tries the examples: with an image at hand."""
    (tmp_path / "lesion.jpg").write_bytes(jpeg)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DERMSERVE_URL", server.url)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("module", [dermserve_client, client, async_client])
def test_the_examples_of_the_documentation(module: object) -> None:
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)  # type: ignore[arg-type]
    assert failed == 0
    assert tried


async def test_statistics(ask: Asked) -> None:
    metrics = await ask("metrics")
    assert metrics.replicas["ingress"].states["RUNNING"] >= 1
    summary = await ask("data_summary")
    assert set(summary.uploads.labelled) == set(CLASSES)
    assert summary.model.splits["train"]
