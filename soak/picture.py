"""A run as one SVG: a panel for each figure, time from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from soak.measure import Flatness, Sample

__all__ = ["as_svg"]

_WIDTH, _HEIGHT, _MARGIN, _TOP = 960, 150, 60, 70
_TITLES = {
    "rss_kib": "resident memory, KiB",
    "tasks": "tasks",
    "descriptors": "descriptors",
    "connections": "open connections",
}
_STYLE = """
text { font: 12px ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #33403a; }
.title { font-size: 20px; font-weight: 650; fill: #14201a; } .line { fill: none; stroke: #1f8a5b; stroke-width: 1.5; }
.panel { fill: #ffffff; stroke: #dfe6e1; } .bad { fill: #c2412d; } .mark { stroke: #c2412d; stroke-dasharray: 4 3; }
"""


def as_svg(title: str, samples: Sequence[Sample], verdicts: Sequence[Flatness]) -> str:
    """The whole picture; a dashed line is what the last quarter may reach."""
    judged = {each.name: each for each in verdicts}
    height = _TOP + (_HEIGHT + 40) * len(_TITLES)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">',
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#f7f9f7"/>',
        f'<text class="title" x="{_MARGIN}" y="36">{escape(title)}</text>',
    ]
    for row, name in enumerate(_TITLES):
        parts += _panel(name, samples, judged.get(name), _TOP + row * (_HEIGHT + 40))
    return "\n".join([*parts, "</svg>\n"])


def _panel(name: str, samples: Sequence[Sample], verdict: Flatness | None, top: float) -> list[str]:
    values = [float(getattr(each, name)) for each in samples] or [0.0]
    highest = max([*values, verdict.allowed if verdict else 0.0, 1.0]) * 1.05
    end = max([each.at for each in samples] or [1.0]) or 1.0
    width = _WIDTH - 2 * _MARGIN
    points = " ".join(
        f"{_MARGIN + width * each.at / end:.1f},{top + _HEIGHT * (1 - value / highest):.1f}"
        for each, value in zip(samples, values, strict=False)
    )
    note, kind = "", ""
    if verdict is not None:
        kind = "" if verdict.flat else "bad"
        note = f": {verdict.early:,.0f} → {verdict.late:,.0f}, {'flat' if verdict.flat else 'not flat'}"
    parts = [
        f'<text class="{kind}" x="{_MARGIN}" y="{top - 6}">{_TITLES[name]}{note}</text>',
        f'<rect class="panel" x="{_MARGIN}" y="{top}" width="{width}" height="{_HEIGHT}" rx="6"/>',
        f'<text x="{_MARGIN - 6}" y="{top + 12}" text-anchor="end">{highest:,.0f}</text>',
        f'<text x="{_WIDTH - _MARGIN}" y="{top + _HEIGHT + 14}" text-anchor="end">{end:,.0f} s</text>',
        f'<polyline class="line" points="{points}"/>',
    ]
    if verdict is not None:
        y = top + _HEIGHT * (1 - verdict.allowed / highest)
        parts.append(f'<line class="mark" x1="{_MARGIN}" y1="{y:.1f}" x2="{_WIDTH - _MARGIN}" y2="{y:.1f}"/>')
    return parts
