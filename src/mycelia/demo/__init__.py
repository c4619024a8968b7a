"""The demo application: a chat in a browser, and a few paths to try by hand (`python -m mycelia.demo`)."""

from mycelia.demo.app import serving

__all__ = ["serving"]
