"""A real moultd in a temporary folder, and slixmpp clients that log in to it.

The server is the one that cargo built into the folder MOULT_BINARIES (target/debug where that is not set). Ports
come from the operating system, readiness from the server itself, and every wait has a deadline.
"""

import asyncio
import json
import os
import pathlib
import shutil
import signal
import socket
import tempfile
import unittest

import slixmpp

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path(os.environ.get("MOULT_BINARIES", ROOT / "target" / "debug"))
DEADLINE = 30.0
DOMAIN = "localhost"
PASSWORD = "sesame"
TOKEN = "a-token-for-scenarios"

CONFIG = """
[server]
data_dir = "data"
plugin_dir = "plugins"
control_socket = "ctl.sock"

[log]
level = "debug"

[tls]
certificate = "server.crt"
key = "server.key"

[auth]
scram_iterations = 4096

[http]
admin_token = "{token}"

[[listener]]
kind = "c2s"
address = "127.0.0.1"
port = 0

[[listener]]
kind = "c2s_tls"
address = "127.0.0.1"
port = 0

[[listener]]
kind = "http"
address = "127.0.0.1"
port = 0

[vhost."{domain}"]
"""


class Server:
    """One moultd. `await Server.start(...)`, at the end `await server.stop()`."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.process = None
        self.listeners = {}

    @classmethod
    async def start(cls, modules=(), users=("alice", "bob"), config=""):
        server = cls(tempfile.mkdtemp(prefix="moult-scenario-"))
        (server.folder / "plugins").mkdir()
        await run(BINARIES / "moult-bench", "certificate", server.folder, DOMAIN)
        server.write_config(config)
        for module in modules:
            server.install(module)
        await server.spawn()
        await server.learn_listeners()
        for user in users:
            await server.ctl("register", user, DOMAIN, PASSWORD)
        return server

    async def learn_listeners(self):
        status = await self.ctl_json("status")
        for listener in status["listeners"]:
            host, port = listener["address"].rsplit(":", 1)
            self.listeners[listener["kind"]] = (host, int(port))

    async def restart(self):
        """Stops the server, which must end well, and starts it anew in its folder."""
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self.process.wait(), DEADLINE)
        assert code == 0, f"the server ended with {code}:\n{self.log()}"
        (self.folder / "notify.sock").unlink()
        await self.spawn()
        await self.learn_listeners()

    def write_config(self, extra=""):
        text = CONFIG.format(token=TOKEN, domain=DOMAIN) + extra
        (self.folder / "moult.toml").write_text(text)

    async def spawn(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.setblocking(False)
        notify.bind(str(self.folder / "notify.sock"))
        environment = dict(os.environ, NOTIFY_SOCKET=str(self.folder / "notify.sock"))
        with open(self.folder / "moultd.log", "ab") as log:
            # setpriv lets the kernel end the server when this process dies.
            self.process = await asyncio.create_subprocess_exec(
                "setpriv", "--pdeathsig", "KILL", "--",
                BINARIES / "moultd", "--config", self.folder / "moult.toml",
                stderr=log, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, env=environment)
        try:
            await asyncio.wait_for(self.ready(notify), DEADLINE)
        except Exception as error:
            raise AssertionError(f"the server did not get ready: {error}\n{self.log()}") from error
        finally:
            notify.close()

    async def ready(self, notify):
        loop = asyncio.get_running_loop()
        ended = asyncio.ensure_future(self.process.wait())
        while True:
            said = asyncio.ensure_future(loop.sock_recv(notify, 4096))
            await asyncio.wait({said, ended}, return_when=asyncio.FIRST_COMPLETED)
            if said.done() and b"READY=1" in said.result().split(b"\n"):
                return
            if ended.done():
                said.cancel()
                raise AssertionError(f"it ended with {ended.result()}")

    def log(self):
        return (self.folder / "moultd.log").read_text(errors="replace")

    def last_words(self):
        """The end of the log, without the commands of the waiting test."""
        lines = [line for line in self.log().splitlines() if "command done" not in line]
        return "\n".join(lines[-60:])

    def install(self, module, variant=0):
        """Renames a complete library into the plugin folder; a variant has the same code in other bytes."""
        library = BINARIES / f"lib{module}.so"
        new = self.folder / "plugins" / f".{module}.new"
        shutil.copyfile(library, new)
        if variant:
            with open(new, "ab") as file:
                file.write(f"variant {variant}".encode())
        new.rename(self.folder / "plugins" / library.name)

    async def ctl(self, *arguments):
        """What moultctl prints; it must succeed."""
        return await run(BINARIES / "moultctl", "--config", self.folder / "moult.toml", *arguments)

    async def ctl_json(self, *arguments):
        return json.loads(await self.ctl("--json", *arguments))

    async def generation(self, module):
        """The number of the generation of a module that is running."""
        rows = await self.ctl_json("module_list")
        return next(row["generation"] for row in rows if row["module"] == module)

    async def http(self, method, path, body=None):
        """One request with the admin token; status and parsed body."""
        reader, writer = await asyncio.open_connection(*self.listeners["http"])
        content = json.dumps(body).encode() if body is not None else b""
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Authorization: Bearer {TOKEN}",
                "Content-Type: application/json", f"Content-Length: {len(content)}", "", ""]
        writer.write("\r\n".join(head).encode() + content)
        answer = await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), json.loads(body)

    def signal(self, number):
        self.process.send_signal(number)

    async def stop(self):
        """Ends the server, which must end well, and removes its folder."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self.process.wait(), DEADLINE)
        assert code == 0, f"the server ended with {code}:\n{self.log()}"
        assert "panicked at" not in self.log(), self.log()
        shutil.rmtree(self.folder)


