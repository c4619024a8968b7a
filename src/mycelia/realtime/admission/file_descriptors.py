"""How many file descriptors the process may have (RLIMIT_NOFILE), and what that means for connections."""

from __future__ import annotations

__all__ = ["affordable", "descriptor_limit"]

_UNLIMITED = 2**62  # also where the system has no such limit


def _allowed() -> int:
    try:
        import resource
    except ImportError:
        return _UNLIMITED
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _UNLIMITED if limit == resource.RLIM_INFINITY else limit


def affordable(wanted: int, descriptors: int | None = None) -> int:
    """`wanted`, but at most a quarter of the file descriptors that this process may have; negative for any number."""
    if descriptors is None:
        descriptors = _allowed()
    return wanted if descriptors < 0 else max(1, min(wanted, descriptors // 4))


def descriptor_limit(spare: int) -> int:
    """The number from which on a new connection's descriptor is one of the last `spare`; 0 for no limit."""
    allowed = _allowed()
    return 0 if not spare or allowed == _UNLIMITED else max(1, allowed - spare)
