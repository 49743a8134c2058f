import base64
import hashlib
import hmac
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from shared.identity import (
    Identity,
    JwksFile,
    JwksUrl,
    KeysUnavailable,
    LocalIssuer,
    Principal,
    TokenMissing,
    TokenRefused,
)

NOW = 1_800_000_000


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer(tmp_path: Path, clock: Clock) -> LocalIssuer:
    return LocalIssuer(tmp_path, clock=clock)


@pytest.fixture
def identity(issuer: LocalIssuer, clock: Clock) -> Identity:
    return Identity(JwksFile(issuer.jwks_file), "valueloop-local", "valueloop", clock)


def claims(**changes: Any) -> dict[str, Any]:
    usual = {"iss": "valueloop-local", "aud": "valueloop", "sub": "ada", "company": "c1", "roles": ["analyst"],
             "exp": NOW + 600}  # fmt: skip
    return {name: value for name, value in {**usual, **changes}.items() if value is not ...}


def signed_by(identity_key: Any, alg: str, kid: str, **changes: Any) -> str:
    registry = JWSRegistry(algorithms=[alg])
    return jwt.encode({"alg": alg, "kid": kid}, claims(**changes), identity_key, algorithms=[alg], registry=registry)


def private_key(issuer: LocalIssuer) -> ECKey:
    return ECKey.import_key(json.loads((issuer.jwks_file.parent / "issuer-key.json").read_text()))


async def check(identity: Identity, token: str) -> Principal:
    return await identity.authenticate(f"Bearer {token}")


async def test_a_local_token_proves_subject_company_and_known_roles(issuer: LocalIssuer, identity: Identity) -> None:
    token = issuer.issue("ada", "c1", ["manager", "employee"])
    assert await check(identity, token) == Principal("ada", "c1", frozenset({"manager", "employee"}))


async def test_roles_of_other_systems_are_ignored(issuer: LocalIssuer, identity: Identity) -> None:
    key = private_key(issuer)
    token = signed_by(key, "ES256", str(key.kid), roles=["analyst", "root-of-everything"])
    assert (await check(identity, token)).roles == {"analyst"}


def test_the_private_key_is_readable_by_its_owner_only(issuer: LocalIssuer) -> None:
    private = issuer.jwks_file.parent / "issuer-key.json"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert '"d"' in private.read_text() and '"d"' not in issuer.jwks_file.read_text()


def test_two_processes_at_first_start_share_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: LocalIssuer(tmp_path), range(8)))
    assert len(json.loads((tmp_path / "jwks.json").read_text())["keys"]) == 1
    assert sorted(os.listdir(tmp_path)) == ["issuer-key.json", "jwks.json"]


def test_a_token_for_a_role_that_does_not_exist_is_not_issued(issuer: LocalIssuer) -> None:
    with pytest.raises(ValueError, match="reviewer"):
        issuer.issue("ada", "c1", ["reviewer"])


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"}, {"aud": ...}, {"aud": ["x", "y"]}, {"iss": "evil"}, {"iss": ...},
        {"exp": NOW - 31}, {"exp": ...}, {"exp": "tomorrow"}, {"exp": True}, {"nbf": NOW + 31},
        {"sub": ...}, {"sub": ""}, {"sub": 7}, {"sub": "a\0b"}, {"sub": "x" * 201},
        {"company": ...}, {"company": ""}, {"company": ["c1"]}, {"company": "c\n1"},
        {"roles": ...}, {"roles": "admin"}, {"roles": {"admin": 1}}, {"roles": [1]},
    ],
    ids=str,
)  # fmt: skip
async def test_claims_that_do_not_fit_are_refused(issuer: LocalIssuer, identity: Identity, changes: Any) -> None:
    key = private_key(issuer)
    with pytest.raises(TokenRefused) as refused:
        await check(identity, signed_by(key, "ES256", str(key.kid), **changes))
    assert refused.value.more["challenge"].startswith("Bearer")


@pytest.mark.parametrize("changes", [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"aud": ["x", "valueloop"]}], ids=str)
async def test_clocks_may_differ_by_half_a_minute(issuer: LocalIssuer, identity: Identity, changes: Any) -> None:
    key = private_key(issuer)
    assert (await check(identity, signed_by(key, "ES256", str(key.kid), **changes))).subject == "ada"


async def test_a_token_ends_with_its_lifetime(issuer: LocalIssuer, identity: Identity, clock: Clock) -> None:
    token = issuer.issue("ada", "c1", ["analyst"], timedelta(minutes=5))
    clock.now += 300
    await check(identity, token)
    clock.now += 31
    with pytest.raises(TokenRefused, match="expired"):
        await check(identity, token)


def unsigned(header: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims())]
    return ".".join([*parts, ""])


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None])
async def test_an_unsigned_token_is_refused(issuer: LocalIssuer, identity: Identity, alg: Any) -> None:
    with pytest.raises(TokenRefused):
        await check(identity, unsigned({"alg": alg, "kid": private_key(issuer).kid}))


async def test_the_public_key_is_no_hmac_secret(tmp_path: Path) -> None:
    rsa = RSAKey.generate_key(2048, {"kid": "r1"})
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [rsa.as_dict(private=False)]}))
    identity = Identity(JwksFile(file), "valueloop-local", "valueloop", lambda: NOW)
    assert (await check(identity, signed_by(rsa, "RS256", "r1"))).subject == "ada"
    for secret in (rsa.as_pem(private=False), file.read_bytes()):
        head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
                      for part in ({"alg": "HS256", "kid": "r1"}, claims()))  # fmt: skip
        seal = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
        with pytest.raises(TokenRefused, match="asymmetric"):
            await check(identity, f"{head}.{body}.{base64.urlsafe_b64encode(seal).decode().rstrip('=')}")


