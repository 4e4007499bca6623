"""The token that senders give: ``Authorization: Bearer <token>``, compared in constant time."""

from __future__ import annotations

import hmac
from pathlib import Path

from collectors.errors import BadInput
from collectors.receive.bad_request import BadRequest


class Bearer:
    """Lets requests in that carry the token; all of them when there is none."""

    def __init__(self, token: str) -> None:
        self.needed = bool(token)
        self._token = token.encode()

    def check(self, authorization: str) -> None:
        """``authorization``: the header's value, latin-1 as it came. Raises BadRequest (``unauthorised``)."""
        if self.needed and not self.fits(authorization):
            raise BadRequest("unauthorised", "a valid token is needed: Authorization: Bearer <token>")

    def fits(self, authorization: str) -> bool:
        """Whether this is the token; True for anything when none is needed."""
        scheme, _, given = authorization.partition(" ")
        same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token)
        return not self.needed or (same and scheme.lower() == "bearer")


def read_token(path: str, named: str) -> str:
    """The one line of a token file; empty without a path. Raises BadInput, which begins with ``named``, what gave the path."""
    if not path:
        return ""
    fix = "give a file with one line, the token, of printable ASCII without spaces"
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except OSError as error:
        raise BadInput(f"{named}{path}: {error.strerror}; {fix}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{named}{path}: holds no ASCII text; {fix}") from None
    if not token or not token.isprintable() or " " in token:
        raise BadInput(f"{named}{path}: holds no such token; {fix}")
    return token
