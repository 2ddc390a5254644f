"""A program in the place of the installed one, for scripts that run many commands.

It hands what it is called with to the server of this process, and so spends no time on imports.
"""

from __future__ import annotations

import json
import socketserver
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from wfpipe.tests.cli.program import server

_CLIENT = """#!{python} -IS
import json, os, socket, sys
request = dict(arguments=sys.argv[1:], folder=os.getcwd(), environment=dict(os.environ))
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    connection.sendall(json.dumps(request).encode())
    connection.shutdown(socket.SHUT_WR)
    code, output, errors = json.load(connection.makefile())
sys.stdout.write(output)
sys.stderr.write(errors)
sys.exit(code)
"""


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        request = json.load(self.rfile)
        ended = server().run(request["arguments"], Path(request["folder"]), request["environment"])
        answer = (ended.returncode, ended.stdout, ended.stderr)
        self.wfile.write(json.dumps(answer).encode())


@contextmanager
def stand_in() -> Iterator[Path]:
    """Give the path of a program that does what the installed one does, while this is open."""
    with tempfile.TemporaryDirectory() as folder:
        address, program = Path(folder) / "socket", Path(folder) / "wfpipe"
        program.write_text(_CLIENT.format(python=sys.executable, address=str(address)))
        program.chmod(0o755)
        with socketserver.UnixStreamServer(str(address), _Handler) as listening:
            Thread(target=listening.serve_forever).start()
            try:
                yield program
            finally:
                listening.shutdown()
