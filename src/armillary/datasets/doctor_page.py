"""The doctor's report as one HTML page that needs nothing else: findings by gravity, with pictures."""

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape

from PIL import Image

from armillary.datasets.findings import Oddity
from armillary.datasets.inspect import Report
from armillary.records import Array

ENLARGED = 4
COLOURS = {"error": "#b3261e", "warning": "#8a5a00", "note": "#3b5b7a"}
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}
h1{font-size:1.5rem;overflow-wrap:anywhere} h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;width:100%} td,th{padding:.35rem .6rem;text-align:left;border-bottom:1px solid #ddd;
vertical-align:top} .tag{color:#fff;border-radius:.3rem;padding:.05rem .5rem;font-size:.85rem;white-space:nowrap}
.strip{display:flex;flex-wrap:wrap;gap:.5rem} figure{margin:0} figcaption{font-size:.8rem;color:#555}
img{image-rendering:pixelated;display:block} code{font-size:.85rem;color:#444}
@media(prefers-color-scheme:dark){body{background:#161616;color:#eee}td,th{border-color:#444}figcaption,code{color:#aaa}}
"""


def page_of(report: Report) -> str:
    """The whole page."""
    order = {"error": 0, "warning": 1, "note": 2}
    found = sorted(report.oddities, key=lambda one: order[one.severity])
    counts = {name: sum(one.severity == name for one in found) for name in order}
    said = ", ".join(f"{count} {name}{'s' if count != 1 else ''}" for name, count in counts.items() if count)
    return "".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
            f"<title>{escape(report.path)}: {said or 'nothing odd'}</title><style>{STYLE}</style>",
            f"<h1>{escape(report.path)}</h1><p>{report.episodes} episodes, "
            f"{report.rows} rows at {report.fps:g} a second, "
            f"{report.seconds:.0f} s of robot {escape(report.robot)}; {report.looked_at} episodes were looked at. "
            f"<strong>{said or 'Nothing odd was found'}.</strong></p>",
            "<h2>What was found</h2>" + ("".join(_findings(found, report)) or "<p>Nothing.</p>"),
            "<h2>What can be used</h2>" + _table([("rows", report.rows), ("usable rows", report.usable_rows)]
                                               + list(report.dropped.items())),
            _actions(report),
            "<h2>Tasks</h2><ul>" + "".join(f"<li>{escape(task)}</li>" for task in report.tasks[:50]) + "</ul>",
            "<h2>First frames</h2>" + _strip(report, list(report.first_frames)[:24]),
            "</html>\n",
        ]
    )  # fmt: skip


def _findings(found: list[Oddity], report: Report) -> Iterator[str]:
    yield "<table><tr><th>gravity<th>what<th>code</tr>" if found else ""
    for one in found:
        tag = f"<span class=tag style='background:{COLOURS[one.severity]}'>{one.severity}</span>"
        pictures = _strip(report, [n for n in one.episodes if n in report.first_frames][:4])
        yield f"<tr><td>{tag}<td>{escape(one.words)}{pictures}<td><code>{escape(one.code)}</code></tr>"
    yield "</table>" if found else ""


def _actions(report: Report) -> str:
    if report.actions is None:
        return ""
    rows = [(f"number {i}", f"{low:.4g} to {high:.4g}")
            for i, (low, high) in enumerate(zip(report.actions.low, report.actions.high, strict=True))]  # fmt: skip
    told = [("embodiment", report.actions.embodiment), ("gripper", report.actions.gripper),
            ("idle", f"{report.actions.idle:.0%} of {report.actions.steps} steps")]  # fmt: skip
    return "<h2>Actions of the first episode</h2>" + _table([*told, *rows])


def _table(rows: Sequence[tuple[str, object]]) -> str:
    return "<table>" + "".join(f"<tr><td>{escape(a)}<td>{escape(str(b))}</tr>" for a, b in rows) + "</table>"


def _strip(report: Report, numbers: list[int]) -> str:
    shown = [f"<figure><img alt='episode {n}' src='{_picture(report.first_frames[n])}'>"
             f"<figcaption>episode {n}</figcaption></figure>" for n in numbers]  # fmt: skip
    return f"<div class=strip>{''.join(shown)}</div>" if shown else ""


def _picture(picture: Array) -> str:
    image = Image.fromarray(picture)
    image = image.resize((image.width * ENLARGED, image.height * ENLARGED), Image.Resampling.BICUBIC)
    kept = io.BytesIO()
    image.save(kept, format="PNG")
    return "data:image/png;base64," + base64.b64encode(kept.getvalue()).decode()
