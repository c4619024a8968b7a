"""The base of a subsystem that listens: its name and configuration, and registrations that last for every build."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from mycelia.errors import ConfigError
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.serving.listening_facet import ListeningFacet

__all__ = ["ListeningSubsystem"]

FacetType = TypeVar("FacetType", bound=ListeningFacet)
ConfigType = TypeVar("ConfigType")


class ListeningSubsystem(BaseSubsystem, Generic[FacetType]):
    """A subsystem with one listening facet, whose kind is also the name of the subsystem.

    Attributes:
        kind: The kind of the facet and the name of the subsystem.
        registrations: The functions that each build calls with the new facet.
    """

    kind: ClassVar[str]

    def __init__(self, name: str, *given: Any, **settings: Any) -> None:
        super().__init__(name, *given, **settings)
        self.registrations: list[Callable[[FacetType], object]] = []

    @classmethod
    def _read_config(
        cls, name: str, given: Sequence[Any], settings: Mapping[str, Any], load: Callable[[Any], ConfigType]
    ) -> ConfigType:
        """Return the configuration from the arguments of the constructor.

        Call it before the constructor of the base, so that an invalid configuration enrols nothing in the system.

        Raises:
            ConfigError: The name or the configuration is invalid.
        """
        if name != cls.kind:
            raise ConfigError("name", f"expected {cls.kind!r}, got {name!r}")
        options = given[0] if given and isinstance(given[0], Mapping) else {}
        return load(options.get("config", settings.get("config")))

    def _register_for_every_build(self, registration: Callable[[FacetType], object]) -> None:
        """Call `registration(facet)` for the facet of this build, if it is built, and of every later build."""
        facet: FacetType | None = self.find(self.kind)
        if facet is not None:
            registration(facet)
        self.registrations.append(registration)
