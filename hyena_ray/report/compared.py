"""The whole table of a comparison of presets, beside the study's figures."""

from __future__ import annotations

from hyena_ray.report.blocks import Block, Section, Table, number
from hyena_ray.report.contents import Contents
from hyena_ray.tuning.comparison import COST, METRICS, STUDIED

_SHOWN = tuple(name for name in METRICS if not name.endswith("accuracy"))


def compared(contents: Contents) -> Section | None:
    """Of a folder of compare.py, given or itself."""
    table = contents.comparison
    if table is None:
        return None
    metric = "f1" if contents.task is None else contents.task.metric
    rows = table.to_pylist()
    rows.sort(key=lambda row: -(row[metric] if row[metric] is not None else -1.0))
    names = [name for name in _SHOWN if any(row[name] is not None for row in rows)]
    cells = [
        [
            row["preset"],
            *(_mean(row[name], row[f"{name}_sd"]) for name in names),
            str(row["runs"]) + (f" ({row['diverged']} diverged)" if row["diverged"] else ""),
            "" if row["trainable_share"] is None else f"{row['trainable_share']:.2%}",
            number(row["seconds_per_epoch"], 1),
            number(row["peak_memory_mib"], 0),
            row["about"],
        ]
        for row in rows
    ]
    heads = ["preset", *map(METRICS.__getitem__, names), "runs", *COST.values(), "about"]
    blocks: list[Block] = [
        Table("Presets on the test windows; mean ± standard deviation over runs", heads, cells)
    ]
    stated = [row for row in rows if row["study_f1"] is not None or row["study_mcc"] is not None]
    studied = [
        name
        for name in STUDIED
        if name in METRICS and any(row[f"study_{name}"] is not None for row in stated)
    ]
    if stated:
        beside = [
            [
                row["preset"],
                *(
                    f"{number(row[name])} / {number(row[f'study_{name}'])}"
                    if row[f"study_{name}"] is not None
                    else ""
                    for name in studied
                ),
            ]
            for row in stated
        ]
        blocks.append(
            Table(
                "Ours / the study's, which are of its own data, split and published weights",
                ["preset", *map(METRICS.__getitem__, studied)],
                beside,
                folded=contents.evaluation is not None,
            )
        )
    return Section("compared", "Presets compared", blocks)


def _mean(mean: float | None, spread: float | None) -> str:
    return number(mean) if spread is None else f"{number(mean)} ± {number(spread)}"
