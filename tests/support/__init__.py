"""What the tests share: the runner of async tests, the leak guard, the parts a machine must have."""

__all__: list[str] = []
