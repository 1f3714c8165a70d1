"""The YAML files that say how this server behaves, and one way to read them."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from models.errors import InvalidConfiguration

FOLDER = Path(__file__).parent

Model = TypeVar("Model", bound=BaseModel)


def read_config(path: Path, model: type[Model]) -> Model:
    """Read a YAML file and validate it.

    Raises:
        InvalidConfiguration: if the file is missing, is no YAML or breaks a rule of `model`.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror}.") from error
    # yaml lets a ValueError of its own making through, such as that of month 13.
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidConfiguration(f"{path} is no valid YAML: {error}") from error
    return validate(document if document is not None else {}, model, str(path))


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
