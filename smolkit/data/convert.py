"""Datasets of LeRobot's older formats, v2.1 and v2.0, as v3.0 on the disk; the old folder is not touched.

    print(convert("old_cubes", "cubes").text())

Reading needs no conversion: `Dataset` takes all three. Older programs, LeRobot 0.4 and the Hub's viewer do not. A
conversion is an edit that changes nothing (`smolkit.data.edit.Plan`): packets of videos are copied, numbers and texts
stay, tables are laid out anew. Statistics are computed from all rows and from decoded pictures, so the quantiles
are there, which v2.x never had (LeRobot's own converter leaves them out).
"""

from __future__ import annotations

from pathlib import Path

from smolkit.data.edit import Plan
from smolkit.data.rewrite import Edited
from smolkit.data.schema import VERSION
from smolkit.report import SmolkitError


def convert(root: str | Path, out: str | Path) -> Edited:
    """Writes `root` (v2.0 or v2.1) as v3.0 to the new folder `out`.

    Errors: SK442 where it is v3.0 already, SK410 where something is at `out`, and all that reading `root` may find.
    """
    plan = Plan.of(root)
    if plan.sources[0].info.codebase_version == VERSION:
        raise SmolkitError("SK442", "a dataset v2.1 or v2.0", f"{VERSION} in {root}", "it was converted before",
                           "use it as it is; smolkit.data.edit.Plan.of(...).write(...) copies it")
    return plan.recounted().write(out)
