"""ssh's ProxyCommand of the tests: carries bytes to a server, counts them, and stops at the one that it is told.

relay.json: {"limit": bytes towards the server, or null; "how": "cut", "hold", "dead" or "deaf"}
relay.count: what went there in all connections so far, in bytes
"""
import json
import os
import select
import signal
import socket
import sys

asked = json.load(open("/run/relay.json"))
server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
limit, deaf, went = asked["limit"], False, 0
if asked["how"] == "dead":
    # As a network that is gone: the server does not hear that ssh has given up.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def note():
    with open("/run/relay.count", "a") as count:
        count.write(f"{went}\n")


while True:
    ready, _, _ = select.select([0, server], [], [])
    if 0 in ready:
        room = 65536 if limit is None else max(1, min(65536, limit - went))
        piece = os.read(0, room)
        if not piece:
            break
        server.sendall(piece)
        went += len(piece)
        if limit is not None and went >= limit:
            limit = None
            if asked["how"] == "cut":
                break
            if asked["how"] == "deaf":
                deaf = True
            else:
                # Whoever waits for it opens the other end; its end is the word to go on.
                with open("/run/relay.reached", "w") as reached:
                    reached.write("reached")
                open("/run/relay.go").read()
    if server in ready:
        piece = server.recv(65536)
        if not piece:
            break
        while piece and not deaf:
            piece = piece[os.write(1, piece):]
note()
