"""What lives in physics and in imagination say together: agreement, optimism, and what doubt is worth.

    figures_of(samples)   every figure, with n and an interval over whole tables
    table_of(found)       the same as a table in Markdown, made from ``trust.json`` alone

Correlations are between policies: of their success in physics with what the imagination shows of them, success or
progress. An interval draws tables, all their policies with them, since a hard table is hard for all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from armillary.evaluation.bootstrap import Figure, drawn, mean

if TYPE_CHECKING:
    from armillary.evaluation.trust import Sample

Floats = NDArray[np.float64]
LEAST_RANK, MOST_OPTIMISM = 0.7, 0.2  # an imagination is trusted if both intervals keep to these
LEAST_WON = 0.5  # of successes: where fewer look like one, rates of success mean nothing
LEAST_EACH = 5  # right and wrong imaginations, below which no threshold is chosen


def figures_of(samples: "Sequence[Sample]") -> dict[str, Any]:
    """``rates`` of policies, ``figures`` by name, ``judge`` of each kind of task, ``doubt``, ``gone``: thresholds."""
    figures = _agreement(samples) | _optimism(samples)
    doubt, marked = _doubt(samples)
    gone, passed = _gone(samples)
    rates = {
        name: {field: _plain(_mean(own, field)) for field in ("physics", "imagined", "progress_imagined")}
        | ({field: _plain(_mean(own, field)) for field in ("acted", "progress_acted")} if _acts(own) else {})
        for name, own in _by_policy(samples).items()
    }
    return {
        "rates": rates, "figures": {name: _plain(figure) for name, figure in (figures | passed | marked).items()},
        "judge": _judge(samples), "doubt": doubt, "gone": gone,
    }  # fmt: skip


def _plain(figure: Figure) -> dict[str, Any]:
    """For JSON, which has no nan: None where nothing can be told."""
    return {name: value if np.isfinite(value) else None for name, value in figure.told().items()}


def pearson(one: Floats, other: Floats) -> float:
    """How far two rows go along a line; nan if one of them does not change."""
    a, b = one - one.mean(), other - other.mean()
    across = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / across) if across > 1e-12 else float("nan")


def spearman(one: Floats, other: Floats) -> float:
    """How far two rows rise together, whatever their steps; equal values share their rank."""
    return pearson(ranks(one), ranks(other))


def ranks(values: Floats) -> Floats:
    """1 for the smallest; equal values have the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[which], dtype=np.float64)


def auroc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """The chance that a positive scores above a negative, equal scores counting half; nan if there are not both."""
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return float("nan")
    return float((ranks(scores)[positive].sum() - count * (count + 1) / 2) / (count * others))


def _by_policy(samples: "Sequence[Sample]") -> "dict[str, list[Sample]]":
    return {name: [one for one in samples if one.policy == name] for name in dict.fromkeys(s.policy for s in samples)}


def _acts(samples: "Sequence[Sample]") -> bool:
    return all(one.acted is not None for one in samples)


def _mean(samples: "Sequence[Sample]", field: str) -> Figure:
    return mean([vars(one)[field] for one in samples], [one.seed for one in samples])


def _agreement(samples: "Sequence[Sample]") -> dict[str, Figure]:
    """Between the policies' means. Who can act in imagination is scored there; who cannot, by his actions."""
    policies = list(_by_policy(samples))
    tables = sorted({one.seed for one in samples})
    fields = ("physics", "seen", "imagined", "progress_seen", "progress_imagined")
    rows: dict[str, Floats] = {name: np.zeros((len(policies), len(tables))) for name in fields}
    for one in samples:
        place = policies.index(one.policy), tables.index(one.seed)
        for name in fields:
            rows[name][place] = vars(one)[name]
        if one.acted is not None:
            rows["imagined"][place], rows["progress_imagined"][place] = one.acted, one.progress_acted or 0.0

    def compare(way: Callable[[Floats, Floats], float], there: str) -> Callable[[NDArray[np.int64]], float]:
        return lambda which: way(rows["physics"][:, which].mean(axis=1), rows[there][:, which].mean(axis=1))

    def error(one: Floats, other: Floats) -> float:
        return float(np.abs(one - other).mean())

    found = {}
    for name, way in (("spearman", spearman), ("pearson", pearson), ("mean_absolute_error", error)):
        found[name] = drawn(tables, compare(way, "imagined"), n=len(policies))
        found[f"{name}_judge_alone"] = drawn(tables, compare(way, "seen"), n=len(policies))
    for name, way in (("spearman_progress", spearman), ("pearson_progress", pearson)):
        found[name] = drawn(tables, compare(way, "progress_imagined"), n=len(policies))
        found[f"{name}_judge_alone"] = drawn(tables, compare(way, "progress_seen"), n=len(policies))
    return found


