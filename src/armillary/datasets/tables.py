"""Tables and lists as files, written whole: Parquet, the tasks as pandas reads them, JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from armillary.media import write_whole


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table whole; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda draft: pq.write_table(table, draft, compression="zstd"))


def tasks_table(tasks: Mapping[str, int]) -> pa.Table:
    """``meta/tasks.parquet``: what pandas reads as a frame indexed by ``task`` with one column, ``task_index``."""
    table = pa.table(
        {"task_index": pa.array(list(tasks.values()), pa.int64()), "task": pa.array(list(tasks), pa.string())}
    )
    column = {"field_name": "task_index", "metadata": None, "name": "task_index"}
    index = {"field_name": "task", "metadata": None, "name": "task"}
    note = {
        "index_columns": ["task"],
        "column_indexes": [
            {
                "field_name": None,
                "metadata": {"encoding": "UTF-8"},
                "name": None,
                "numpy_type": "object",
                "pandas_type": "unicode",
            }
        ],
        "columns": [
            column | {"numpy_type": "int64", "pandas_type": "int64"},
            index | {"numpy_type": "object", "pandas_type": "unicode"},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(note)})


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda draft: draft.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8"))
