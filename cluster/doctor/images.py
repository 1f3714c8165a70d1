"""The image store: writable, and the one that belongs to the catalogue."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cluster.doctor.finding import Finding, ok, wrong
from cluster.doctor.place import unmakeable
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from data.catalogue.audit import catalogue_id
from data.catalogue.database import Database
from data.catalogue.schema import SCHEMA_VERSION
from data.image_store import IMAGES_VARIABLE, ImageStore, images_url
from models.errors import DermServeError

_PROBE = b"A probe of dermserve doctor, which removes it again."


@dataclass(frozen=True)
class ImageFacts:
    """What came of writing to it."""

    address: str
    exists: bool
    problem: str | None
    """Why it cannot be written."""
    owner: str | None
    """Id of the catalogue that its images belong to, as written down in it."""
    catalogue: str | None
    """Id of the catalogue; None if it has none yet, or cannot be read."""
    folder: bool
    """Whether it is a folder of this machine."""
    nodes: int


def gather(surroundings: Surroundings) -> ImageFacts:
    """Store a few bytes under their hash, read them and remove them."""
    address, owner, catalogue, problem = "The image store", None, None, None
    with surroundings.in_place():
        url = images_url()
        folder = Path(url) if "://" not in url and "::" not in url else None
        exists = folder is None or folder.exists()
        try:
            store = ImageStore(url)
            address = str(store)
            if folder is None or exists:
                _probe(store)
                owner = store.owner()
            else:
                problem = unmakeable(folder)
        except DermServeError as error:
            problem = error.message
        catalogue = _catalogue()
    return ImageFacts(
        address, exists, problem, owner, catalogue, folder is not None, surroundings.machines
    )


def check(facts: ImageFacts) -> list[Finding]:
    """Judge the store as it was found."""
    if facts.problem is not None:
        return [wrong(facts.problem, f"Repair it, or correct {IMAGES_VARIABLE}.")]
    found = []
    if facts.owner is not None and facts.catalogue is not None and facts.owner != facts.catalogue:
        found.append(
            wrong(
                f"{facts.address} belongs to another catalogue: images of this one are missing "
                "there, and nothing in it is cleaned up.",
                f"Let DERMSERVE_CATALOGUE and {IMAGES_VARIABLE} name what belongs together, or "
                "restore both from one backup.",
            )
        )
    if facts.folder and facts.nodes > 1:
        found.append(
            wrong(
                f"{facts.address} is a folder, and the cluster has {facts.nodes} machines: each "
                "would keep images of its own.",
                f"Set {IMAGES_VARIABLE} to object storage or a shared file system's file:// URL on "
                "all nodes.",
            )
        )
    if not found and not facts.exists:
        return [ok(f"{facts.address} is new: the first upload makes it.")]
    return found or [ok(f"{facts.address} takes images, and gives them back.")]


def _probe(store: ImageStore) -> None:
    key = store.put(hashlib.sha256(_PROBE).hexdigest(), ".png", _PROBE)
    try:
        store.get(key)
    finally:
        store.delete(key)


def _catalogue() -> str | None:
    try:
        database = Database()
        if database.found_schema() != SCHEMA_VERSION:
            return None
        try:
            return catalogue_id(database)
        finally:
            database.close()
    except DermServeError:
        return None  # the catalogue's own subject says so


SUBJECT = Subject("Images", gather, check)