class Client(slixmpp.ClientXMPP):
    """A slixmpp client of one account."""

    def __init__(self, server, user, mechanism=None, direct_tls=False, resource=None, password=PASSWORD):
        jid = f"{user}@{DOMAIN}" + (f"/{resource}" if resource else "")
        super().__init__(jid, password, sasl_mech=mechanism)
        self.moult = server
        self.ca_certs = server.folder / "server.crt"
        self.enable_direct_tls = direct_tls
        self.enable_starttls = not direct_tls
        self.disconnections = 0
        self.add_event_handler("disconnected", self.count_disconnection)

    def count_disconnection(self, _):
        self.disconnections += 1

    async def log_in(self):
        """Connects and waits for the session; a refusal is an exception."""
        started = asyncio.get_running_loop().create_future()

        def settle(outcome):
            if not started.done():
                started.set_result(outcome)

        self.add_event_handler("session_start", lambda _: settle(None), disposable=True)
        self.add_event_handler("failed_all_auth", lambda _: settle("authentication failed"), disposable=True)
        self.connect(*self.moult.listeners["c2s_tls" if self.enable_direct_tls else "c2s"])
        failure = await asyncio.wait_for(started, DEADLINE)
        if failure:
            raise ConnectionRefusedError(failure)
        return self

    async def available(self):
        """Sends initial presence and waits for the server's copy of it."""
        own = self.boundjid.full
        seen = asyncio.get_running_loop().create_future()

        def notice(presence):
            if presence["from"].full == own and not seen.done():
                seen.set_result(None)

        self.add_event_handler("presence_available", notice)
        self.send_presence()
        await asyncio.wait_for(seen, DEADLINE)
        self.del_event_handler("presence_available", notice)
        return self

    async def leave(self):
        await asyncio.wait_for(self.disconnect(), DEADLINE)

    async def message_from(self, sender, event="message"):
        """The next message from this address; errors come as the event "message_error"."""
        received = asyncio.get_running_loop().create_future()

        def notice(message):
            if message["from"] == sender and not received.done():
                received.set_result(message)

        self.add_event_handler(event, notice)
        try:
            return await asyncio.wait_for(received, DEADLINE)
        finally:
            self.del_event_handler(event, notice)


class Scenario(unittest.IsolatedAsyncioTestCase):
    """A test case that stops what it started, and shows what the servers wrote when something did not happen in time."""

    async def start(self, **description):
        # The test runner switches asyncio's debug output on, which tells of every slow step of a busy machine.
        asyncio.get_running_loop().set_debug(False)
        server = await Server.start(**description)
        self.addAsyncCleanup(server.stop)
        self.servers = [*getattr(self, "servers", []), server]
        return server

    async def client(self, server, user, **how):
        client = await Client(server, user, **how).log_in()
        self.addAsyncCleanup(client.leave)
        return client

    async def eventually(self, what, condition):
        """Waits until the coroutine function `condition` says yes."""
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while not await condition():
            if asyncio.get_running_loop().time() > deadline:
                self.fail("\n".join([f"not in time: {what}", *(server.last_words() for server in self.servers)]))
            await asyncio.sleep(0.02)


async def run(program, *arguments):
    """Standard output of a program that succeeds."""
    process = await asyncio.create_subprocess_exec(
        program, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE)
    assert process.returncode == 0, f"{program} {arguments}: {process.returncode}: {out.decode()}{err.decode()}"
    return out.decode()
