"""Who is calling: bearer tokens checked against published keys, and a local issuer for one machine."""

import base64
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import structlog
from anyio import to_thread
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key
from joserfc.jws import JWSRegistry

from shared.errors import Unauthenticated, Unavailable
from shared.settings import Settings

ALGORITHMS = ("ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "EdDSA", "Ed25519")
ROLES = frozenset(
    ("admin", "strategist", "analyst", "compensation", "finance", "manager", "employee", "auditor", "source")
)
LEEWAY = 30  # [s] difference of clocks that is forgiven
KEYS_LIVE = 300  # [s] how long a fetched key set is trusted without looking again
KEYS_REST = 10  # [s] unknown key ids make us look again at most this often
LONGEST_TOKEN = 8192
MOST_TOKENS = 4096  # remembered with a good signature

_KEY_ID = re.compile(r"[\x21-\x7e]{1,255}")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")

log = structlog.get_logger("valueloop.identity")


class TokenMissing(Unauthenticated):
    """The request carries no bearer token."""


class TokenRefused(Unauthenticated):
    """The bearer token proves nothing here."""


class KeysUnavailable(Unavailable):
    """The keys of the identity provider were never received, so no token can be judged."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: a person's or a source's code, the company, and what the roles allow."""

    subject: str
    company: str
    roles: frozenset[str]


class Keys:
    """Public keys by their id; what was known is kept where nothing can be read."""

    _keys: dict[str, Key] | None = None

    def find(self, kid: str) -> Key | None:
        """The key of that id, as far as known. Raises KeysUnavailable where none was ever received."""
        if self._keys is None:
            raise KeysUnavailable("The keys that tokens are signed with cannot be read at present.")
        return self._keys.get(kid)

    def stale(self, kid: str) -> bool:
        """Whether it is time to look again before judging a token of that key id."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Looks again; blocks."""
        raise NotImplementedError


class JwksUrl(Keys):
    """Keys published by an identity provider over HTTPS."""

    def __init__(
        self, url: str, client: httpx.Client | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url, self._clock, self._client = url, clock, client or httpx.Client(timeout=5)
        self._received = self._tried = -float("inf")
        self._lock = threading.Lock()

    def stale(self, kid: str) -> bool:
        now = self._clock()
        wanted = kid not in (self._keys or {}) or now - self._received > KEYS_LIVE
        return wanted and now - self._tried >= KEYS_REST

    def refresh(self) -> None:
        with self._lock:
            if self._clock() - self._tried < KEYS_REST:
                return  # another thread has just looked
            self._tried = self._clock()
            try:
                self._keys = _public_keys(self._client.get(self._url).raise_for_status().json())
                self._received = self._clock()
            except (httpx.HTTPError, ValueError) as error:
                log.warning("keys_not_received", url=self._url, error=type(error).__name__)


class JwksFile(Keys):
    """Keys in a file; a changed file counts at once, so keys rotate without a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def stale(self, kid: str) -> bool:
        return self._keys is None or self._state() != self._seen

    def refresh(self) -> None:
        state = self._state()
        try:
            self._keys, self._seen = _public_keys(json.loads(self._path.read_bytes())), state
        except (OSError, ValueError) as error:
            log.warning("keys_not_read", path=str(self._path), error=type(error).__name__)

    def _state(self) -> tuple[int, int, int] | None:
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_size, state.st_ino


def _public_keys(document: Any) -> dict[str, Key]:
    """Asymmetric keys by their id. A symmetric key in a public set would let every reader of it sign."""
    if not isinstance(document, Mapping) or not isinstance(document.get("keys"), list):
        raise ValueError("a key set is an object with a list `keys`")
    keys = {}
    for item in document["keys"]:
        if isinstance(item, dict) and item.get("kty") in ("EC", "RSA", "OKP") and item.get("use", "sig") == "sig":
            try:
                key = JWKRegistry.import_key(item)
                keys[str(item.get("kid") or key.thumbprint())] = key
            except (JoseError, ValueError, TypeError) as error:
                log.warning("key_skipped", error=type(error).__name__)
    return keys


class Identity:
    """Judges bearer tokens: `iss` must be the issuer, `aud` must be or contain the audience."""

    def __init__(self, keys: Keys, issuer: str, audience: str, clock: Callable[[], float] = time.time) -> None:
        self._keys, self._clock = keys, clock
        self._registry = JWSRegistry(algorithms=ALGORITHMS)
        self._signed: dict[str, tuple[Key, dict[str, Any]]] = {}
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            leeway=LEEWAY,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
            company={"essential": True},
            roles={"essential": True, "allow_blank": True},
        )

    async def authenticate(self, authorization: str | None) -> Principal:
        """The principal that the header Authorization proves. What it raises says what is wrong, never the token."""
        token = _bearer(authorization)
        kid = _key_id(token)
        if self._keys.stale(kid):
            await to_thread.run_sync(self._keys.refresh)
        key = self._keys.find(kid)
        if key is None:
            raise _refused("it is signed with a key that the issuer does not publish")
        return self._verified(token, key)

    def _verified(self, token: str, key: Key) -> Principal:
        try:
            claims = self._decoded(token, key)
            self._claims.validate(claims)
        except JoseError as error:
            raise _refused(_REASONS.get(error.error, "it is not valid")) from error
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise _refused("it is not a signed token") from error
        subject, company, roles = claims["sub"], claims["company"], claims["roles"]
        if not (isinstance(company, str) and _NAME.fullmatch(company) and _NAME.fullmatch(subject)):
            raise _refused("its claims `sub` and `company` are not short texts")
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise _refused("its claim `roles` is not a list of texts")
        return Principal(subject, company, ROLES.intersection(roles))

    def _decoded(self, token: str, key: Key) -> dict[str, Any]:
        """The claims under a good signature. It is checked once per token and key: that is most of a small request."""
        known = self._signed.get(token)
        if known and known[0] is key:
            return known[1]
        claims = jwt.decode(token, key, algorithms=ALGORITHMS, registry=self._registry).claims
        if len(self._signed) >= MOST_TOKENS:
            self._signed.clear()
        self._signed[token] = (key, claims)
        return claims


_REASONS = {
    "bad_signature": "its signature does not fit",
    "expired_token": "it has expired",
    "unsupported_algorithm": "it is not signed with an asymmetric algorithm",
    "missing_claim": "a claim is missing; iss, aud, exp, sub, company and roles are needed",
    "invalid_claim": "a claim is not as it must be; it may be for another audience or from another issuer",
}


def _refused(reason: str) -> TokenRefused:
    return TokenRefused(
        f"The bearer token is refused: {reason}.",
        remedy="Get a new token and send it as `Authorization: Bearer …`.",
        challenge='Bearer error="invalid_token"',
    )


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenMissing(
            "This needs a bearer token.", remedy="Send the header `Authorization: Bearer …`.", challenge="Bearer"
        )
    if len(token) > LONGEST_TOKEN or not token.isascii():
        raise _refused("it is not a signed token")
    return token.strip()


def _key_id(token: str) -> str:
    """The key id a token names. It is not believed: it only says which key to try."""
    try:
        head = token.partition(".")[0]
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        kid = header["kid"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _refused("it is not a signed token that names its key") from error
    if not isinstance(kid, str) or not _KEY_ID.fullmatch(kid):
        raise _refused("it names no usable key")
    return kid


class LocalIssuer:
    """Issues tokens on one machine.

    Args:
        directory: holds `issuer-key.json` (private, 0600; made where it is missing) and `jwks.json` (public).
    """

    def __init__(
        self, directory: Path, issuer: str = "valueloop-local", audience: str = "valueloop",
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._directory, self._issuer, self._audience, self._clock = directory, issuer, audience, clock
        self.jwks_file, private = directory / "jwks.json", directory / "issuer-key.json"
        directory.mkdir(parents=True, exist_ok=True)
        if not private.exists():
            self._make_key(private)
        self._key = ECKey.import_key(json.loads(private.read_bytes()))
        self._publish()

    def issue(self, subject: str, company: str, roles: Iterable[str], lifetime: timedelta = timedelta(hours=8)) -> str:
        """A signed token. Raises ValueError for a role that does not exist, or a name that no token may carry."""
        wanted = sorted(set(roles))
        if unknown := set(wanted) - ROLES:
            raise ValueError(f"no such role: {', '.join(sorted(unknown))}; roles are {', '.join(sorted(ROLES))}")
        if not (_NAME.fullmatch(subject) and _NAME.fullmatch(company)):
            raise ValueError("subject and company are texts of 1 to 200 characters")
        now = int(self._clock())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "company": company,
            "roles": wanted,
            "iat": now,
            "exp": now + int(lifetime.total_seconds()),
            "jti": secrets.token_urlsafe(12),
        }
        return jwt.encode({"alg": "ES256", "kid": self._key.kid}, claims, self._key, algorithms=["ES256"])

    def _make_key(self, private: Path) -> None:
        """A finished file is linked into place: of two processes at first start one key wins, and none is half read."""
        mine = self._directory / f".issuer-key-{secrets.token_hex(8)}"
        with os.fdopen(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(ECKey.generate_key("P-256", auto_kid=True).as_dict(private=True), file)
        with suppress(FileExistsError):
            os.link(mine, private)
        mine.unlink()

    def _publish(self) -> None:
        """Adds the public key; earlier ones stay, so that tokens in use go on."""
        known = json.loads(self.jwks_file.read_bytes())["keys"] if self.jwks_file.exists() else []
        if any(item["kid"] == self._key.kid for item in known):
            return
        public = {**self._key.as_dict(private=False), "use": "sig", "alg": "ES256"}
        waiting = self._directory / f".jwks-{secrets.token_hex(8)}"
        waiting.write_text(json.dumps({"keys": [*known, public]}))
        waiting.replace(self.jwks_file)


def identity_of(settings: Settings) -> Identity:
    """The identity that the settings describe; without keys of a provider, those of the local issuer."""
    file = JwksFile(settings.jwks_file or settings.data_directory / "jwks.json")
    return Identity(JwksUrl(settings.jwks_url) if settings.jwks_url else file, settings.issuer, settings.audience)
