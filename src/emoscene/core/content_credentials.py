"""Content credentials: a C2PA manifest in an image file, signed, so that a later change of the file can be told.

    sign_image(data, "png", TRAINED)      the file with its manifest
    read_credentials(data, "png")         who signed it, and whether it has changed since

The specification is the C2PA's (Coalition for Content Provenance and Authenticity); the work is done by `c2pa-python`,
of the extra `provenance`. A manifest says that emoscene created the image, and the digital source type; it holds a hash
of the whole file, so one pixel more or less shows. The signature says that the holder of a key wrote it. The first use
makes a key and a self-signed certificate in `credentials_folder()`; others then see that the file is unchanged, but not
who you are. A certificate of your own, which an authority vouches for, is set by two variables of the environment.
Nothing is fetched: no time stamp, no remote manifest.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from filelock import FileLock
from PIL import Image

import emoscene
from emoscene.core.errors import EmosceneError, import_extra
from emoscene.core.provenance import COMPOSITE, NEWSCODES, TRAINED
from emoscene.core.run_dir import write_atomic

EXTRA = "provenance"
CERTIFICATE, KEY = "EMOSCENE_C2PA_CERTIFICATE", "EMOSCENE_C2PA_KEY"
"""Variables of the environment: files in PEM of one's own certificate, with the chain above it, and of its key."""
FILES = ("certificate.pem", "key.pem")
LOCK, PATIENCE = ".lock", 30.0  # seconds that another process may take to make the two
YEARS = 10  # that a certificate of our own is valid
HOLDS, CHANGED, NONE = "holds", "changed", "none"
"""What a file's signature is: whole, of a file that was changed after it, or not there."""
OTHER_USES = (
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
"""What the key of a certificate of our own is not for."""
TRUST = "signingCredential."
"""The codes of a certificate that no authority on a list vouches for, which says nothing of the file."""
SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}


@dataclass(frozen=True)
class Credentials:
    """What a file's manifest says, and whether it fits the file.

    Attributes:
        state: `holds`, `changed` or `none`.
        signer: The name in the certificate.
        source_type: The digital source type without its address.
        faults: What does not fit, in the codes of the specification.
    """

    state: str
    signer: str = ""
    source_type: str = ""
    faults: tuple[str, ...] = ()


def credentials_folder() -> Path:
    """Find the folder of the key and the certificate that the first use makes.

    Returns:
        `emoscene` in the user's folder of settings.
    """
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData/Roaming") / "emoscene"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "emoscene"


def sign_image(data: bytes, kind: str, source_type: str) -> bytes:
    """Put a signed manifest into an image file.

    Args:
        data: The file.
        kind: `png`, `jpeg` or `webp`.
        source_type: The digital source type of the image.

    Returns:
        The file with the manifest; its other contents stay as they are.

    Raises:
        EmosceneError: The extra is missing, or the certificate or key cannot be used.
    """
    c2pa = import_extra("c2pa", EXTRA)
    signed = BytesIO()
    with _explain(c2pa), c2pa.Builder(_describe(kind, source_type), _load_context(c2pa)) as builder:
        builder.sign(_load_signer(c2pa, *_find_files()), f"image/{kind}", BytesIO(data), signed)
    return signed.getvalue()


def read_credentials(data: bytes, kind: str) -> Credentials:
    """Read the manifest of an image file, and compare it with the file.

    Args:
        data: The file.
        kind: `png`, `jpeg` or `webp`.

    Returns:
        What it says.

    Raises:
        EmosceneError: The extra is missing.
    """
    c2pa = import_extra("c2pa", EXTRA)
    try:
        with c2pa.Reader(f"image/{kind}", BytesIO(data), context=_load_context(c2pa)) as reader:
            report = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return Credentials(NONE)
    except c2pa.C2paError as error:  # a manifest that is there and cannot be read
        return Credentials(CHANGED, faults=(str(error).partition(":")[0],))
    manifest = report["manifests"][report["active_manifest"]]
    faults = [fault["code"] for fault in report.get("validation_status", []) if not fault["code"].startswith(TRUST)]
    signature = manifest.get("signature_info") or {}
    state = HOLDS
    if faults:
        state = CHANGED
    name = signature.get("common_name") or signature.get("issuer") or "an unnamed signer"
    return Credentials(state, str(name), _find_source_type(manifest), tuple(faults))


def check_signing() -> None:
    """Check that images can be signed, before any is made.

    Raises:
        EmosceneError: The extra is missing, or the certificate or key cannot be used.
    """
    buffer = BytesIO()
    Image.new("L", (1, 1)).save(buffer, "PNG")
    sign_image(buffer.getvalue(), "png", TRAINED)


def find_manifest(data: bytes, kind: str) -> bool:
    """Tell whether an image file holds a C2PA manifest, without the package that reads it.

    Args:
        data: The file.
        kind: `png`, `jpeg` or `webp`.

    Returns:
        Whether it does.
    """
    marks = {"png": b"caBX", "jpeg": b"jumb", "webp": b"C2PA"}
    return marks[kind] in data and b"c2pa" in data


