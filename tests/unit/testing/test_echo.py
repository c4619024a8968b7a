from __future__ import annotations

import pytest

from mycelia.testing.echo import main


@pytest.mark.parametrize(("engine", "says"), [("memory", "has no port"), ("nothing", "known: asgi, memory")])
def test_an_engine_that_cannot_echo_is_explained(engine: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--engine", engine, "--port", "0"])
    assert caught.value.code == 2 and says in capsys.readouterr().err
