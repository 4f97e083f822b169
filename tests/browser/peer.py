"""The second user: slixmpp over TCP. It agrees to every subscription, asks for one in return, and answers each message."""

import asyncio
import sys

import slixmpp


class Peer(slixmpp.ClientXMPP):
    def __init__(self, port):
        super().__init__("bob@localhost/peer", "sesame")
        self.port = port
        self.auto_authorize = True
        self.auto_subscribe = True
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0199")
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = 0
        self.add_event_handler("session_start", self.begin)
        self.add_event_handler("message", self.answer)

    async def begin(self, _):
        self.send_presence(pstatus="here")
        await self.get_roster()
        print("ready", flush=True)

    def answer(self, message):
        if message["type"] == "chat" and message["body"]:
            print("heard", message["body"], flush=True)
            message.reply(f"echo: {message['body']}").send()


async def main():
    peer = Peer(int(sys.argv[1]))
    peer.connect("127.0.0.1", peer.port)
    await peer.disconnected


asyncio.run(main())
