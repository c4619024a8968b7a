"""Programs that help to work on Mycelia; no part of the package."""

__all__: list[str] = []
