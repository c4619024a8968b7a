"""What the ways into the system share: who is there, what a failure is called outside, how a configuration is read."""

__all__: list[str] = []
