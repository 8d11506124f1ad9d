"""What every answer's headers say to a browser: nothing may be guessed, kept, framed or run."""

from typing import Final

RawHeaders = list[tuple[bytes, bytes]]

ON_EVERY_ANSWER: Final[RawHeaders] = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]
_NOTHING: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


def with_security(headers: RawHeaders) -> RawHeaders:
    """The headers of an answer and those above; an answer that is a page brings a policy of its own."""
    has_policy = any(name == _NOTHING[0] for name, _ in headers)
    return [*headers, *ON_EVERY_ANSWER] if has_policy else [*headers, *ON_EVERY_ANSWER, _NOTHING]
