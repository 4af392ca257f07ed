"""Keys that sign what browsers are given: one for each purpose, all from ``WORKER_API_SECRET``."""

import hashlib
import hmac
import json
import secrets

from pydantic import SecretStr


class Signer:
    """Signs values, and knows its own signatures again.

    Args:
        purpose: What is signed; what one purpose has signed is worth nothing to another.
        secret: ``WORKER_API_SECRET``; None: a random key, which is gone with this object.
    """

    def __init__(self, purpose: bytes, secret: SecretStr | None) -> None:
        said = secrets.token_bytes(32) if secret is None else secret.get_secret_value().encode()
        self._key = hmac.digest(said, purpose, hashlib.sha256)

    def sign(self, *values: str | int) -> str:
        """The signature of these values in this order."""
        return hmac.new(self._key, json.dumps(values).encode(), hashlib.sha256).hexdigest()

    def has_signed(self, signature: str, *values: str | int) -> bool:
        """Whether that is their signature; how long it takes says nothing about the right one."""
        return hmac.compare_digest(self.sign(*values).encode(), signature.encode())
