"""One file from one address, whole or not at all: resumed, checked, put in place by a rename."""

import errno
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import IO, NamedTuple

from vision_jax import __version__
from vision_jax.config import UserError, printable
from vision_jax.weights.progress import Progress

PART = ".part"  # ends the name of what has come so far
_TAG = ".tag"  # and that of the server's mark of the version which it is of
_TIMEOUT = 30.0  # seconds of silence
_CHUNK = 1 << 18
_MOST_REDIRECTS = 10
_TRIES = 4  # in a row that bring nothing
_PAUSE = 0.5  # seconds before the second try, then twice as many each time
_REDIRECTS = (301, 302, 303, 307, 308)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PAGE = re.compile(rb"\s*<(!doctype\s|html[\s>]|head[\s>]|\?xml)", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class Missing(UserError):
    """An address at which there is no file."""


class Digest(NamedTuple):
    """A publisher's hash of a file, or its first digits.

    Fields:
      kind: 'sha256', 'sha1' or 'md5'.
      digits: hexadecimal, in small letters.
    """

    kind: str
    digits: str

    def __str__(self) -> str:
        return f"{self.kind} {self.digits}"

    def check(self, path: Path) -> None:
        """Reads a file and compares.

        Raises:
          UserError: it has another hash.
        """
        found = digits_of(path, self.kind)[: len(self.digits)]
        if found != self.digits:
            raise UserError(f"its {self.kind} begins with {found}, the publisher's {self.digits}")


def digits_of(path: Path, kind: str = "sha256") -> str:
    """Returns a file's hash, hexadecimal."""
    with path.open("rb") as file:
        # Not a signature: a hash that a publisher chose years ago.
        return hashlib.file_digest(
            file, lambda: hashlib.new(kind, usedforsecurity=False)
        ).hexdigest()


def download(
    url: str, path: Path, digest: Digest | None = None, headers: Mapping[str, str] | None = None
) -> None:
    """Fetches a file; what an earlier try left in `path` + '.part' is gone on with.

    Args:
      url: of http or https.
      path: where the file goes, in a folder that is there; nobody else may write to it meanwhile.
      digest: checked before the file gets its name; a server of the Hugging Face Hub tells its own.
      headers: sent to this address, and not to where it may lead on to.

    Raises:
      UserError: in one line that says what to do; `Missing` if nothing is there. What came is kept
        for the next try unless it is wrong.
    """
    try:
        _Transfer(url, path, digest, dict(headers or {})).run()
    except OSError as error:
        if error.errno in _FULL:
            raise _full(path) from error
        raise UserError(
            f"{path}: cannot be written: {error.strerror or error}; VISION_JAX_HOME names another "
            "folder"
        ) from error


class _Broken(Exception):
    """A connection that ended before the file did, or a server that is too busy."""


class _Transfer:
    """The state of one file's download."""

    def __init__(self, url: str, path: Path, digest: Digest | None, headers: dict[str, str]):
        self.url, self.path, self.digest, self.headers = url, path, digest, headers
        self.part = path.with_name(path.name + PART)
        self.tag = path.with_name(path.name + PART + _TAG)
        self.by_hand = f"or save it by hand as {path}"

    def run(self) -> None:
        """Fetches, checks and renames."""
        resumed = self._size() > 0
        self._fetch_all()
        try:
            self._check()
        except UserError as error:
            self._forget()
            if not resumed:
                raise UserError(
                    f"{self.url}: {error}: the file changed, or was damaged on its way; nothing "
                    f"was kept: try again later, {self.by_hand}"
                ) from None
            self._fetch_all()  # the two halves may be of different files
            try:
                self._check()
            except UserError as second:
                self._forget()
                raise UserError(f"{self.url}: {second}; nothing was kept") from None
        with self.part.open("rb+") as file:
            os.fsync(file.fileno())
        self.part.replace(self.path)
        self.tag.unlink(missing_ok=True)

    def _check(self) -> None:
        if self._size() == 0:
            raise UserError("the file is empty")
        if self.digest is not None:
            self.digest.check(self.part)

    def _fetch_all(self) -> None:
        """Tries until the file is there, or until several tries in a row brought nothing."""
        failures = 0
        while True:
            before = self._size()
            try:
                return self._fetch()
            except _Broken as error:
                failures = 1 if self._size() > before else failures + 1
                if failures >= _TRIES:
                    raise UserError(
                        f"{self.url}: {error}; {self._size():,} bytes came and are kept: the same "
                        "command goes on from there"
                    ) from None
            time.sleep(_PAUSE * 2 ** (failures - 1))

    def _fetch(self) -> None:
        """Asks for the rest of the file, or for all of it where the server gives no rest."""
        have = self._size()
        tag = self.tag.read_text() if self.tag.is_file() else ""
        asked = {"Accept-Encoding": "identity"}
        if have and (tag or self.digest is not None):
            asked["Range"] = f"bytes={have}-"
            if tag:
                asked["If-Range"] = tag
        try:
            response = self._open(asked)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and have:  # nothing is left, or the file has become shorter
                    if error.headers.get("Content-Range", "").endswith(f"/{have}"):
                        return
                    self._forget()
                    raise _Broken("the file there has changed") from error
                raise self._refused(error.code) from None
        with response:
            have = self._begin(response, have)
            try:
                self._receive(response, have)
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                raise _Broken(f"the connection broke ({_reason(error)})") from error

    def _begin(self, response: http.client.HTTPResponse, have: int) -> int:
        """Returns from which byte on the answer is, having noted of which version it is."""
        if response.status == 206:
            match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if match and int(match[1]) == have:
                return have
            self._forget()
            raise _Broken("the server sent another part than was asked for")
        self._forget()
        mark = response.headers.get("ETag", "")
        if not mark.startswith('"'):
            mark = response.headers.get("Last-Modified", "")
        if mark:
            self.tag.write_text(mark)
        return 0

    def _receive(self, response: http.client.HTTPResponse, have: int) -> None:
        """Writes what comes behind what is there."""
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        if total is not None and total - have > shutil.disk_usage(self.path.parent).free:
            raise _full(self.path, total - have)
        progress = Progress(self.path.name, have, total)
        with self.part.open("ab") as file:
            while chunk := response.read(_CHUNK):
                if have == 0 and _PAGE.match(chunk):
                    file.close()
                    self._forget()
                    raise UserError(
                        f"{self.url}: answers with a web page, not with weights: open it in a "
                        f"browser and save the file as {self.path}"
                    )
                file.write(chunk)
                have += len(chunk)
                progress.advance(have)
        progress.finish(have)
        if total is not None and have < total:
            raise _Broken(f"the connection broke after {have:,} of {total:,} bytes")

    def _open(self, asked: dict[str, str]) -> http.client.HTTPResponse:
        """Opens the address, through all that it leads on to.

        Raises:
          HTTPError: the server refuses.
          UserError: a loop, or no server.
        """
        url, seen = self.url, set[str]()
        host = urllib.parse.urlsplit(url).netloc
        while True:
            parts = urllib.parse.urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise UserError(f"{self.url}: leads to {printable(url)!r}, no address of the web")
            seen.add(url)
            own = self.headers if parts.netloc == host else {}
            request = urllib.request.Request(url, headers={**_AGENT, **asked, **own})
            try:
                response = _OPENER.open(request, timeout=_TIMEOUT)
                self._learn(response.headers)
                return response
            except urllib.error.HTTPError as error:
                if error.code not in _REDIRECTS:
                    raise
                with error:
                    self._learn(error.headers)
                    url = urllib.parse.urljoin(url, error.headers.get("Location", ""))
                if url in seen or len(seen) >= _MOST_REDIRECTS:
                    raise UserError(
                        f"{self.url}: leads round in a circle; the publisher moved the file: "
                        f"try again later, {self.by_hand}"
                    ) from None
            except (http.client.HTTPException, ConnectionResetError, TimeoutError) as error:
                raise _Broken(f"no answer ({_reason(error)})") from error
            except urllib.error.URLError as error:
                raise UserError(
                    f"{self.url}: cannot be reached ({_reason(error)}): connect to the network, "
                    f"name a mirror in VISION_JAX_MIRROR, {self.by_hand}"
                ) from None

    def _learn(self, headers: Message) -> None:
        """Takes over the hash that the Hub tells of large files, if there is no other."""
        linked = headers.get("X-Linked-ETag", "").strip('"')
        if self.digest is None and _SHA256.fullmatch(linked):
            self.digest = Digest("sha256", linked)

    def _refused(self, code: int) -> Exception:
        """Makes the error for an answer that is no file."""
        reason = f"{code} {http.client.responses.get(code, '')}".strip()
        if code in (404, 410):
            return Missing(
                f"{self.url}: there is no such file ({reason}); the publisher may have moved it: "
                f"find its new place, {self.by_hand}"
            )
        if code in (401, 403, 407):
            return UserError(
                f"{self.url}: the server refuses it ({reason}): sign in there with a browser "
                f"(on the Hugging Face Hub, set HF_TOKEN), {self.by_hand}"
            )
        if code == 429 or code >= 500:
            return _Broken(f"the server is in trouble ({reason})")
        return UserError(f"{self.url}: the server answers {reason}; try again, {self.by_hand}")

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A handler that leaves redirects to the caller, who must not send secrets along."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message,
        newurl: str,
    ) -> None:  # fmt: skip
        """Follows none, so that `HTTPError` is raised."""


_OPENER = urllib.request.build_opener(_Redirects)
_AGENT = {"User-Agent": f"vision_jax/{__version__}"}


def _full(path: Path, more: int | None = None) -> UserError:
    """Makes the error for a disk without room."""
    needs = f" ({more:,} bytes more are needed)" if more else ""
    return UserError(
        f"{path.parent}: the disk is full{needs}: free some, or name another folder in "
        "VISION_JAX_HOME; the same command then goes on"
    )


def _reason(error: Exception) -> str:
    """Returns why a connection failed, in one line."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return printable(text or type(cause).__name__)
