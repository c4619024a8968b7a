from __future__ import annotations

import re
from importlib.resources import files

import pytest

from mycelia.demo.pages import load_pages
from mycelia.protocol.http.request import Handshake, Headers

PARTS = ["page.html", "page.css", "page.js", "link.js", "icon.svg"]


def page(path: str) -> bytes:
    reply = load_pages().get(Handshake("GET", path, Headers([("Host", "localhost")]), None, False))
    assert reply is not None
    return reply.body


def test_every_part_that_the_page_names_is_served() -> None:
    named = re.findall(rb'(?:href|src|from) ?=? ?"(/[^"]*)"', page("/") + page("/page.js"))
    assert sorted(set(named)) == [b"/icon.svg", b"/link.js", b"/page.css", b"/page.js"]
    assert all(page(path.decode()) for path in named)


@pytest.mark.parametrize("part", PARTS)
def test_the_page_needs_nothing_that_its_policy_forbids(part: str) -> None:
    text = (files("mycelia.demo") / part).read_text()
    assert not re.search(r"\son\w+=", text), "an inline event handler"
    assert not re.search(r"\sstyle=|<style|<script(?! type=\"module\" src=)", text), "inline style or script"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)
    assert not re.search(r"@import|url\(", text), "a resource from elsewhere"
