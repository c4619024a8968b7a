"""Messages between subsystems; knows no socket."""

__all__: list[str] = []
