# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pomerium's configuration as far as certificates go: what it reads, in which order, and how it says no.

After Pomerium 0.33: keys in any case, the environment before the file, every pair parsed whether it is used or not,
and its own words where it refuses (see the notes on its source that this collection's documentation cites).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import typing as t
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ENVIRONMENT = (
    *("address", "certificate", "certificate_key", "certificate_file", "certificate_key_file"),
    *("certificate_authority", "certificate_authority_file"),
    *("insecure_server", "use_proxy_protocol", "autocert", "autocert_use_staging"),
    *("health_check_addr", "metrics_address"),
)
"""The keys of which this stand-in takes the environment's value; Pomerium takes it for every scalar."""

KNOWN = frozenset(
    re.findall(
        r"\w+",
        """
    access_log_fields address authenticate_callback_path authenticate_internal_service_url authenticate_service_url
    authorize_internal_service_url authorize_log_fields authorize_service_url authorize_service_urls autocert
    autocert_ca autocert_dir autocert_eab_key_id autocert_eab_mac_key autocert_email autocert_must_staple
    autocert_trusted_ca autocert_trusted_ca_file autocert_use_staging bearer_token_format certificate
    certificate_authority certificate_authority_file certificate_file certificate_key certificate_key_file certificates
    codec_type cookie_domain cookie_expire cookie_http_only cookie_name cookie_same_site cookie_secret
    cookie_secret_file databroker_internal_service_url databroker_raft_bind_address databroker_service_url
    databroker_service_urls databroker_storage_connection_string databroker_storage_connection_string_file
    databroker_storage_type debug_address default_upstream_timeout dns_lookup_family downstream_mtls
    envoy_admin_access_log_path envoy_admin_address envoy_admin_profile_path envoy_bind_config_freebind
    envoy_bind_config_source_address google_cloud_serverless_authentication_service_account grpc_address
    grpc_client_timeout grpc_insecure headers health_check_addr http_redirect_addr
    idp_access_token_allowed_audiences idp_client_id idp_client_secret idp_client_secret_file idp_provider
    idp_provider_url idp_request_params idp_scopes insecure_server installation_id jwt_claims_headers
    jwt_groups_filter jwt_issuer_format log_level metrics_address metrics_basic_auth metrics_certificate
    metrics_certificate_file metrics_certificate_key metrics_certificate_key_file metrics_client_ca
    metrics_client_ca_file override_certificate_name pass_identity_headers policy pomerium_debug
    programmatic_redirect_domain_whitelist proxy_log_level routes runtime_flags services set_response_headers
    shared_secret shared_secret_file signing_key signing_key_file signout_redirect_url skip_xff_append timeout_idle
    timeout_read timeout_write tls_derive tracing_otlp_endpoint tracing_otlp_protocol tracing_provider
    tracing_sample_rate use_proxy_protocol xff_num_trusted_hops
    """,
    )
)
TRUE = ("1", "t", "T", "TRUE", "true", "True")
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?\r?\n-----END \1-----", re.DOTALL)


class ConfigError(Exception):
    """Pomerium would not take this configuration; the text is its own."""


@dataclass(frozen=True)
class Pair:
    """A certificate chain with its key, found to belong together."""

    leaf: x509.Certificate
    combined_pem: bytes

    @property
    def is_rsa(self) -> bool:
        return isinstance(self.leaf.public_key(), rsa.RSAPublicKey)

    @property
    def is_must_staple(self) -> bool:
        return any(extension.oid == x509.TLSFeature.oid for extension in self.leaf.extensions)

    @property
    def names(self) -> list[str]:
        """The DNS names that it is served for, in lower case."""
        for extension in self.leaf.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                return [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]
        return []


@dataclass(frozen=True)
class Clients:
    """Whose certificates clients are asked for, and whether one without is turned away in the handshake."""

    authority_pem: bytes
    must_have_one: bool


class Options:
    """One reading of the configuration file and the environment."""

    def __init__(self, path: Path, environment: t.Mapping[str, str]) -> None:
        """Read the file; raises ConfigError where it is no YAML, or no mapping."""
        self._path = path
        try:
            self.values = _lowered(_parse(path.read_bytes()))
        except OSError as error:
            raise ConfigError(self._prefixed(f"failed to read config: open {path}: {_reason(error)}")) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = f"failed to read config: While parsing config: yaml: {error}"
            raise ConfigError(self._prefixed(reason)) from error
        for key in ENVIRONMENT:
            if environment.get(key.upper()):  # one that is set but empty does not count
                self.values[key] = environment[key.upper()]

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return "" if value is None else str(value)

    def flag(self, key: str) -> bool:
        return self.text(key) in TRUE

    @property
    def address(self) -> tuple[str, int]:
        return socket_address(self.text("address") or ":443")

    @property
    def is_hot(self) -> bool:
        """Whether files are watched; the runtime flag came with 0.27."""
        return str((self.values.get("runtime_flags") or {}).get("config_hot_reload", True)) in TRUE

    @property
    def unknown(self) -> list[str]:
        """Keys that Pomerium does not know: it logs them and goes on."""
        return sorted(set(self.values) - KNOWN)

    @property
    def hosts(self) -> set[str]:
        """The host names of the routes."""
        return {str(route.get("from", "")).partition("://")[2].rstrip("/").lower() for route in self._routes}

    @property
    def files(self) -> list[Path]:
        """The files that are watched beside the configuration itself."""
        listed = [str(item.get(key) or "") for item in self._listed for key in ("cert", "key")]
        own = [self.text(key) for key in ("certificate_authority_file", "certificate_file", "certificate_key_file")]
        return [Path(name) for name in [*own, *listed, str(self._mtls.get("ca_file") or "")] if name]

    @property
    def authority_problem(self) -> str | None:
        """What Envoy has against the https:// upstreams without a CA of their own: it trusts nobody for them where
        the CA file cannot be read. Nothing checks that file when the configuration is loaded."""
        path = self.text("certificate_authority_file")
        if not path or os.access(path, os.R_OK) or not any(map(_is_verified, self._routes)):
            return None
        return "SAN-based verification of peer certificates without trusted CA is insecure and not allowed"

    @property
    def has_unusable_authority(self) -> bool:
        """Whether the CA file is there without a certificate: for Envoy as if it were not set, Go logs it."""
        try:
            found = Path(self.text("certificate_authority_file") or "/nonexistent/").read_bytes()
        except OSError:
            return False
        return not any(match[1] == b"CERTIFICATE" for match in _BLOCK.finditer(found))

    def clients(self) -> Clients | None:
        """Whether clients are asked for a certificate (`downstream_mtls`); all but `reject_connection` only ask."""
        encoded, path = self._mtls.get("ca"), self._mtls.get("ca_file")
        if encoded and path:
            raise ConfigError(self._prefixed("validation error config: cannot set both ca and ca_file"))
        try:
            authority = base64.b64decode(encoded or "", validate=True) if not path else Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(
                self._prefixed(f"validation error config: CA file: open {path}: {_reason(error)}")
            ) from error
        except (binascii.Error, ValueError):
            raise ConfigError(self._prefixed("validation error config: CA: illegal base64 data")) from None
        return Clients(authority, self._mtls.get("enforcement") == "reject_connection") if authority else None

    @property
    def _routes(self) -> list[dict[str, t.Any]]:
        return [*(self.values.get("routes") or []), *(self.values.get("policy") or [])]

    @property
    def _mtls(self) -> dict[str, t.Any]:
        return self.values.get("downstream_mtls") or {}

    @property
    def _listed(self) -> list[dict[str, t.Any]]:
        return self.values.get("certificates") or []

    @property
    def checksum(self) -> int:
        """Of the options, so of paths and not of what stands there."""
        return int.from_bytes(hashlib.sha256(repr(sorted(self.values.items())).encode()).digest()[:6], "big")

    def validate(self) -> None:
        """What is checked when a configuration is loaded; raises ConfigError."""
        self.pairs()
        self.clients()

    def pairs(self) -> list[Pair]:
        """Every configured pair, in the order in which the first one for a name wins; one bad pair refuses all."""
        certificate, key = self.text("certificate"), self.text("certificate_key")
        certificate_path, key_path = self.text("certificate_file"), self.text("certificate_key_file")
        found = []
        if certificate or key:
            found.append(self._pair("bad cert base64", partial(_decode, certificate, key)))
        for item in self._listed:
            read = partial(_read, str(item.get("cert") or ""), str(item.get("key") or ""))
            found.append(self._pair("bad cert entry, file reference invalid.", read))
        if certificate_path or key_path:
            found.append(self._pair("bad cert file", partial(_read, certificate_path, key_path)))
        return found

    def _pair(self, what: str, source: t.Callable[[], tuple[bytes, bytes]]) -> Pair:
        try:
            return key_pair(*source())
        except ConfigError as error:
            raise ConfigError(self._prefixed(f"validation error config: {what} {error}")) from error

    def _prefixed(self, reason: str) -> str:
        return f'config: options from config file "{self._path}": {reason}'


def _is_verified(route: t.Mapping[str, t.Any]) -> bool:
    """Whether an upstream is verified by the CAs that all routes share."""
    places = route.get("to") or []
    has_own = any(route.get(key) for key in ("tls_custom_ca", "tls_custom_ca_file", "tls_skip_verify"))
    return not has_own and any(
        str(place).startswith("https://") for place in (places if isinstance(places, list) else [places])
    )


def socket_address(text: str) -> tuple[str, int]:
    """Go's host:port, where no host is all of them."""
    host, _colon, port = text.rpartition(":")
    return host.strip("[]") or "0.0.0.0", int(port)


def key_pair(certificate_pem: bytes, pem_with_key: bytes) -> Pair:
    """As Go's tls.X509KeyPair: foreign PEM blocks are skipped, the key has to fit the first certificate."""
    blocks = [(match[1].decode(), match[0]) for match in _BLOCK.finditer(certificate_pem)]
    chain = [block for kind, block in blocks if kind == "CERTIFICATE"]
    keys = [m[0] for m in _BLOCK.finditer(pem_with_key) if m[1].endswith(b"PRIVATE KEY")]
    if not blocks:
        raise ConfigError("tls: failed to find any PEM data in certificate input")
    if not chain:
        skipped = " ".join(kind for kind, _block in blocks)
        raise ConfigError(
            'tls: failed to find "CERTIFICATE" PEM block in certificate input'
            f" after skipping PEM blocks of the following types: [{skipped}]"
        )
    if not keys:
        raise ConfigError("tls: failed to find any PEM data in key input")
    try:
        leaf = x509.load_pem_x509_certificate(chain[0] + b"\n")
    except ValueError:
        raise ConfigError("x509: malformed certificate") from None
    try:
        key = serialization.load_pem_private_key(keys[0] + b"\n", password=None)
    except (ValueError, TypeError):
        raise ConfigError("tls: failed to parse private key") from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)):
        raise ConfigError("tls: found unknown private key type in PKCS#8 wrapping")
    if type(key.public_key()) is not type(leaf.public_key()):
        raise ConfigError("tls: private key type does not match public key type")
    if key.public_key() != leaf.public_key():
        raise ConfigError("tls: private key does not match public key")
    return Pair(leaf, b"\n".join([*chain, keys[0], b""]))


