"""One page, shown on this machine only."""

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from xai_exp.config import InputError

_OURS = ("127.0.0.1", "localhost")


def server(page: str, port: int | None) -> ThreadingHTTPServer:
    """A server on loopback that answers with this page and nothing else; any free port if None.

    Requests for hosts by other names are refused, so that no other site's script can read the page.

    Raises:
        InputError: when the port can't be used.
    """
    content = page.encode()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The page, or why not."""
            host = self.headers.get("Host", "").partition(":")[0]
            if host not in _OURS:
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path.partition("?")[0] != "/":
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is said of requests."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port or 0), Page)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--port: got {port}, which can't be used; allowed: a free port, or none"
        ) from error
