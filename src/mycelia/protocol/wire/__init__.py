"""The wire language: envelopes, their data model, codecs, error and close codes.

Owns everything that a client in another language must implement. It does no I/O and imports `errors` only.
"""

__all__: list[str] = []
