"""A port of this machine that leads into a cluster: `forward FOLDER NETWORK PORT NAMESPACE/SERVICE/PORTNAME`, or
`... PORT ADDRESS:PORT` for one address.

1. Listen on 127.0.0.1 while still in this machine's network: a socket stays in the network that it was made in.
2. Move to the cluster's hub network. There are routes to all pods, but no kube-proxy, so that:
3. each connection goes to the next ready pod behind the Service, as the API server names them.
"""

import asyncio
import ctypes
import itertools
import os
import pathlib
import socket
import sys

from local import api, control

CLONE_NEWNET = 0x40000000
PIECE_BYTES = 65536
FRESH_SECONDS = 2


def main(folder, network, port, target):
    listener = socket.create_server(("127.0.0.1", port))
    enter(network)
    pods = Pods(folder, target)
    asyncio.run(serve(listener, pods))


def enter(network):
    handle = os.open(f"/run/netns/{network}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"cannot enter {network}")
    os.close(handle)


class Pods:
    """Where connections go: ready endpoints of a Service, remembered for a moment, and while the API server is away."""

    def __init__(self, folder, target):
        self.target, self.known, self.seen, self.turn = target, [], 0.0, itertools.count()
        self.api = api.Api(control.HUB, folder / "pki/serving/apiserver.crt", "admin")

    def next(self, now):
        if "/" not in self.target:
            host, port = self.target.split(":")
            return host, int(port)
        if now - self.seen > FRESH_SECONDS:
            try:
                self.known, self.seen = list(self.look()), now
            except (OSError, api.Refused) as error:
                print(f"forward: {error}", flush=True)
        if not self.known:
            raise ConnectionError(f"no pod behind {self.target} is ready")
        return self.known[next(self.turn) % len(self.known)]

    def look(self):
        namespace, service, wanted = self.target.split("/")
        for endpoints in self.api.items(
                f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
                f"?labelSelector=kubernetes.io/service-name={service}"):
            ports = [port["port"] for port in endpoints["ports"] if port["name"] == wanted]
            for endpoint in endpoints["endpoints"] or []:
                if ports and endpoint["conditions"].get("ready"):
                    yield endpoint["addresses"][0], ports[0]


async def serve(listener, pods):
    async def connection(reader, writer):
        try:
            host, port = pods.next(asyncio.get_running_loop().time())
            there_reader, there_writer = await asyncio.open_connection(host, port)
        except OSError as error:
            print(f"forward: {error}", flush=True)
            writer.close()
            return
        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))

    server = await asyncio.start_server(connection, sock=listener)
    await server.serve_forever()


async def copy(reader, writer):
    """Hands on what comes until its end, and then the end."""
    try:
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()   # one end is gone: so is the other, then


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
