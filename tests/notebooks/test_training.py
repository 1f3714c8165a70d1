"""The training notebook runs from top to bottom on synthetic data, and shows what it promises."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import PROJECT

NOTEBOOK = PROJECT / "notebooks" / "training.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    patch = pytest.MonkeyPatch()
    patch.delenv("DERMSERVE_DATA", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": PROJECT}})
    with patch.context():
        return client.execute()


def _outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


# Jupyter's client announces what its next version will do.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_every_step_ran(executed: nbformat.NotebookNode) -> None:
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert len(cells) > 15
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in _outputs(executed) if output.output_type == "error"]


def test_it_shows_pictures_and_reads_them(executed: nbformat.NotebookNode) -> None:
    data = [output.data for output in _outputs(executed) if output.output_type == "display_data"]
    assert sum("image/png" in each for each in data) >= 10
    readings = " ".join(each["text/markdown"] for each in data if "text/markdown" in each)
    for word in ("The most frequent class", "of the evidence", "silhouette", "novelty"):
        assert word in readings


def test_both_models_are_judged_on_the_same_split(executed: nbformat.NotebookNode) -> None:
    text = "".join(output.get("text", "") for output in _outputs(executed))
    for name in ("notebook-1", "notebook-2"):
        assert f"{name}: balanced accuracy 0." in text


def test_it_is_committed_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_it_names_no_folder_of_a_machine() -> None:
    text = Path(NOTEBOOK).read_text(encoding="utf-8")
    assert "/home/" not in text
    assert str(PROJECT) not in text
