"""A package index with one package, over TLS. Prints its URL, and writes what it is asked to `requests`."""

import base64
import hashlib
import http.server
import io
import ssl
import zipfile

NAME = "made_here-1.0-py3-none-any.whl"


def wheel():
    files = {
        "made_here.py": 'WORD = "home-made"\n',
        "made_here-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: made-here\nVersion: 1.0\n",
        "made_here-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        record += f"{name},sha256={digest},{len(text)}\n"
    record += "made_here-1.0.dist-info/RECORD,,\n"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in {**files, "made_here-1.0.dist-info/RECORD": record}.items():
            archive.writestr(name, text)
    return data.getvalue()


PAGES = {
    "/simple/made-here/": ("text/html", f'<!DOCTYPE html><a href="/files/{NAME}">{NAME}</a>'.encode()),
    f"/files/{NAME}": ("application/octet-stream", wheel()),
}


class Index(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, with_body):
        kind, body = PAGES.get(self.path, (None, b""))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, form, *args):
        with open("requests", "a") as log:
            log.write(form % args + "\n")


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server.key")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(f"https://localhost:{server.server_address[1]}/simple/", flush=True)
server.serve_forever()