async def test_a_symmetric_key_in_a_public_set_signs_nothing(tmp_path: Path) -> None:
    secret = OctKey.generate_key(256, {"kid": "s1"})
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [secret.as_dict(private=True)]}))
    identity = Identity(JwksFile(file), "valueloop-local", "valueloop", lambda: NOW)
    with pytest.raises(TokenRefused):
        await check(identity, signed_by(secret, "HS256", "s1"))


async def test_another_key_under_a_known_name_signs_nothing(issuer: LocalIssuer, identity: Identity) -> None:
    with pytest.raises(TokenRefused, match="signature"):
        await check(identity, signed_by(ECKey.generate_key("P-256"), "ES256", str(private_key(issuer).kid)))


async def test_ed25519_keys_count(tmp_path: Path) -> None:
    key = OKPKey.generate_key("Ed25519", {"kid": "e1"})
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    identity = Identity(JwksFile(file), "valueloop-local", "valueloop", lambda: NOW)
    assert (await check(identity, signed_by(key, "Ed25519", "e1"))).company == "c1"


async def test_keys_rotate_without_a_restart(issuer: LocalIssuer, identity: Identity, clock: Clock) -> None:
    before = issuer.issue("ada", "c1", ["analyst"])
    await check(identity, before)
    (issuer.jwks_file.parent / "issuer-key.json").unlink()
    successor = LocalIssuer(issuer.jwks_file.parent, clock=clock)
    assert (await check(identity, successor.issue("bob", "c1", ["analyst"]))).subject == "bob"
    assert (await check(identity, before)).subject == "ada"
    keys = json.loads(issuer.jwks_file.read_text())["keys"]
    issuer.jwks_file.write_text(json.dumps({"keys": keys[1:]}))
    with pytest.raises(TokenRefused, match="does not publish"):
        await check(identity, before)


class Provider:
    """An identity provider's key address, reachable or not."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.asked, self.up = 0, True

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(200, json={"keys": self.keys}) if self.up else httpx.Response(500)


async def test_an_unknown_key_is_looked_up_at_most_every_ten_seconds(clock: Clock) -> None:
    provider, first, second = Provider(), ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    provider.keys = [{**first.as_dict(private=False), "kid": "k1"}]
    client = httpx.Client(transport=httpx.MockTransport(provider))
    identity = Identity(JwksUrl("https://idp/keys", client, clock), "valueloop-local", "valueloop", lambda: NOW)
    await check(identity, signed_by(first, "ES256", "k1"))
    assert provider.asked == 1
    provider.keys.append({**second.as_dict(private=False), "kid": "k2"})
    for _ in range(5):
        with pytest.raises(TokenRefused):
            await check(identity, signed_by(second, "ES256", "k2"))
    assert provider.asked == 1
    clock.now += 10
    assert (await check(identity, signed_by(second, "ES256", "k2"))).subject == "ada"
    assert provider.asked == 2


async def test_a_provider_that_is_away_does_not_lock_out_known_keys(clock: Clock) -> None:
    provider, key = Provider(), ECKey.generate_key("P-256")
    client = httpx.Client(transport=httpx.MockTransport(provider))
    identity = Identity(JwksUrl("https://idp/keys", client, clock), "valueloop-local", "valueloop", lambda: NOW)
    provider.up = False
    for _ in range(2):
        with pytest.raises(KeysUnavailable):
            await check(identity, signed_by(key, "ES256", "k1"))
    provider.up, provider.keys = True, [{**key.as_dict(private=False), "kid": "k1"}]
    clock.now += 10
    await check(identity, signed_by(key, "ES256", "k1"))
    provider.up = False
    clock.now += 301
    assert (await check(identity, signed_by(key, "ES256", "k1"))).subject == "ada"
    provider.up, provider.keys = True, []
    clock.now += 10
    with pytest.raises(TokenRefused):
        await check(identity, signed_by(key, "ES256", "k1"))


async def test_a_missing_key_file_is_an_outage_and_not_a_bad_token(tmp_path: Path) -> None:
    identity = Identity(JwksFile(tmp_path / "none.json"), "i", "a")
    with pytest.raises(KeysUnavailable):
        await check(identity, signed_by(ECKey.generate_key("P-256"), "ES256", "k1"))


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "bearer\t x"])
async def test_a_request_without_a_bearer_token_is_told_so(identity: Identity, header: str | None) -> None:
    with pytest.raises(TokenMissing):
        await identity.authenticate(header)


HOSTILE = [
    "a", "a.b", "a.b.c", ".", "..", "é.é.é", "a" * 9000, "=.=.=",
    base64.urlsafe_b64encode(b'{"kid":' + b"[" * 5000).decode(),
    base64.urlsafe_b64encode(b'{"alg":"ES256","kid":["x"]}').decode() + ".e30.AA",
    base64.urlsafe_b64encode(b'{"alg":["ES256"],"kid":"x"}').decode() + ".e30.AA",
    base64.urlsafe_b64encode(b"[1]").decode() + ".e30.AA",
    base64.urlsafe_b64encode(b"\xff\xfe").decode() + ".e30.AA",
]  # fmt: skip


@pytest.mark.parametrize("token", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_tokens_are_refused(issuer: LocalIssuer, identity: Identity, token: str) -> None:
    with pytest.raises(TokenRefused):
        await check(identity, token)


async def test_any_change_of_a_token_is_refused(issuer: LocalIssuer, identity: Identity) -> None:
    token = issuer.issue("ada", "c1", ["analyst"])
    for place in range(0, len(token) - 1, 7):
        for other in ".A{\x7f":
            if token[place] != other:
                with pytest.raises(TokenRefused):
                    await check(identity, token[:place] + other + token[place + 1 :])