class _Loader(yaml.SafeLoader):
    """As Go's yaml.v3: a key that is there twice, or is no scalar, is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[t.Any, t.Any]:
        seen: dict[str, int] = {}
        for key, _value in node.value:
            line, name = key.start_mark.line + 1, key.value
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"line {line}: invalid map key")
            if name in seen and name != "<<":
                raise yaml.YAMLError(f'line {line}: mapping key "{name}" already defined at line {seen[name]}')
            seen[name] = line
        return super().construct_mapping(node, deep)


def _parse(content: bytes) -> dict[str, t.Any]:
    """The first document of the file, as Go reads it; an empty one is an empty mapping."""
    document = next(yaml.load_all(content, Loader=_Loader), None)  # noqa: S506 (a SafeLoader)
    if document is None:
        return {}
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise yaml.YAMLError(f"unmarshal errors: cannot unmarshal !!{kind} into map[string]interface {{}}")
    return document


def _lowered(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {str(key).lower(): _lowered(item) for key, item in value.items()}
    return [_lowered(item) for item in value] if isinstance(value, list) else value


def _decode(certificate: str, key: str) -> tuple[bytes, bytes]:
    contents = []
    for what, encoded in (("cert", certificate), ("key", key)):
        try:
            contents.append(base64.b64decode("".join(encoded.split()), validate=True))
        except (binascii.Error, ValueError):
            good = re.match(r"[A-Za-z0-9+/]*", encoded)
            position = good.end() if good else 0
            reason = f"illegal base64 data at input byte {position}"
            raise ConfigError(f"failed to decode certificate {what} []: {reason}") from None
    return contents[0], contents[1]


def _read(certificate_path: str, key_path: str) -> tuple[bytes, bytes]:
    contents = []
    for path in (certificate_path, key_path):
        try:
            contents.append(Path(path or "/nonexistent/").read_bytes())
        except OSError as error:
            raise ConfigError(f"open {path}: {_reason(error)}") from error
    return contents[0], contents[1]


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
