"""Mycelia: subsystems own paths and answer messages, on one machine or from any live client."""

from __future__ import annotations

from mycelia._deprecated import install_aliases
from mycelia.errors import (
    BuildError,
    ConfigError,
    ConnectionNotFound,
    Disabled,
    Disposed,
    Forbidden,
    HandlerError,
    InvalidBody,
    InvalidMessage,
    InvalidPath,
    MessageTooLarge,
    MyceliaError,
    NoCredential,
    NoRoute,
    NoSuchSubsystem,
    NotRunning,
    Overloaded,
    RateLimited,
    RequestTimeout,
    RouteError,
    SignatureError,
    Unauthorized,
    Unavailable,
    Untimely,
)
from mycelia.kernel.building.contract import Contract
from mycelia.kernel.building.hook import Api, Context, Hook, hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.messages.context import Caller, Options, Principal
from mycelia.kernel.messages.message import Message, Metadata
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import MessageSystem
from mycelia.scheduling.rate_limiter import Rate, RateLimiter

__all__ = [
    "Api",
    "BaseSubsystem",
    "BuildError",
    "Caller",
    "ConfigError",
    "ConnectionNotFound",
    "Context",
    "Contract",
    "Disabled",
    "Disposed",
    "Facet",
    "Forbidden",
    "HandlerError",
    "Hook",
    "InvalidBody",
    "InvalidMessage",
    "InvalidPath",
    "Message",
    "MessageSystem",
    "MessageTooLarge",
    "Metadata",
    "MyceliaError",
    "NoCredential",
    "NoRoute",
    "NoSuchSubsystem",
    "NotRunning",
    "Options",
    "Overloaded",
    "Principal",
    "Rate",
    "RateLimited",
    "RateLimiter",
    "RequestTimeout",
    "RouteError",
    "SignatureError",
    "Unauthorized",
    "Unavailable",
    "Untimely",
    "hook",
]

install_aliases()
