"""ejabberd from Debian's package in a temporary folder, for what must be taken over from it.

It runs without distribution and without its control script; commands go over its HTTP API.
"""

import asyncio
import json
import os
import pathlib
import shutil
import socket
import tempfile

from moult import DEADLINE, DOMAIN

PACKAGE = pathlib.Path("/usr/lib/x86_64-linux-gnu/ejabberd-23.01")

CONFIG = """
hosts: [{domain}]
loglevel: warning
auth_method: internal
auth_password_format: {format}
listen:
  - {{port: {c2s}, ip: "127.0.0.1", module: ejabberd_c2s, access: all}}
  - {{port: {http}, ip: "127.0.0.1", module: ejabberd_http, request_handlers: {{/api: mod_http_api}}}}
api_permissions:
  test:
    from: [mod_http_api]
    who: [{{ip: 127.0.0.1/8}}]
    what: "*"
modules:
  mod_admin_extra: {{}}
  mod_blocking: {{}}
  mod_disco: {{}}
  mod_http_api: {{}}
  mod_offline: {{}}
  mod_privacy: {{}}
  mod_private: {{}}
  mod_roster: {{}}
  mod_vcard: {{}}
"""


def is_installed():
    return PACKAGE.exists() and shutil.which("erl") is not None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ejabberd:
    """One ejabberd. `await Ejabberd.start(...)`, at the end `await ejabberd.stop()`."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ejabberd-scenario-"))
        self.c2s, self.http = free_port(), free_port()
        self.process = None

    @classmethod
    async def start(cls, password_format="plain"):
        server = cls()
        config = CONFIG.format(domain=DOMAIN, format=password_format, c2s=server.c2s, http=server.http)
        (server.folder / "ejabberd.yml").write_text(config)
        environment = dict(
            os.environ, HOME=str(server.folder), ERL_LIBS=str(PACKAGE.parent),
            EJABBERD_CONFIG_PATH=str(server.folder / "ejabberd.yml"), EJABBERD_LOG_PATH=str(server.folder / "ejabberd.log"))
        server.process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "KILL", "--", "erl", "-noinput", "-pa", str(PACKAGE / "ebin"),
            "-mnesia", "dir", f'"{server.folder}/mnesia"', "-s", "ejabberd",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            env=environment)
        await asyncio.wait_for(server.ready(), 2 * DEADLINE)
        return server

    async def ready(self):
        while True:
            try:
                await self.api("status")
                return
            except (ConnectionError, AssertionError):
                assert self.process.returncode is None, "ejabberd did not start"
                await asyncio.sleep(0.1)

    async def api(self, command, **arguments):
        """Runs a command; its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.http)
        content = json.dumps(arguments).encode()
        head = [f"POST /api/{command} HTTP/1.1", "Host: localhost", "Connection: close", "Content-Type: application/json",
                f"Content-Length: {len(content)}", "", ""]
        writer.write("\r\n".join(head).encode() + content)
        answer = await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split(b" ")[1:2] == [b"200"], answer
        return json.loads(body)

    async def stop(self):
        self.process.kill()
        await self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
