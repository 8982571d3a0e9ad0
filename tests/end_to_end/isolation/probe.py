"""Tries to get out of a guest by every way there is, and prints what came of each as JSON."""

import json
import os
import socket
import ssl
import sys
from urllib.parse import urlsplit

registry, port = sys.argv[1], int(sys.argv[2])
proxy = urlsplit(os.environ["HTTPS_PROXY"])
gateway = (proxy.hostname, proxy.port)


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


def connect(target):
    way, status = ask(f"CONNECT {target} HTTP/1.1\r\nHost: {target}")
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
    way = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    way.settimeout(3)
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


print(
    json.dumps(
        {
            "the registry": connect(f"{registry}:443"),
            "tls to the registry": tls(registry),
            "the registry on another port": connect(f"{registry}:22"),
            "another host": connect("example.com:443"),
            "an address": connect("93.184.215.14:443"),
            "the metadata service": connect("169.254.169.254:80"),
            "an allowed name that leads inward": connect(f"localhost:{port}"),
            "a request that is no connect": ask(
                f"GET http://{registry}/ HTTP/1.1\r\nHost: {registry}"
            )[1],
            "the proxy's other ports": tcp(gateway[0], 22),
            "this host's listener by the gateway": tcp(gateway[0], port),
            "an address of the internet": tcp("93.184.215.14", 443),
            "the metadata service, directly": tcp("169.254.169.254", 80),
            "name service": resolve("example.com"),
            "udp to the gateway": udp(gateway[0], 53),
            "udp to the internet": udp("8.8.8.8", 53),
        }
    )
)
