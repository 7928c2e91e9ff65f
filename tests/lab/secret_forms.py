# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The forms in which a private key could leak: what tests search outputs, logs and files for (R45)."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def key_forms(path: Path) -> dict[str, str]:
    """By what it is: each line of the PEM that holds private bytes, and the private number as hex, base64 and JWK."""
    pem = path.read_bytes()
    key = serialization.load_pem_private_key(pem, password=None)
    numbers: dict[str, int] = {}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        numbers["d"] = key.private_numbers().private_value
        size = (key.curve.key_size + 7) // 8
    elif isinstance(key, rsa.RSAPrivateKey):
        private = key.private_numbers()
        numbers.update(d=private.d, p=private.p, q=private.q)
        size = 0
    else:
        raise ValueError(f"{path} holds a key of an unknown kind")
    forms = {f"{path.name}, line {n} of its PEM": line for n, line in _private_lines(pem, is_rsa=size == 0)}
    for name, number in numbers.items():
        octets = number.to_bytes(size or (number.bit_length() + 7) // 8, "big")
        forms[f"{path.name}, {name} in hex"] = octets.hex()
        forms[f"{path.name}, {name} in base64"] = base64.b64encode(octets).decode().rstrip("=")
        forms[f"{path.name}, {name} in base64url"] = base64.urlsafe_b64encode(octets).decode().rstrip("=")
        forms[f"{path.name}, {name} in decimal"] = str(number)
    return forms


def forms_in_base64(secret: str) -> list[str]:
    """What is to be seen of a secret that is part of something in base64, as slurp and fetch return a file.

    One form for each place in a group of three octets where it may begin, without the octets that its neighbours share.
    """
    octets = secret.encode()
    return [base64.b64encode(octets[start : start + (len(octets) - start) // 3 * 3]).decode() for start in range(3)]


def _private_lines(pem: bytes, *, is_rsa: bool) -> t.Iterator[tuple[int, str]]:
    """Without the lines that hold public parts only: the last of an EC key, the modulus of an RSA key."""
    lines = pem.decode().strip().splitlines()[1:-1]
    private = lines[len(lines) // 2 : -1] if is_rsa else lines[:2]
    for line in private:
        yield lines.index(line) + 1, line
