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
        return model.model_validate(document if document is not None else {})
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise InvalidConfiguration(f"{path} is no valid YAML: {error}") from error
    except ValidationError as error:
        raise InvalidConfiguration(f"{path} breaks a rule: {error}") from error
