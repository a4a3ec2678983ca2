"""What schemathesis has to be told of this API: bodies of lines."""

import json

import schemathesis

LINES = "application/x-ndjson"


@schemathesis.hook
def before_load_schema(_, raw_schema):
    """The batch takes lines as well as an array. The document only says so in words, since it has none
    for what is in a line; here lines are asked for too."""
    batch = raw_schema["paths"]["/api/v1/orders:batch"]["post"]
    for content in (batch["requestBody"]["content"], batch["responses"]["200"]["content"]):
        array = content["application/json"]
        content[LINES] = {"schema": array["schema"]}


@schemathesis.serializer(LINES)
def to_lines(_, value):
    values = value if isinstance(value, list) else [value]
    return "".join(json.dumps(line) + "\n" for line in values).encode()


@schemathesis.deserializer(LINES)
def from_lines(_, response):
    return [json.loads(line) for line in response.content.splitlines()]
