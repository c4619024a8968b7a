from __future__ import annotations

import pytest

from mycelia.transports.seam import CanFrame, CanPause, CanPing
from tests.unit.realtime.support import FakeTransport, PlainTransport


@pytest.mark.parametrize("ability", [CanFrame, CanPing, CanPause])
def test_abilities_are_told_by_what_a_transport_has(ability: type) -> None:
    assert isinstance(FakeTransport(), ability) and not isinstance(PlainTransport(), ability)
