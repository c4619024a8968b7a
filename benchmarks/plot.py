"""The figures as one SVG: a panel for each scenario, a bar for each server, a mark where a bar is set."""

from __future__ import annotations

from html import escape

from benchmarks.outcome import Result
from benchmarks.report import Run, entrant_title
from benchmarks.scenarios import BARS, LESS_IS_BETTER, Bar, Metric

__all__ = ["as_svg"]

_WIDTH, _MARGIN, _GAP = 1120, 32, 28
_PANEL = (_WIDTH - 2 * _MARGIN - _GAP) // 2
_LABEL, _VALUE = 148, 74  # room for the names on the left and the figures on the right
_ROW, _BAR_HEIGHT, _HEAD, _FOOT = 24, 15, 54, 22
_TRACK = _PANEL - _LABEL - _VALUE - 32

_STYLE = """
text { font: 12px ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #33403a; }
.title { font-size: 22px; font-weight: 650; fill: #14201a; } .note { fill: #6b7a72; }
.head { font-size: 13.5px; font-weight: 620; fill: #14201a; } .value { font-variant-numeric: tabular-nums; }
.panel { fill: #ffffff; stroke: #dfe6e1; } .track { fill: #f0f4f1; }
.ours { fill: #1f8a5b; } .ours2 { fill: #86c5a4; } .limit { fill: #c3c9c6; } .peer { fill: #7d93b5; }
.strong { font-weight: 650; fill: #14201a; } .mark { stroke: #c2412d; stroke-width: 2; }
.marktext { fill: #c2412d; font-size: 11px; }
"""


def as_svg(run: Run) -> str:
    """The whole picture. Panels go down two columns, each to the shorter one."""
    columns = [92.0, 92.0]
    panels: list[str] = []
    for result in run.results:
        for metric in result.scenario.metrics:
            column = 0 if columns[0] <= columns[1] else 1
            x = _MARGIN + column * (_PANEL + _GAP)
            panel, height = _panel(result, metric, x, columns[column])
            panels.append(panel)
            columns[column] += height + 20
    height = max(columns) + 12
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
            f'width="{_WIDTH}" height="{height:.0f}" role="img" aria-label="Mycelia benchmark">',
            f"<style>{_STYLE}</style>",
            '<rect width="100%" height="100%" fill="#f7f9f7"/>',
            f'<text class="title" x="{_MARGIN}" y="44">Mycelia beside its peers</text>',
            f'<text class="note" x="{_MARGIN}" y="66">{escape(_subtitle(run))}</text>',
            _legend(),
            *panels,
            "</svg>\n",
        ]
    )


def _subtitle(run: Run) -> str:
    settings = run.settings
    runs = f"median of {settings['runs']} interleaved runs" if settings.get("runs") != 1 else "one run"
    return f"{run.started} · {run.machine.get('processor', '')} · {runs}"


def _legend() -> str:
    entries = [
        ("ours", "Mycelia"),
        ("ours2", "its websockets engine"),
        ("peer", "peers"),
        ("limit", "C limit"),
    ]
    x, parts = 648, []
    for name, title in entries:
        parts.append(f'<rect class="{name}" x="{x}" y="34" width="12" height="12" rx="3"/>')
        parts.append(f'<text x="{x + 18}" y="44">{title}</text>')
        x += 46 + 7 * len(title)
    return "".join(parts)


def _panel(result: Result, metric: Metric, x: float, y: float) -> tuple[str, float]:
    values = [(key, result.median(key, metric)) for key in result.samples]
    rows = [(key, value) for key, value in values if value is not None]
    rows.sort(key=lambda row: row[1], reverse=metric not in LESS_IS_BETTER)
    height = _HEAD + _ROW * len(rows) + _FOOT
    marks = _marks(result, metric)
    largest = max([value for _, value in rows] + [place for place, _ in marks] + [1e-9])
    parts = [f'<rect class="panel" x="{x}" y="{y}" width="{_PANEL}" height="{height}" rx="10"/>']
    parts.append(f'<text class="head" x="{x + 16}" y="{y + 25}">{escape(result.scenario.title)}</text>')
    parts.append(f'<text class="note" x="{x + 16}" y="{y + 42}">{_UNITS[metric]}</text>')
    for index, (key, value) in enumerate(rows):
        parts.append(_row(key, value, metric, x + 16, y + _HEAD + index * _ROW, max(value, 0) / largest))
    for place, text in marks:
        parts.append(_mark(text, x + 16 + _LABEL + _TRACK * place / largest, y + _HEAD, _ROW * len(rows)))
    return "".join(parts), height


_UNITS = {
    Metric.RATE: "messages per second, more is better",
    Metric.KIB: "resident KiB for each connection, less is better",
    Metric.ACCEPTS: "accepts per second, more is better",
    Metric.CPU: "CPU of the server in µs for each message, less is better",
}


def _row(key: str, value: float, metric: Metric, x: float, y: float, share: float) -> str:
    kind = {"mycelia": "ours", "mycelia-websockets": "ours2", "limit": "limit"}.get(key.split()[0], "peer")
    strong = "strong" if kind == "ours" else ""
    shown = f"{value:.1f}" if metric in LESS_IS_BETTER else f"{value:,.0f}"
    baseline, left, width = y + _BAR_HEIGHT - 3, x + _LABEL, max(2.0, _TRACK * share)
    name = escape(entrant_title(key))
    return (
        f'<text class="{strong}" x="{left - 10}" y="{baseline}" text-anchor="end">{name}</text>'
        f'<rect class="track" x="{left}" y="{y}" width="{_TRACK}" height="{_BAR_HEIGHT}" rx="4"/>'
        f'<rect class="{kind}" x="{left}" y="{y}" width="{width:.1f}" height="{_BAR_HEIGHT}" rx="4"/>'
        f'<text class="value {strong}" x="{left + _TRACK + 8}" y="{baseline}">{shown}</text>'
    )


def _marks(result: Result, metric: Metric) -> list[tuple[float, str]]:
    """Where Mycelia's bar has to reach: the strictest of what is required here."""
    here = [bar for bar in BARS if bar.scenario == result.scenario.name and bar.metric is metric]
    places = [place for bar in here if (place := _required(result, bar)) is not None]
    if not places:
        return []
    at_most = any(bar.at_most for bar in here)
    return [(min(places), "at most")] if at_most else [(max(places), "required")]


def _required(result: Result, bar: Bar) -> float | None:
    rival = result.median(bar.rival, bar.metric)
    if bar.required is None or rival is None or bar.difference:
        return None
    return rival * bar.required


def _mark(text: str, x: float, y: float, height: float) -> str:
    top, bottom = y - 4, y + height - 4
    return (
        f'<line class="mark" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke-dasharray="4 3"/>'
        f'<text class="marktext" x="{x:.1f}" y="{y + height + 9}" text-anchor="middle">{text}</text>'
    )
