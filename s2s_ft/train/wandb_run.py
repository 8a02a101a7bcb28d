"""Weights & Biases, for those who ask for it with `--wandb_project`.

Notable: the package is imported only then. The id of the run is kept in the output folder, so the
same command goes on in the same run there, too; updates that are taken again after a kill are
already known to it and are left out by it. `WANDB_MODE=offline` keeps everything on disk, under
`<output_dir>/wandb`, to be sent later by `wandb sync`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from s2s_ft.cli import EnvironmentFault
from s2s_ft.train.lines import OPTIONS, write_json

RUN = "wandb_run.json"
"""Holds the project and the id of the run."""


def require_wandb(project: str | None) -> None:
    """Make sure that `--wandb_project` can be served, before anything slow is done.

    Raises:
        EnvironmentFault: It is given, and the package is missing.
    """
    if project is not None:
        _package()


class WandbRun:
    """An open run."""

    def __init__(self, project: str, output_dir: Path) -> None:
        """Begin a run, or go on with the one whose id is in the output folder.

        Raises:
            EnvironmentFault: The package is missing, or the service turns us away.
        """
        self._wandb: Any = _package()
        try:
            self._run: Any = self._wandb.init(
                project=project,
                id=_run_id(project, output_dir),
                name=output_dir.resolve().name,
                resume="allow",
                dir=str(output_dir),
                config=_options(output_dir),
            )
        # Its errors have no common base that every version offers.
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EnvironmentFault(
                f"--wandb_project {project}: Weights & Biases cannot be reached ({reason}); run "
                "`wandb login`, or set WANDB_MODE=offline to keep everything on disk"
            ) from error

    def scalars(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of one step."""
        self._run.log(dict(numbers), step=step)

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Any]) -> None:
        """A table of texts of one step."""
        table = self._wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        self._run.log({name: table}, step=step)

    def close(self) -> None:
        """Send what is left and close the run."""
        self._run.finish()


def _package() -> Any:
    """The package, imported.

    Raises:
        EnvironmentFault: It is missing.
    """
    try:
        import wandb
    except ImportError as error:
        raise EnvironmentFault(
            "--wandb_project needs the package wandb, which is missing: run "
            "`pip install wandb`, or leave the flag out"
        ) from error
    return wandb


def _run_id(project: str, output_dir: Path) -> str:
    """The id that the output folder keeps for this project, a new one at first."""
    path = output_dir / RUN
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["project"] == project:
            known: str = saved["id"]
            return known
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or damaged
    run_id = secrets.token_hex(4)
    write_json(path, {"project": project, "id": run_id})
    return run_id


def _options(output_dir: Path) -> dict[str, Any]:
    """All options of the run, as they were written down when it was started."""
    try:
        options: dict[str, Any] = json.loads((output_dir / OPTIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return options
