"""The report of a partly failed run: ``python -m edgepress.reporting.partial RUN_FOLDER NOTEBOOKS SHOWN``.

SHOWN is JSON: notebook → data sets that it shows → what they offer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgepress.metrics import from_csv
from edgepress.reporting import Notebook, index, notebooks, render


def write(run_folder: Path, about: Mapping[Notebook, Mapping[str, Sequence[str]]], at_a_time: int = 2) -> list[str]:
    """Render the notebooks ``about`` and the first page from ``run_folder``. Returns the names of failed notebooks.

    Notebooks show the data sets with a result, and are omitted if there are none. Raises ValueError if there is no
    result at all.
    """
    with_result = {row["dataset"] for row in from_csv(run_folder / "metrics.csv") if row["status"] == "ok"}
    if not with_result:
        raise ValueError(f"{run_folder} has no result to report")
    narrowed = {
        notebook: {name: offers for name, offers in shown.items() if name in with_result}
        for notebook, shown in about.items()
    }
    narrowed = {notebook: shown for notebook, shown in narrowed.items() if shown}

    def rendered(notebook: Notebook) -> bool:
        page = run_folder / f"report/{notebook.name}.html"
        try:
            names = list(narrowed[notebook])
            render.execute(notebook.path, page.with_suffix(".ipynb"), page, run_folder=run_folder, datasets=names)
        except Exception as error:  # show the others even if one fails
            print(f"{notebook.name}: {' '.join(str(error).split())[-300:]}", file=sys.stderr)
            return False
        return True

    with ThreadPoolExecutor(at_a_time) as pool:
        done = dict(zip(narrowed, pool.map(rendered, narrowed), strict=True))
    index.write({n: shown for n, shown in narrowed.items() if done[n]}, run_folder, run_folder / "report/index.html")
    return [notebook.name for notebook, ok in done.items() if not ok]


if __name__ == "__main__":
    run_folder, folder, asked = sys.argv[1:]
    shown = json.loads(asked)
    failed = write(Path(run_folder), {n: shown[n.name] for n in notebooks(folder) if n.name in shown})
    sys.exit(f"these pages could not be rendered: {', '.join(failed)}" if failed else 0)
