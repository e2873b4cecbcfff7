"""Reading, sealing and writing sessions.

The seal is no signature: it tells a record that was edited from one that was not, and nothing
about who made it. What it says must make sense all the same (see ``checks``).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from coreml_assay.files import write_bytes
from coreml_assay.latency_records import SESSION_VERSION, Session, Units
from coreml_assay.records import RecordError

SESSION_FILE = "session.json"


class SessionError(RecordError):
    """A session that is refused; one line that says why."""


def seal_of(session: Session) -> str:
    """The SHA-256 of a session without its seal."""
    bare = msgspec.structs.replace(session, seal="")
    return hashlib.sha256(msgspec.json.encode(bare)).hexdigest()


def sealed(session: Session) -> Session:
    """The session with its seal."""
    return msgspec.structs.replace(session, seal=seal_of(session))


def outputs_path(folder: Path, case: int, compute_units: Units) -> Path:
    """Where the outputs of a case on some compute units are."""
    return folder / "outputs" / f"{case}-{compute_units}.safetensors"


def write_session(session: Session, folder: Path) -> None:
    """Write a session, sealed."""
    content = msgspec.json.format(msgspec.json.encode(sealed(session)), indent=1)
    write_bytes(folder / SESSION_FILE, content + b"\n")


def decode_session(content: bytes, where: str) -> Session:
    """Read a session from JSON.

    Args:
        content: the file's.
        where: its name, for the message.

    Raises:
        SessionError: it is no session, or a value in it is impossible; the message says which.
    """
    try:
        session = msgspec.json.decode(content, type=Session)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cause = " ".join(str(error).split())
        raise SessionError(f"{where}: not a valid session: {cause}") from error
    if session.schema_version != SESSION_VERSION:
        raise SessionError(
            f"{where}: session schema {session.schema_version}; "
            f"this coreml-assay reads {SESSION_VERSION}"
        )
    return session


def read_session(folder: Path) -> Session:
    """Read a collected folder's session; `checks.refuse` says whether it can be believed.

    Raises:
        SessionError: it is missing or malformed.
    """
    path = folder / SESSION_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SessionError(f"{path}: cannot be read: {error.strerror}") from error
    return decode_session(content, str(path))
