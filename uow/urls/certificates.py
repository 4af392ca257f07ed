"""The files of TLS that an address names."""

import ssl
from collections.abc import Mapping


def load(
    context: ssl.SSLContext,
    words: Mapping[str, str],
    *,
    authority: str,
    certificate: str,
    key: str,
    password: str = "",
) -> None:
    """Load into `context` what `words` name; the other arguments are how those are called.

    Raises:
        ValueError: A file cannot be read, or is not what it should be; with its path.
    """
    named = f"{authority}={words.get(authority)}"
    try:
        if path := words.get(authority):
            context.load_verify_locations(path)
        if path := words.get(certificate):
            pair = [word for word in (certificate, key) if word in words]
            named = " and ".join(f"{word}={words[word]}" for word in pair)
            context.load_cert_chain(path, words.get(key), lambda: words.get(password, ""))
    except OSError as error:
        raise ValueError(f"names {named}, unusable: {error.strerror or error}") from None
