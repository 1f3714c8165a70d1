"""The upload form: the files of `POST /upload/bulk`, each with what its sender says of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from data.catalogue.values import checked_text
from models.errors import DermServeError, InvalidField, LabelsMismatch, MissingFile
from serve_app.access.caller import caller_of
from serve_app.body import files_of, require_form
from serve_app.form import open_form, refuse_above
from serve_app.settings import ServeSettings
from serve_app.upload import Label
from serve_app.upload_labels import (
    GivenLabel,
    by_name,
    check_source,
    checked,
    from_csv,
    from_json,
    in_order,
)

_TEXT_FIELDS = frozenset({"labels", "label_source", "lesion_id", "uploader", "manifest"})
_FILE_FIELDS = frozenset({"files", "manifest"})
_MAX_MANIFEST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class UploadForm:
    """What came; the files can be read until the form is closed."""

    files: list[UploadFile]
    labels: list[Label | DermServeError]
    """One for each file, or why it cannot be taken with the one that was given."""
    uploader: str | None


@asynccontextmanager
async def open_upload(request: Request, settings: ServeSettings) -> AsyncIterator[UploadForm]:
    """Read an upload; its files wait on disk.

    Raises:
        LabelsMismatch: if the labels do not match the files.
        InvalidField: if a field is unknown or has a value that it cannot have.
        MissingFile: if there is no file in a field named files.
        BodyTooLarge, TooManyFiles, MalformedRequest, StorageFull: as `open_form`.
    """
    require_form(request)
    form = open_form(
        request,
        max_files=settings.max_upload_files,
        max_bytes=settings.max_upload_bytes,
        max_fields=settings.max_upload_files + len(_TEXT_FIELDS),
        on_disk=True,
    )
    async with form as fields:
        _refuse_unknown(fields)
        files = files_of(fields, "files")
        names = [file.filename or "" for file in files]
        defaults = GivenLabel(
            lesion_id=_text(fields, "lesion_id"), label_source=_text(fields, "label_source")
        )
        check_source(defaults.label_source)
        yield UploadForm(
            files=files,
            labels=[checked(label, defaults) for label in await _given(fields, names)],
            uploader=_uploader(request, fields),
        )


async def _given(form: FormData, files: Sequence[str]) -> list[GivenLabel]:
    """The label that was given for each file, in whichever form."""
    labels = [str(label) for label in form.getlist("labels")]
    manifests = form.getlist("manifest")
    if len(manifests) + bool(labels) > 1:
        raise LabelsMismatch("Send either fields `labels` or one `manifest`. Nothing was stored.")
    if manifests:
        manifest = manifests[0]
        if isinstance(manifest, str):
            return by_name(from_csv(manifest.encode()), files)
        refuse_above(manifest.size or 0, _MAX_MANIFEST_BYTES, "manifest")
        return by_name(from_csv(await manifest.read()), files)
    if len(labels) == 1 and labels[0].lstrip().startswith("{"):
        return by_name(from_json(labels[0]), files)
    if labels:
        return in_order(labels, len(files))
    return [GivenLabel()] * len(files)


def _refuse_unknown(form: FormData) -> None:
    """A misspelt field must not pass for a missing one."""
    for name, value in form.multi_items():
        if name not in (_TEXT_FIELDS if isinstance(value, str) else _FILE_FIELDS):
            kind = "field" if isinstance(value, str) else "file in a field"
            raise (InvalidField if "files" in form else MissingFile)(
                f"The form has a {kind} named {name!r:.50}. Send files as `files`, and text as "
                f"{', '.join(sorted(_TEXT_FIELDS))}. Nothing was stored."
            )


def _uploader(request: Request, form: FormData) -> str | None:
    """Who uploads: the key, or without keys whoever the form names."""
    given, caller = _text(form, "uploader"), caller_of(request)
    if caller.key is None:
        return given
    if given is not None:
        raise InvalidField(
            "The uploader is the API key itself. Leave the field uploader out. Nothing was stored."
        )
    return caller.actor


def _text(form: FormData, name: str) -> str | None:
    """The text of a field that concerns all files."""
    values = form.getlist(name)
    if len(values) > 1:
        raise InvalidField(f"The form has the field {name} {len(values)} times. Send it once.")
    text = str(values[0]).strip() if values else ""
    return checked_text(name, text or None)
