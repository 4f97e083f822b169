"""Accounts of a running ejabberd, filled by clients, exported by its own command and taken over (XEP-0227)."""

import asyncio
import unittest
from xml.etree import ElementTree

import slixmpp

import ejabberd
from ejabberd import Ejabberd
from moult import DEADLINE, DOMAIN, Client, Scenario

MODULES = ["mod_roster", "mod_vcard", "mod_private", "mod_offline", "mod_blocking"]
ROMEO, JULIET, TYBALT = (f"{name}@{DOMAIN}" for name in ("romeo", "juliet", "tybalt"))


class There(slixmpp.ClientXMPP):
    """A client of ejabberd, which speaks without TLS here."""

    def __init__(self, user):
        super().__init__(f"{user}@{DOMAIN}", f"secret of {user}")
        self.enable_starttls = self.enable_direct_tls = False
        self.enable_plaintext = True
        self.plugin["feature_mechanisms"].unencrypted_plain = True
        self.auto_authorize, self.auto_subscribe = None, False

    async def log_in(self, port):
        started = asyncio.get_running_loop().create_future()
        self.add_event_handler("session_start", lambda _: started.done() or started.set_result(None))
        self.connect("127.0.0.1", port)
        await asyncio.wait_for(started, DEADLINE)
        await self.get_roster()
        self.send_presence()
        return self

    async def set(self, payload):
        iq = self.make_iq_set()
        iq.xml.append(ElementTree.fromstring(payload))
        await iq.send()


@unittest.skipUnless(ejabberd.is_installed(), "ejabberd is not installed")
class Transfer(Scenario):
    async def test_everything_of_three_accounts_is_taken_over(self):
        # The test runner switches asyncio's debug output on, which tells of every slow step of a busy machine.
        asyncio.get_running_loop().set_debug(False)
        other = await Ejabberd.start(password_format="scram")
        self.addAsyncCleanup(other.stop)
        self.servers = []
        for user in ("romeo", "juliet", "tybalt"):
            await other.api("register", user=user, host=DOMAIN, password=f"secret of {user}")
        romeo, juliet, tybalt = [await There(user).log_in(other.c2s) for user in ("romeo", "juliet", "tybalt")]

        async def asks(client, contact):
            client.send_presence_subscription(pto=contact, ptype="subscribe")

            async def is_noted():
                return client.client_roster[contact]["pending_out"]

            await self.eventually(f"{client.boundjid.bare} has asked {contact}", is_noted)

        await asks(romeo, JULIET)
        juliet.send_presence_subscription(pto=ROMEO, ptype="subscribed")

        async def sees():
            return romeo.client_roster[JULIET]["subscription"] == "to"

        await self.eventually("romeo may see juliet", sees)
        await asks(tybalt, JULIET)
        await romeo.set(f"<query xmlns='jabber:iq:roster'><item jid='{JULIET}' name='J'><group>Verona</group></item></query>")
        await romeo.set("<vCard xmlns='vcard-temp'><FN>Romeo Montague</FN></vCard>")
        await romeo.set("<query xmlns='jabber:iq:private'><s xmlns='urn:s'><c n='1'>x</c></s></query>")
        await romeo.set(f"<block xmlns='urn:xmpp:blocking'><item jid='{TYBALT}'/></block>")
        await juliet.disconnect()

        async def gone():
            return len(await other.api("connected_users")) == 2

        await self.eventually("juliet is gone", gone)
        for number in range(3):
            romeo.send_message(JULIET, f"night {number}", mtype="chat")

        async def kept():
            return await other.api("get_offline_count", user="juliet", host=DOMAIN) == {"value": 3}

        await self.eventually("the messages are kept", kept)
        await romeo.disconnect()
        await tybalt.disconnect()
        out = other.folder / "out"
        out.mkdir()
        await other.api("export_piefxis", dir=str(out))
        [main] = [path for path in out.iterdir() if DOMAIN not in path.name]

        server = await self.start(modules=MODULES, users=())
        report = await server.ctl_json("import_piefxis", str(main))
        self.assertEqual(report, {"accounts": 3, "failed": 0, "left_out": []})
        romeo = await self.client(server, "romeo", password="secret of romeo")
        await romeo.get_roster()
        item = romeo.client_roster[JULIET]
        self.assertEqual((item["subscription"], item["name"], item["groups"]), ("to", "J", ["Verona"]))
        romeo.register_plugin("xep_0054")
        card = await romeo["xep_0054"].get_vcard(ROMEO, cached=False)
        self.assertEqual(card["vcard_temp"]["FN"], "Romeo Montague")
        romeo.register_plugin("xep_0191")
        blocked = await romeo["xep_0191"].get_blocked()
        self.assertEqual([str(item["jid"]) for item in blocked["blocklist"]], [TYBALT])
        juliet = await Client(server, "juliet", password="secret of juliet").log_in()
        self.addAsyncCleanup(juliet.leave)
        juliet.auto_authorize = None
        received, asked = [], []
        juliet.add_event_handler("message", lambda message: received.append(message["body"]))
        juliet.add_event_handler("presence_subscribe", lambda presence: asked.append(presence["from"].bare))
        await juliet.get_roster()
        await juliet.available()

        async def all_there():
            return received == [f"night {number}" for number in range(3)] and asked == [TYBALT]

        await self.eventually("juliet gets what waited for her", all_there)


if __name__ == "__main__":
    unittest.main()
