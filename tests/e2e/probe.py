"""One request over TLS: probe.py ROOT HOST PORT [PATH [SECRET]]; its status as JSON, or "refused". ROOT -: without TLS."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys

from cohortium.flower_names import MEDIA_TYPE


def main() -> object:
    root, host, port, *rest = sys.argv[1:]
    try:
        with socket.create_connection((host, int(port)), 5):
            pass
    except OSError:
        return "refused"
    if not rest:
        return "open"
    path, *secret = rest
    if root == "-":
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
    else:
        context = ssl.create_default_context(cafile=root)
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=20)
    headers = {"content-type": MEDIA_TYPE, "accept": MEDIA_TYPE}
    if secret:
        headers["x-cohortium-control"] = secret[0]
    connection.request("POST", path, b"", headers)
    return connection.getresponse().status


print(json.dumps(main()))
