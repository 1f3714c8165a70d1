"""Configuration files: one way to read and validate them, one kind of error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from models.errors import InvalidConfiguration

Model = TypeVar("Model", bound=BaseModel)


class NoServeConfiguration(InvalidConfiguration):
    """A YAML file is something else than a configuration of Ray Serve."""


def read_yaml(path: Path) -> object:
    """The document of a YAML file; None if it is empty.

    Raises:
        InvalidConfiguration: if the file cannot be read or is no YAML in UTF-8.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror}.") from error
    # yaml lets a ValueError of its own making through, such as that of month 13.
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidConfiguration(f"{path} is no valid YAML: {error}") from error


def read_serve_config(path: Path) -> dict[str, Any]:
    """The document of a file such as `serve_config.yaml`: a mapping that lists applications.

    Raises:
        InvalidConfiguration: as `read_yaml`.
        NoServeConfiguration: if it is no such document.
    """
    document = read_yaml(path)
    if isinstance(document, dict):
        applications = document.get("applications")
        if isinstance(applications, list) and all(isinstance(each, dict) for each in applications):
            return document
    raise NoServeConfiguration(f"{path} is no Serve configuration: it lists no applications.")


def read_config(path: Path, model: type[Model]) -> Model:
    """Read a YAML file and validate it.

    Raises:
        InvalidConfiguration: if the file is missing, is no YAML or breaks a rule of `model`.
    """
    document = read_yaml(path)
    return validate({} if document is None else document, model, str(path))


def validate(document: object, model: type[Model], source: str) -> Model:
    """Validate settings that were read from `source`, which names them in the error.

    Raises:
        InvalidConfiguration: with a line for each field that is unknown or out of range.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        rules = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the document'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise InvalidConfiguration(f"{source} breaks a rule. {rules}.") from error
