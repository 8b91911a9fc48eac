"""Predict QEMU/KVM live migrations from traces of the running guest.

>>> import migsim
>>> trace = migsim.Trace.open("traces/hot-4g.trace")                   # doctest: +SKIP
>>> host = migsim.bundled_profile("10.0")                              # doctest: +SKIP
>>> migsim.predict(trace, host=host)                                   # doctest: +SKIP

Names load on first use, so that importing the package stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from migsim.version import __version__

if TYPE_CHECKING:
    from migsim.calibrate.workload.fit import fit_workload
    from migsim.errors import MigsimError
    from migsim.profiles import HostProfile
    from migsim.profiles.bundled import bundled_profile
    from migsim.results import MigrationResult, ResultCollection, compare
    from migsim.scenario import LabScenario, MigrationSettings
    from migsim.study.predict import Prediction, predict
    from migsim.study.question import Question
    from migsim.study.replay import replay
    from migsim.study.sensitivity import Sensitivity, sensitivity
    from migsim.study.size.nearest import nearest_settings
    from migsim.study.size.search import Sizing, size
    from migsim.study.sweep.run import Sweep, sweep
    from migsim.trace import Trace
    from migsim.workload import Workload, WorkloadClass

_HOMES = {
    "predict": "migsim.study.predict",
    "sweep": "migsim.study.sweep.run",
    "size": "migsim.study.size.search",
    "sensitivity": "migsim.study.sensitivity",
    "replay": "migsim.study.replay",
    "Trace": "migsim.trace",
    "fit_workload": "migsim.calibrate.workload.fit",
    "HostProfile": "migsim.profiles",
    "bundled_profile": "migsim.profiles.bundled",
    "MigrationSettings": "migsim.scenario",
    "MigrationResult": "migsim.results",
    "ResultCollection": "migsim.results",
    "compare": "migsim.results",
    "Question": "migsim.study.question",
    "nearest_settings": "migsim.study.size.nearest",
    "Prediction": "migsim.study.predict",
    "Sweep": "migsim.study.sweep.run",
    "Sizing": "migsim.study.size.search",
    "Sensitivity": "migsim.study.sensitivity",
    "Workload": "migsim.workload",
    "WorkloadClass": "migsim.workload",
    "LabScenario": "migsim.scenario",
    "MigsimError": "migsim.errors",
}

__all__ = [
    "HostProfile",
    "LabScenario",
    "MigrationResult",
    "MigrationSettings",
    "MigsimError",
    "Prediction",
    "Question",
    "ResultCollection",
    "Sensitivity",
    "Sizing",
    "Sweep",
    "Trace",
    "Workload",
    "WorkloadClass",
    "__version__",
    "bundled_profile",
    "compare",
    "fit_workload",
    "nearest_settings",
    "predict",
    "replay",
    "sensitivity",
    "show_versions",
    "size",
    "sweep",
]


def show_versions() -> dict[str, Any]:
    """Return what a bug report needs: versions of migsim, Python and libraries, and what this machine is.

    Examples
    --------
    >>> show_versions()["migsim"] == __version__
    True
    """
    from migsim.provenance import Provenance

    return Provenance.now("").as_dict() | {"migsim": __version__}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    from migsim.errors import near_misses

    raise AttributeError(f"module 'migsim' has no attribute {name!r}. {near_misses(name, __all__)}".strip())


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
