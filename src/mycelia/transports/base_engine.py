"""The part of an engine that does not depend on its library: declarations, the `admit` handler, start and stop."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from mycelia.errors import EngineError, NotRunning
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.wire.codec import Codec
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Accept, Admit

__all__ = ["BaseEngine"]


class _Abilities:
    """The class attribute `capabilities` under its former name, for one release."""

    def __get__(self, instance: object, owner: type[BaseEngine]) -> frozenset[str]:
        _warn_of_abilities(owner)
        return owner.capabilities


def _warn_of_abilities(kind: type) -> None:
    problem = f"`{kind.__name__}.abilities` is now called `capabilities`; rename the attribute"
    warnings.warn(problem, DeprecationWarning, stacklevel=3)


class BaseEngine(ABC):
    """The base class of engines, with a default for every member that `Engine` declares.

    A subclass sets `name` and the declarations that differ, and implements `on_start` and `on_stop`.

    Attributes:
        options: The options of the current run.
        library_options: The names of the options that `EngineOptions.library` may have.
    """

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[str]] = frozenset()
    framed: ClassVar[bool] = False
    codec: ClassVar[Codec | None] = None
    prefix: ClassVar[bool] = False
    library_options: ClassVar[frozenset[str]] = frozenset()
    abilities = _Abilities()

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if "abilities" in vars(cls):
            _warn_of_abilities(cls)
            cls.capabilities = frozenset(vars(cls)["abilities"])

    def __init__(self) -> None:
        self.options = EngineOptions()
        self.refused_for_descriptors = 0
        self._admit: Admit | None = None
        self._running = False

    def on(self, event: Literal["admit"], handler: Admit) -> None:
        """Set the handler that decides handshakes. Call it before `start`.

        Args:
            event: Always `"admit"`.
            handler: The handler.

        Raises:
            EngineError: The event is unknown.
        """
        if event != "admit":
            raise EngineError(f"expected the event 'admit', got {event!r}")
        self._admit = handler

    async def start(self, options: EngineOptions) -> None:
        """Check the options and start to listen, or to serve.

        Args:
            options: The addresses and limits, which hold until `stop`.

        Raises:
            NotRunning: The engine is already running.
            EngineError: There is no `admit` handler, or `options.library` has an option that the engine does not know.
            OSError: An address cannot be bound. The engine is then as it was before the call.
        """
        if self._running:
            raise NotRunning(f"the {self.name} engine is already running; stop() it first")
        if self._admit is None:
            raise EngineError("expected on('admit', handler) before start()")
        self.configure(options)
        self.options = options
        self._running = True  # before `on_start`: a client may connect before the last socket listens
        try:
            await self.on_start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening, reject half-open handshakes, and abort the open connections. Idempotent."""
        if self._running:
            self._running = False
            await self.on_stop()

    def address(self) -> tuple[str, int] | None:
        """Return the first TCP address that the engine listens on, or None."""
        return next(iter(self.addresses()), None)

    def addresses(self) -> list[tuple[str, int]]:
        """Return all TCP addresses that the engine listens on, in the order of the options."""
        return []

    # -- what a subclass implements ------------------------------------------------------------------

    def configure(self, options: EngineOptions) -> None:
        """Check `options.library` against `library_options`. A subclass prepares the state of the next run here too.

        Args:
            options: The options of the next run.

        Raises:
            EngineError: An option is unknown or invalid. The engine then does not start.
        """
        if unknown := set(options.library) - self.library_options:
            known = ", ".join(sorted(self.library_options)) or "none"
            raise EngineError(f"unknown option {min(unknown)!r} for the {self.name} engine; known: {known}")

    @abstractmethod
    async def on_start(self) -> None:
        """Listen, or prepare to serve, as `self.options` asks. If this raises, `on_stop` follows."""

    @abstractmethod
    async def on_stop(self) -> None:
        """Release everything that `on_start` acquired. End every connection before returning."""

    def admit(self, request: Handshake) -> Accept | HttpReply:
        """Return the decision of the `admit` handler, or a 503 response if there is no handler.

        Args:
            request: The request head.
        """
        return HttpReply(503, b"not serving\n") if self._admit is None else self._admit(request)
