"""What schemathesis has to be told of this API: bodies of lines."""

import json

import schemathesis

LINES = "application/x-ndjson"


@schemathesis.serializer(LINES)
def to_lines(_, value):
    values = value if isinstance(value, list) else [value]
    return "".join(json.dumps(line) + "\n" for line in values).encode()


@schemathesis.deserializer(LINES)
def from_lines(_, response):
    return [json.loads(line) for line in response.content.splitlines()]
