"""Configuration files: one way to read and validate them, one kind of error."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from models.errors import InvalidConfiguration

Model = TypeVar("Model", bound=BaseModel)


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