def _optimism(samples: "Sequence[Sample]") -> dict[str, Figure]:
    """Of failures in physics, how many look like successes when their actions are imagined; and what is made of it."""
    found = {}
    for name, own in (
        ("optimism", [one for one in samples if not one.physics]),
        ("successes_imagined", [one for one in samples if one.physics]),
    ):
        if own:
            found[name] = _mean(own, "imagined")
            found[f"{name}_judge_alone"] = _mean(own, "seen")
    truth = np.array([one.physics for one in samples])
    for name, field in (
        ("success_imagined", "imagined"), ("success_judge_alone", "seen"),
        ("progress", "progress_imagined"), ("progress_judge_alone", "progress_seen"),
    ):  # fmt: skip
        said = np.array([vars(one)[field] for one in samples], dtype=np.float64)
        found[f"auroc_{name}"] = _auroc(samples, said, truth)
    return found


def _doubt(samples: "Sequence[Sample]") -> tuple[dict[str, Any], dict[str, Figure]]:
    """What doubt says of wrong imaginations; a threshold from every other table, and what it does on the others."""
    told = [one for one in samples if one.wrong is not None]
    tables = sorted({one.seed for one in told})
    figures: dict[str, Figure] = {}
    if told:
        figures["wrong"] = mean([bool(one.wrong) for one in told], [one.seed for one in told])
    for name in ("change", "cycle", "spread"):
        if asked := [one for one in told if vars(one)[name] is not None]:
            said = np.array([vars(one)[name] for one in asked])
            figures[f"auroc_wrong_{name}"] = _auroc(asked, said, np.array([bool(one.wrong) for one in asked]))
    chosen = [one for one in told if one.seed in tables[::2]]
    others = [one for one in told if one.seed not in tables[::2]]
    most = threshold([one.change for one in chosen], [bool(one.wrong) for one in chosen])
    doubt: dict[str, Any] = {"most": most, "chosen_on": len(chosen), "measured_on": len(others)}
    if most is not None and others:
        believed = [one for one in others if one.change <= most]
        figures["believed"] = mean([one in believed for one in others], [one.seed for one in others])
        stopped = [one for one in others if one not in believed]
        for name, own in (("wrong_of_believed", believed), ("wrong_of_stopped", stopped)):
            if own:
                figures[name] = mean([bool(one.wrong) for one in own], [one.seed for one in own])
    return doubt, figures


def _gone(samples: "Sequence[Sample]") -> tuple[dict[str, Any], dict[str, Figure]]:
    """A verdict milder than the judge's: done where so much of the way is gone. Chosen and measured as doubt's is."""
    tables = sorted({one.seed for one in samples})
    chosen = [one for one in samples if one.seed in tables[::2]]
    others = [one for one in samples if one.seed not in tables[::2]]
    most = threshold([-one.progress_imagined for one in chosen], [not one.physics for one in chosen])
    gone: dict[str, Any] = {
        "least": None if most is None else -most,
        "chosen_on": len(chosen),
        "measured_on": len(others),
    }
    figures: dict[str, Figure] = {}
    if most is not None:
        for name, won in (("optimism_gone", False), ("successes_gone", True)):
            if own := [one for one in others if one.physics == won]:
                figures[name] = mean([one.progress_imagined >= -most for one in own], [one.seed for one in own])
    return gone, figures


def threshold(scores: Sequence[float], wrong: Sequence[bool]) -> float | None:
    """The score up to which to believe: where the shares of right ones kept and wrong ones stopped add up to most.

    None if there are fewer than five right or five wrong ones to choose it by.
    """
    table, bad = np.asarray(scores, dtype=np.float64), np.asarray(wrong, dtype=bool)
    if min(bad.sum(), (~bad).sum()) < LEAST_EACH:
        return None
    ways = np.unique(table)
    gained = [(table[~bad] <= way).mean() + (table[bad] > way).mean() for way in ways]
    return round(float(ways[int(np.argmax(gained))]), 4)


def _auroc(samples: "Sequence[Sample]", scores: Floats, positive: NDArray[np.bool_]) -> Figure:
    tables = sorted({one.seed for one in samples})
    rows = [np.flatnonzero([one.seed == table for one in samples]) for table in tables]

    def statistic(which: NDArray[np.int64]) -> float:
        own = np.concatenate([rows[i] for i in which])
        return auroc(scores[own], positive[own])

    return drawn(tables, statistic, n=len(samples))


def _judge(samples: "Sequence[Sample]") -> dict[str, Any]:
    """For each kind of task, of how many successes and failures in true pictures the judge says so."""
    found = {}
    for kind in (*sorted({one.kind for one in samples}), "all"):
        own = [one for one in samples if kind in (one.kind, "all")]
        won, lost = [one for one in own if one.physics], [one for one in own if not one.physics]
        found[kind] = {
            "successes": len(won), "successes_seen": sum(one.seen for one in won), "failures": len(lost),
            "failures_seen": sum(not one.seen for one in lost),
        }  # fmt: skip
    return found


