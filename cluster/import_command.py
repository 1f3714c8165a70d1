"""`dermserve import-ham10000`: the import with progress bars and a table of what was found."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from models.classes import CLASSES

if TYPE_CHECKING:
    from data.ham10000 import LesionImage
    from data.importing import Imported

_SHOWN = 5


def import_ham10000(
    output: Annotated[Path, typer.Option(help="Folder to make; new or empty.")],
    source: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Folder, or zip files and metadata file; Harvard Dataverse if not given.",
        ),
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Link to images of a folder instead of copying.")
    ] = False,
) -> None:
    """Check HAM10000 and put it where training reads it.

    Without a source, 2.7 GB are downloaded beside the output; a broken download goes on where
    it stopped when the command is given again.

    Example: dermserve import-ham10000 ~/Downloads/dataverse_files --output var/ham10000
    """
    # Pooch, scipy and Pillow take a second to import; the other commands do not need them.
    from data.download import download_ham10000
    from data.importing import Listeners, check_output
    from data.importing import import_ham10000 as run_import

    check_output(output)
    console = Console()
    bars = Progress(
        TextColumn("{task.description:<32}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
    )
    tasks: dict[str, TaskID] = {}

    def on_bytes(name: str, done: int, size: int) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=size)
        bars.update(tasks[name], completed=done)

    downloads = output.absolute().with_name(f"{output.absolute().name}.download")
    with bars:
        if not source:
            download_ham10000(downloads, on_bytes=on_bytes)
        unpacking = bars.add_task("unpacking", total=None, visible=False)
        listeners = Listeners(
            on_unpacked=lambda: bars.update(unpacking, advance=1, visible=True),
            on_images=lambda count: _checking(bars, unpacking, count),
        )
        imported = run_import(source or [downloads], output, link=link, listeners=listeners)
    if not source:
        shutil.rmtree(downloads, ignore_errors=True)
    _show(imported, console)


def _checking(bars: Progress, unpacking: TaskID, count: int) -> Callable[[], None]:
    bars.update(unpacking, total=1, completed=1)
    task = bars.add_task("checking images", total=count)
    return lambda: bars.advance(task)


def _show(imported: Imported, console: Console) -> None:
    from data.splits import SPLITS

    dataset, split = imported.checked.dataset, imported.split
    parts = {name: Counter(_labels(getattr(split, name))) for name in SPLITS} if split else {}
    table = Table("class", "images", "lesions", *parts)
    for column in table.columns[1:]:
        column.justify = "right"
    lesions = Counter({image.lesion_id: image.diagnosis for image in dataset.images}.values())
    images = Counter(_labels(dataset.images))
    counts = (images, lesions, *parts.values())
    for code in CLASSES:
        table.add_row(code, *(str(count[code]) for count in counts))
    table.add_section()
    table.add_row("all", *(str(count.total()) for count in counts))
    console.print(table)

    def say(text: str, style: str | None = None) -> None:
        # Not as markup, because a path may hold brackets.
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    for kind, count in dataset.problem_counts.items():
        shown = [one for one in dataset.problems if one.kind == kind][:_SHOWN]
        told = "; ".join(f"{one.image_id} {one.detail}".strip() for one in shown)
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        say(f"{kind}: {count}: {told}{more}", "yellow")
    for group in imported.checked.merged:
        say(f"one picture under several lesion ids: {', '.join(group)}", "yellow")
    if split is None:
        say(f"no split: {imported.split_problem}", "yellow")
    else:
        say(f"split {split.version or f'of seed {split.seed}'}: {split.hash}")
    say(f"dataset hash: {dataset.hash}")
    say(f"{len(dataset.images)} images are in {imported.folder}.")


def _labels(images: Iterable[LesionImage]) -> list[str]:
    return [image.diagnosis for image in images]