def make_certificate(folder: Path) -> None:
    """Make a private key and a self-signed certificate for it, where they are not there yet.

    Args:
        folder: Where to write them; only this user can read the key.

    Raises:
        EmosceneError: The extra is missing.
    """
    with FileLock(folder / LOCK, timeout=PATIENCE):
        if all((folder / name).is_file() for name in FILES):
            return
        certificate, key = _issue_certificate()
        write_atomic(folder / FILES[1], lambda path: _write_private(path, key))
        write_atomic(folder / FILES[0], certificate)


def _find_files() -> tuple[bytes, bytes]:
    """The certificate and the key: those of the environment, else those of the folder, made where they are not there.

    Raises:
        EmosceneError: A file cannot be read, or one of the two variables is not set.
    """
    given = os.environ.get(CERTIFICATE), os.environ.get(KEY)
    if any(given) and not all(given):
        raise EmosceneError(f"{CERTIFICATE} and {KEY} belong together: set both to files in PEM, or neither")
    folder = credentials_folder()
    places = [Path(given[0] or folder / FILES[0]), Path(given[1] or folder / FILES[1])]
    if not any(given) and not all(place.is_file() for place in places):
        folder.mkdir(parents=True, exist_ok=True)
        make_certificate(folder)
    contents = []
    for place in places:
        try:
            contents.append(place.read_bytes())
        except OSError as error:
            raise EmosceneError(f"{place} cannot be read ({error.strerror}): see to its permissions") from error
    return contents[0], contents[1]


def _describe(kind: str, source_type: str) -> dict[str, Any]:
    """The manifest of an image."""
    action = {"action": "c2pa.created", "digitalSourceType": f"{NEWSCODES}{source_type}"}
    if source_type == COMPOSITE:
        action["description"] = "made from another image"
    return {
        "claim_generator_info": [{"name": "emoscene", "version": emoscene.__version__}],
        "format": f"image/{kind}",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }


def _find_source_type(manifest: dict[str, Any]) -> str:
    for assertion in manifest.get("assertions", []):
        for action in (assertion.get("data") or {}).get("actions", []):
            if action.get("digitalSourceType"):
                return str(action["digitalSourceType"]).rpartition("/")[2]
    return ""


@cache
def _load_context(c2pa: Any) -> Any:
    return c2pa.Context.from_dict(SETTINGS)


@cache
def _load_signer(c2pa: Any, certificate: bytes, key: bytes) -> Any:
    """A signer, which is kept: images of a folder share it."""
    algorithm = _name_algorithm(key)
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm.encode(), certificate, key, None))


def _name_algorithm(key: bytes) -> str:
    """What the specification calls the signatures of a key.

    Raises:
        EmosceneError: It is no private key, or one of another kind.
    """
    serialization = import_extra("cryptography.hazmat.primitives.serialization", EXTRA)
    try:
        loaded = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        raise EmosceneError(
            f"the private key of {KEY} cannot be read ({error}): give one in PEM, not encrypted"
        ) from error
    name = type(loaded).__name__.lower()
    if "ed25519" in name:
        return "ed25519"
    if "rsa" in name:
        return "ps256"
    size = getattr(loaded, "key_size", 0)
    algorithms = {256: "es256", 384: "es384", 521: "es512"}
    if size not in algorithms:
        raise EmosceneError(
            f"the private key of {KEY} is of no kind that C2PA knows: give one of ECDSA, RSA or Ed25519"
        )
    return algorithms[size]


@contextmanager
def _explain(c2pa: Any) -> Iterator[None]:
    """Raises EmosceneError, with what to do, for a certificate that is refused."""
    try:
        yield
    except c2pa.C2paError as error:
        where = os.environ.get(CERTIFICATE) or credentials_folder() / FILES[0]
        remedy = f"set {CERTIFICATE} and {KEY} to a valid pair"
        if not os.environ.get(CERTIFICATE):
            remedy = f"delete {credentials_folder()}, and a new one is made"
        raise EmosceneError(f"the image cannot be signed with {where} ({error}): {remedy}") from error


def _issue_certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate as the specification asks for it, and its private key, in PEM."""
    x509 = import_extra("cryptography.x509", EXTRA)
    ec = import_extra("cryptography.hazmat.primitives.asymmetric.ec", EXTRA)
    hashes = import_extra("cryptography.hazmat.primitives.hashes", EXTRA)
    serialization = import_extra("cryptography.hazmat.primitives.serialization", EXTRA)
    key = ec.generate_private_key(ec.SECP256R1())
    public, now = key.public_key(), datetime.now(UTC)
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "emoscene on this machine"),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "emoscene, self-signed"),
        ]
    )
    other_uses = dict.fromkeys(OTHER_USES, False)
    purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    certificate = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **other_uses), critical=True)
        .add_extension(purpose, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(authority, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), private


def _write_private(path: Path, key: bytes) -> None:
    """Write a file that only this user can read, from its first byte on."""
    path.touch(0o600)
    path.write_bytes(key)