_ROWS = (
    ("spearman_progress", "rank correlation of success in physics with progress here (Spearman)", ""),
    ("pearson_progress", "linear correlation of the same (Pearson)", ""),
    ("spearman", "rank correlation of the policies' success (Spearman)", ""),
    ("pearson", "linear correlation (Pearson)", ""),
    ("mean_absolute_error", "mean absolute error of a policy's success", "%"),
    ("optimism", "optimism: failures that look like successes when imagined", "%"),
    ("successes_imagined", "successes that look like successes when imagined", "%"),
    ("optimism_gone", "on other tables: failures that go far enough to count as done", "%"),
    ("successes_gone", "successes that go far enough to count as done", "%"),
    ("auroc_success_imagined", "AUROC, success against failure, of the imagined verdict", ""),
    ("auroc_progress", "AUROC, success against failure, of a life's progress", ""),
    ("wrong", "imaginations that end wrong (a thing off by over 5 % of the width)", "%"),
    ("auroc_wrong_change", "AUROC of how far the film goes for being wrong", ""),
    ("auroc_wrong_cycle", "AUROC of the cycle error for being wrong", ""),
    ("auroc_wrong_spread", "AUROC of the spread for being wrong", ""),
    ("believed", "on other tables: believed at the threshold", "%"),
    ("wrong_of_believed", "wrong among the believed", "%"),
    ("wrong_of_stopped", "wrong among the stopped", "%"),
)


def tables_of(found: Mapping[str, Any]) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """Policies, figures and judge as three tables of words, their heads first."""
    rates = [["policy", "success in physics", "its actions imagined: progress", "success", "acting in imagination: "
              "progress", "success"]]  # fmt: skip
    for name, own in found["rates"].items():
        shown = ("physics", "progress_imagined", "imagined", "progress_acted", "acted")
        cells = [_said(own[key], "%") if key in own else "" for key in shown]
        rates.append([f"{name}: {found['policies'][name]}", *cells])
    figures = [["what", "in imagination", "the judge alone, on true pictures", "n"]]
    for key, words, unit in _ROWS:
        if key in found["figures"]:
            figure = found["figures"][key]
            alone = found["figures"].get(f"{key.replace('success_imagined', 'success')}_judge_alone")
            figures.append([words, _said(figure, unit), _said(alone, unit) if alone else "", str(figure["n"])])
    judge = [["task", "successes seen as such in true pictures", "failures seen as such"]]
    for kind, one in found["judge"].items():
        judge.append([kind, f"{one['successes_seen']} of {one['successes']}",
                      f"{one['failures_seen']} of {one['failures']}"])  # fmt: skip
    return rates, figures, judge


def verdict_of(found: Mapping[str, Any]) -> str:
    """Whether the imagination can be trusted with policies, in one sentence.

    It can if the interval of the rank correlation with progress begins at 0.7 or above and that of optimism ends at
    0.2 or below; where half of the successes or fewer look like some, optimism is that of lives that go far enough, and
    a yes says that rates are not to be read.
    """
    rank, flattery, won = (
        found["figures"].get(name) for name in ("spearman_progress", "optimism", "successes_imagined")
    )
    seldom = won is None or won["low"] <= LEAST_WON
    if seldom:
        flattery = found["figures"].get("optimism_gone", flattery)
    doubts = []
    if rank is None or rank["low"] is None or rank["low"] < LEAST_RANK:
        doubts.append(f"it does not surely rank policies as physics does (rank correlation {_said(rank, '')}; the "
                      f"interval must begin at {LEAST_RANK} or above)")  # fmt: skip
    if flattery is None or flattery["high"] > MOST_OPTIMISM:
        doubts.append(f"failures may look like successes in it ({_said(flattery, '%')}; the interval must end at "
                      f"{100 * MOST_OPTIMISM:.0f} % or below)")  # fmt: skip
    if doubts:
        return f"Not yet: {' and '.join(doubts)}."
    unseen = ""
    if seldom:
        unseen = f", but how often each succeeds cannot be read off it (successes seen: {_said(won, '%')})"
    return (
        f"Yes, for policies like these: it ranks them as physics does (rank correlation {_said(rank, '')}) and takes "
        f"few failures for successes ({_said(flattery, '%')}){unseen}."
    )


def table_of(found: Mapping[str, Any]) -> str:
    """The verdict and the three tables in Markdown."""
    parts = [f"**{verdict_of(found)}**\n"]
    for heads, *rows in tables_of(found):
        lines = [heads, ["---"] * len(heads), *rows]
        parts.append("".join(f"| {' | '.join(line)} |\n" for line in lines))
    return "\n".join(parts)


def _said(figure: Mapping[str, Any] | None, unit: str) -> str:
    if figure is None or figure["value"] is None:
        return "none"
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    if unit == "%":
        return f"{100 * value:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
