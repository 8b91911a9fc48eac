"""The columns of a trace as arrays: equal to its tables, without importing pandas."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from migsim.trace import Trace

TRACES = Path(__file__).parents[2] / "traces"
MEMBERS = ("intervals", "runs", "windows", "events", "content")


@pytest.mark.parametrize("name", ["hot-4g", "hot-4g-dirty-ring", "hot-4g-dirty-rate"])
def test_columns_are_the_tables_columns(name):
    trace = Trace.open(TRACES / f"{name}.trace")
    for member in MEMBERS:
        table, columns = trace._frame(member), trace.columns(member)
        assert list(table) == list(columns)
        for column, values in columns.items():
            assert values.dtype == object or values.dtype == table[column].dtype
            np.testing.assert_array_equal(values, table[column].to_numpy())


def test_fitting_a_stream_trace_loads_no_pandas():
    program = (
        "import sys; from migsim.trace import Trace; from migsim.calibrate.workload.fit import fit_workload; "
        f"fit_workload(Trace.open({str(TRACES / 'hot-4g.trace')!r})); sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=TRACES.parent).returncode == 0
