"""Who may ask: keys by name, of which only the digests are kept.

A key is 256 random bits, so that its SHA-256 says nothing about it: neither the file nor the environment that holds
the digests lets anybody in. `emotion-svc key NAME` makes one. The file is TOML, a table for each key:

    [robot-backend]
    sha256 = "…"
    requests_per_minute = 600   # may be left out
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import stat
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from emotion_svc.config import ENV_PREFIX, ConfigError, Settings
from emotion_svc.errors import Unauthorized

NONE_ON_PURPOSE: Final = "none-on-purpose"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER: Final = re.compile(rb"bearer +([\x21-\x7e]{1,512}) *", re.IGNORECASE)
_MAKE_ONE: Final = "make one with: emotion-svc key NAME"


class KeyEntry(BaseModel):
    """What is kept of a key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    requests_per_minute: int | None = Field(default=None, ge=1)


class Client(NamedTuple):
    """Whoever holds a key. `requests_per_minute` is None where the key says nothing about it."""

    name: str
    requests_per_minute: int | None


class Keys:
    """All keys by the name of their holder.

    Raises:
        ConfigError: there is none, a name is no plain name, or two have the same key.
    """

    def __init__(self, entries: dict[str, KeyEntry], source: str) -> None:
        if not entries:
            raise ConfigError(f"{source}: expected at least one key; {_MAKE_ONE}")
        for place, name in enumerate(entries, 1):
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{source}: the name of key {place} has other characters than A-Z, a-z, 0-9, '.', '_' and '-', or "
                    "more than 64"
                )
        if len({entry.sha256 for entry in entries.values()}) < len(entries):
            raise ConfigError(f"{source}: two names have the same key; {_MAKE_ONE}")
        self._clients = [
            (bytes.fromhex(entry.sha256), Client(name, entry.requests_per_minute)) for name, entry in entries.items()
        ]

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The keys of the settings; None where nobody is asked for one.

        Raises:
            ConfigError: they cannot be read, or there are none though others than this machine can connect, or though
                they are to cover all.
        """
        keys = cls._given(settings)
        if keys is None and settings.keys_cover == "all":
            raise ConfigError(
                f"{ENV_PREFIX}KEYS_COVER=all asks for a key everywhere, and there are none: {_MAKE_ONE}, and set "
                f"{ENV_PREFIX}KEYS_FILE; or leave it out"
            )
        return keys

    @classmethod
    def _given(cls, settings: Settings) -> Self | None:
        given = settings.keys.get_secret_value() if settings.keys is not None else None
        if given is not None and settings.keys_file is not None:
            raise ConfigError(f"{ENV_PREFIX}KEYS and {ENV_PREFIX}KEYS_FILE are both set; give one of them")
        if settings.keys_file is not None:
            return cls(_read_file(Path(settings.keys_file)), f"file of keys '{settings.keys_file}'")
        if given == NONE_ON_PURPOSE:
            return None
        if given is not None:
            return cls(dict(_read_list(given)), f"{ENV_PREFIX}KEYS")
        if not _is_loopback(settings.host):
            raise ConfigError(
                f"others than this machine can connect to {settings.host}, and there are no keys: {_MAKE_ONE}, and set "
                f"{ENV_PREFIX}KEYS_FILE; or set {ENV_PREFIX}KEYS={NONE_ON_PURPOSE} where something in front checks who "
                "asks"
            )
        return None

    def client(self, authorization: bytes) -> Client:
        """Who sends this `Authorization` header.

        Every key is compared, and each in constant time, so that the time tells nothing.

        Raises:
            Unauthorized: nobody that is known.
        """
        match = _HEADER.fullmatch(authorization)
        digest = hashlib.sha256(match[1] if match else b"").digest()
        found = None
        for known, client in self._clients:
            if hmac.compare_digest(known, digest):
                found = client
        if found is None:
            raise Unauthorized("expected a key that is known, as 'Authorization: Bearer KEY'")
        return found


def new_key(requests_per_minute: int | None = None) -> tuple[str, KeyEntry]:
    """A fresh key, and what is to be kept of it."""
    key = f"esk_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    return key, KeyEntry(sha256=digest, requests_per_minute=requests_per_minute)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_file(path: Path) -> dict[str, KeyEntry]:
    try:
        with path.open("rb") as file:
            if path.stat().st_mode & stat.S_IRWXO:
                raise ConfigError(
                    f"file of keys '{path}' can be read or changed by every user of this machine; chmod o-rwx it"
                )
            return TypeAdapter(dict[str, KeyEntry]).validate_python(tomllib.load(file))
    except OSError as error:
        raise ConfigError(f"file of keys '{path}' cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # Its own text can hold a piece of the file.
        found = re.search(r"at line \d+", str(error))
        raise ConfigError(f"file of keys '{path}' is no TOML{f' ({found[0]})' if found else ''}") from None
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ConfigError(
            f"file of keys '{path}', {place}: expected for each name a table with sha256 (64 hex digits) and, where it "
            f"has a limit of its own, requests_per_minute; {_MAKE_ONE}"
        ) from None


def _read_list(text: str) -> Iterable[tuple[str, KeyEntry]]:
    seen = set()
    for place, part in enumerate(text.split(","), 1):
        name, *fields = part.strip().split(":")
        try:
            limits = [int(field) for field in fields[1:]]
            entry = KeyEntry(sha256=fields[0], requests_per_minute=limits[0] if limits else None)
        except (IndexError, ValueError):  # pydantic's is one too
            entry = None
        if entry is None or len(fields) > 2 or name in seen:
            # What was found is not repeated: somebody may have set the key itself.
            raise ConfigError(
                f"{ENV_PREFIX}KEYS, entry {place}: expected 'name:sha256' or 'name:sha256:requests_per_minute', each "
                f"name once; {_MAKE_ONE}"
            )
        seen.add(name)
        yield name, entry
