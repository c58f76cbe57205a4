"""A schema registry in this process: what the project asks of one, over real HTTP."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread

from fastavro import parse_schema, schemaless_writer


class FakeRegistry:
    """Subjects with versions of schemas; `asked` holds the paths that were asked for, `failing` the next answers' status."""

    def __init__(self, login=None, port=0):
        self.subjects, self.schemas, self.asked, self.failing = {}, {}, [], []
        self.login = login and "Basic " + base64.b64encode(login.encode()).decode()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                fake.asked.append(self.path)
                status, told = fake.answer(self.path, self.headers)
                body = json.dumps(told).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", told["to"])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path, headers):
        if self.failing:
            return self.failing.pop(0)
        if self.login and headers.get("Authorization") != self.login:
            return 401, {"error_code": 401, "message": "who are you?"}
        match path.strip("/").split("/"):
            case ["schemas", "ids", number]:
                found = self.schemas.get(int(number))
                return (200, found) if found else (404, {"error_code": 40403})
            case ["subjects", subject, "versions", version]:
                numbers = self.subjects.get(subject, [])
                if not numbers:
                    return 404, {"error_code": 40401}
                number = numbers[-1 if version == "latest" else int(version) - 1]
                return 200, {"subject": subject, "id": number, "version": 1, **self.schemas[number]}
        return 404, {"error_code": 404}

    def register(self, schema, subject=None, **more):
        """A schema under the next number, the newest of its subject."""
        number = len(self.schemas) + 1
        self.schemas[number] = {"schema": json.dumps(schema), **more}
        if subject:
            self.subjects.setdefault(subject, []).append(number)
        return number

    def encode(self, number, row):
        """A record on the wire."""
        body = BytesIO()
        schemaless_writer(body, parse_schema(json.loads(self.schemas[number]["schema"])), row)
        return b"\0" + number.to_bytes(4, "big") + body.getvalue()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def record(*fields, name="payment"):
    """A record's schema from (name, type), (name, type, default) or dicts."""
    named = [
        each if isinstance(each, dict) else dict(zip(("name", "type", "default"), each, strict=False))
        for each in fields
    ]
    return {"type": "record", "name": name, "fields": named}
