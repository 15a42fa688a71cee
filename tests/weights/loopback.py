"""A server on this machine that gives files, and misbehaves as servers do."""

import contextlib
import hashlib
import http.server
import re
import threading


class Server:
    """Files by their paths, and what the server does instead of giving them.

    Attributes:
      url: 'http://127.0.0.1:PORT'.
      files: by path, '/a.pth'.
      actions: by path; called with the handler instead of giving the file.
      requests: (path, headers) of every request.
      ranges: whether a part of a file can be asked for.
      etags: whether files are marked.
    """

    def __init__(self):
        self.files, self.actions, self.requests = {}, {}, []
        self.ranges = self.etags = True
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextlib.contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def asked(self, path):
        """Returns the headers of each request for a path."""
        return [headers for name, headers in self.requests if name == path]


def _handler(server):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def do_GET(self):
            server.requests.append((self.path, dict(self.headers)))
            action = server.actions.get(self.path, give)
            action(self)
            self.close_connection = True

        @property
        def content(self):
            return server.files.get(self.path)

        @property
        def start(self):
            """Where the part begins that is asked for; 0 for the whole file."""
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range") in (None, etag(self.content))
            return int(match[1]) if match and same and server.ranges else 0

        @property
        def mark(self):
            return {"ETag": etag(self.content)} if server.etags else {}

    return Handler


def etag(content):
    return f'"{hashlib.md5(content).hexdigest()}"'


def answer(handler, code, body=b"", length=None, **headers):
    """Sends an answer; `length` may lie. Names of headers have _ for -."""
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    with contextlib.suppress(ConnectionError):
        handler.wfile.write(body)
        handler.wfile.flush()


def give(handler):
    """Gives the file, or the part that is asked for."""
    content, start = handler.content, None
    if content is None:
        return answer(handler, 404, b"not here")
    start = handler.start
    if start >= len(content) > 0:
        return answer(handler, 416, Content_Range=f"bytes */{len(content)}")
    if start:
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return answer(handler, 206, content[start:], Content_Range=span, **handler.mark)
    return answer(handler, 200, content, **handler.mark)


def cut(count):
    """Makes a server whose connection breaks after so many bytes of each answer."""

    def action(handler):
        content, start = handler.content, handler.start
        rest = content[start:]
        code, span = (200, {}) if not start else (206, {})
        if start:
            span = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        answer(handler, code, rest[:count], len(rest), **span, **handler.mark)

    return action


def refuse(code, body=b"no", **headers):
    """Makes a server that answers with a code."""
    return lambda handler: answer(handler, code, body, **headers)


def lead(to, code=302, **headers):
    """Makes a server that leads on to another address."""
    return lambda handler: answer(handler, code, b"", Location=to, **headers)
