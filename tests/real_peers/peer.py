"""An origin made of http.server. Arguments: port, protocol version, length of the accept queue (0: one thread each).

It appends a line of JSON for each request to the file `seen`, and writes the request's body to a file named by the
message's id. The path says what else it does; a path that ends in `-at-first` counts for the first attempt only.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

port, version, queue = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
seen = open("seen", "a", buffering=1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = version

    def take(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        identity = self.headers["X-Dispatcher-Message-Id"]
        attempt = int(self.headers["X-Dispatcher-Attempt"])
        with open(identity, "wb") as file:
            file.write(body)
        seen.write(json.dumps({
            "id": identity,
            "attempt": attempt,
            "maybe_duplicate": self.headers["X-Dispatcher-Maybe-Duplicate"] == "true",
            "method": self.command,
            "target": self.path,
            "host": self.headers["Host"],
            "twos": self.headers.get_all("X-Two", []),
            "connection": self.client_address[1],
        }) + "\n")
        if attempt == 1 and self.path == "/dies-in-head-at-first":
            self.say(b"HTTP/1.1 200 OK\r\nContent-Le")
            os.kill(os.getpid(), signal.SIGKILL)
        if attempt == 1 and self.path == "/dies-in-body-at-first":
            self.say(b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nhalf of it")
            os.kill(os.getpid(), signal.SIGKILL)
        if self.path == "/interim":
            self.say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        if self.command != "HEAD":
            self.say(b"taken")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = take

    def say(self, data):
        self.wfile.write(data)
        self.wfile.flush()


class Single(HTTPServer):
    request_queue_size = queue


class Threads(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


(Single if queue else Threads)(("127.0.0.1", port), Handler).serve_forever()
