"""Tries to get out of a guest by every way there is, and prints what came of each as JSON.

An install runs in the same guest meanwhile. Standard input has the CA certificates that it is to trust.
"""

import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

registry, port = sys.argv[1], int(sys.argv[2])
proxy = urlsplit(os.environ["HTTPS_PROXY"])
gateway = (proxy.hostname, proxy.port)
card = next(name for name in os.listdir("/sys/class/net") if name != "lo")


def ask(head):
    """Sends a request's head to the proxy; gives the socket and the status of the answer."""
    way = socket.create_connection(gateway, timeout=40)
    way.sendall(head.encode() + b"\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = way.recv(4096)
        if not more:
            break
        answer += more
    return way, answer.split(b" ")[1].decode()


def connect(target, more=""):
    way, status = ask(f"CONNECT {target} HTTP/1.1\r\nHost: {target}{more}")
    way.close()
    return status


def tls(host):
    way, _ = ask(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443")
    # Whose certificate it is does not matter here: this host may sit behind a proxy that signs by itself.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(way, server_hostname=host) as channel:
        return "spoken" if channel.version() else "refused"


def tcp(address, port):
    try:
        socket.create_connection((address, port), timeout=3).close()
        return "reached"
    except OSError:
        return "unreachable"


def udp(address, port):
    question = bytes.fromhex("1234010000010000000000000765786d61706c6503636f6d0000010001")
    way = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    way.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    way.settimeout(2)
    try:
        way.sendto(question, (address, port))
        way.recv(512)
        return "reached"
    except OSError:
        return "unreachable"


def resolve(name):
    try:
        socket.getaddrinfo(name, 443)
        return "reached"
    except OSError:
        return "unreachable"


def syn(source_port):
    """A frame that asks the proxy for a connection that nobody will complete."""

    def checksum(data):
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return ~total & 0xFFFF

    source, target = bytes([10, 0, 2, 77]), socket.inet_aton(gateway[0])
    tcp = struct.pack("!HHIIBBHHH", source_port, gateway[1], 1, 0, 5 << 4, 2, 1024, 0, 0)
    total = checksum(source + target + struct.pack("!BBH", 0, 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + source + target
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return bytes.fromhex("525400123402525400123477") + b"\x08\x00" + ip + tcp


def flood(is_over):
    """Holds connections that say nothing, starts others that are never completed, and sends garbage."""
    idle = []
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind((card, 0))
    turn = 0
    while not is_over.is_set():
        for _ in range(10):
            way = socket.socket()
            way.setblocking(False)
            way.connect_ex(gateway)
            idle.append(way)
        while len(idle) > 200:
            idle.pop(0).close()
        for _ in range(20):
            turn += 1
            raw.send(syn(1024 + turn % 60000))
        raw.send(os.urandom(60))
        time.sleep(0.2)
    return turn


def install():
    """Installs a package with its dependencies while others flood the network."""
    with open("/run/ca.pem", "w") as bundle:
        bundle.write(sys.stdin.read())
    environment = {**os.environ, "SSL_CERT_FILE": "/run/ca.pem", "UV_NO_PROGRESS": "1"}
    uv = ["/opt/installer/bin/uv", "pip", "install", "--no-cache", "--python", "/opt/venv/bin/python3"]
    done = subprocess.run([*uv, "requests==2.32.3"], env=environment, stderr=subprocess.PIPE, text=True)
    return "installed" if done.returncode == 0 else done.stderr


found = {
    "the registry": connect(f"{registry}:443"),
    "the registry in capitals": connect(f"{registry.upper()}:443"),
    "tls to the registry": tls(registry),
    "the registry on another port": connect(f"{registry}:22"),
    "the registry with a name and a password": connect(f"me:secret@{registry}:443"),
    "the registry as somebody else's user": connect(f"{registry}:443@example.com:443"),
    "another host": connect("example.com:443"),
    "a host below the registry": connect(f"a.{registry}:443"),
    "an address": connect("93.184.215.14:443"),
    "an address of version 6": connect("[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:443"),
    "the metadata service": connect("169.254.169.254:80"),
    "the metadata service of version 6": connect("[fd00:ec2::254]:80"),
    "this host by its own address": connect(f"127.0.0.1:{port}"),
    "this host by no address": connect(f"0.0.0.0:{port}"),
    "this host by an address of version 6": connect(f"[::1]:{port}"),
    "this host by a mapped address": connect(f"[::ffff:127.0.0.1]:{port}"),
    "an allowed name that leads inward": connect(f"localhost:{port}"),
    "a request that is no connect": ask(f"GET http://{registry}/ HTTP/1.1\r\nHost: {registry}")[1],
    "a request behind a request": connect(f"{registry}:443", "\r\n\r\nCONNECT example.com:443 HTTP/1.1"),
    "a head that is too long": connect(f"{registry}:443", "\r\nX: " + "a" * 10000),
    "the proxy's other ports": tcp(gateway[0], 22),
    "this host's listener by the gateway": tcp(gateway[0], port),
    "an address of the internet": tcp("93.184.215.14", 443),
    "the metadata service, directly": tcp("169.254.169.254", 80),
    "name service": resolve("example.com"),
    "udp to the gateway": udp(gateway[0], 53),
    "udp to the internet": udp("8.8.8.8", 53),
    "udp to everybody": udp("255.255.255.255", 67),
    "udp to many": udp("224.0.0.251", 5353),
    "version 6 to a neighbour": udp(f"fe80::2%{card}", 53),
    "version 6 to the internet": tcp("2606:4700::1111", 443),
}

# A guest is its own master: it can give itself addresses and routes.
for words in (f"addr add 169.254.9.9/16 dev {card}", f"route add default via {gateway[0]}"):
    subprocess.run(["busybox", "ip", *words.split()], check=True)
found |= {
    "the internet by a route of the guest's own": tcp("93.184.215.14", 443),
    "udp by a route of the guest's own": udp("8.8.8.8", 53),
    "the metadata service as a neighbour": tcp("169.254.169.254", 80),
}

is_over = threading.Event()
flooding = threading.Thread(target=flood, args=[is_over])
flooding.start()
found["an install in the middle of a flood"] = install()
is_over.set()
flooding.join()
print(json.dumps(found))
