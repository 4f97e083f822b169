"""Files put by HTTP into slots asked for by XMPP, got again by anybody who knows the address."""

import asyncio
import shutil
import tempfile
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from slixmpp.exceptions import IqError

from moult import DOMAIN, Scenario

CONFIG = """
[modules.mod_http_upload]
docroot = "{folder}"
max_size = "2MiB"
quota = "5MiB"
"""


class Upload(Scenario):
    async def asyncSetUp(self):
        folder = tempfile.mkdtemp(prefix="moult-upload-")
        self.addCleanup(shutil.rmtree, folder)
        config = CONFIG.format(folder=folder)
        self.server = await self.start(modules=["mod_disco", "mod_http_upload"], config=config)
        self.alice = await self.client(self.server, "alice")
        self.alice.register_plugin("xep_0030")
        self.service = f"upload.{DOMAIN}"

    async def slot(self, name, size):
        """The path of a slot. (slixmpp's plugin wants an HTTP library that is not needed here.)"""
        iq = self.alice.make_iq_get(ito=self.service)
        file = {"filename": name, "size": str(size), "content-type": "image/png"}
        iq.append(ET.Element("{urn:xmpp:http:upload:0}request", file))
        put, get = (await iq.send()).xml.find("{urn:xmpp:http:upload:0}slot")
        self.assertEqual(put.get("url"), get.get("url"))
        return urlsplit(put.get("url")).path

    async def http(self, method, path, content=b""):
        """Status, head and body, without any credentials."""
        reader, writer = await asyncio.open_connection(*self.server.listeners["http"])
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(content)}", "", ""]
        writer.write("\r\n".join(head).encode() + content)
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), head.decode().lower(), body

    async def test_a_file_is_put_over_a_swap_and_got_again(self):
        items = await self.alice.plugin["xep_0030"].get_items(DOMAIN)
        self.assertIn(self.service, {item[0] for item in items["disco_items"]["items"]})
        info = await self.alice.plugin["xep_0030"].get_info(self.service)
        self.assertIn("urn:xmpp:http:upload:0", info["disco_info"]["features"])
        # Longer than [http] max_body, and many pieces of the answer.
        content = bytes(range(256)) * 6000
        path = await self.slot("très bien.png", len(content))
        self.server.install("mod_http_upload", variant=1)
        await self.server.ctl("update", "mod_http_upload")
        self.assertEqual((await self.http("PUT", path, content))[0], 201)
        status, head, body = await self.http("GET", path)
        self.assertEqual((status, body), (200, content))
        self.assertIn("content-type: image/png", head)
        self.assertIn("sandbox", head)
        self.assertNotIn("x-moult-file", head)
        status, head, body = await self.http("HEAD", path)
        self.assertEqual((status, body), (200, b""))
        self.assertIn(f"content-length: {len(content)}", head)
        self.assertEqual((await self.http("PUT", path, content))[0], 403)
        await self.server.ctl("unregister", "alice", DOMAIN)
        self.assertEqual((await self.http("GET", path))[0], 404)

    async def test_what_is_too_large_or_not_announced_is_refused(self):
        with self.assertRaises(IqError) as caught:
            await self.slot("a.png", 3 << 20)
        self.assertEqual(caught.exception.condition, "not-acceptable")
        path = await self.slot("a.png", 100)
        self.assertEqual((await self.http("PUT", path, b"x" * 99))[0], 413)
        self.assertEqual((await self.http("PUT", path.replace("a.png", "b.png"), b"x" * 100))[0], 404)
        self.assertEqual((await self.http("GET", f"/upload/{DOMAIN}/%2e%2e/%2e%2e/etc/passwd"))[0], 404)
        for _ in range(2):
            await self.slot("a.png", 2 << 20)
        with self.assertRaises(IqError) as caught:
            await self.slot("a.png", 2 << 20)
        self.assertEqual((caught.exception.condition, caught.exception.etype), ("resource-constraint", "wait"))
