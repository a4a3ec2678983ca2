"""What docs/backend.md has back ends copy."""

import json
import os
import re
import unittest
import urllib.request

from support import PATIENCE, ROOT, SECRET, Hub, new_order, token


class DocsTest(unittest.TestCase):
    def test_a_token_that_a_back_end_signs_as_the_guide_says_lets_its_user_in(self):
        guide = (ROOT / "docs/backend.md").read_text()
        code = re.search(r"### Python\n\n```python\n(.*?)```", guide, re.DOTALL).group(1)
        signing = {}
        exec(code, signing)
        os.environ["JWT_SECRET"] = SECRET
        signed = signing["token_for"]({"id": "ana", "name": "Ana", "role": "customer"})

        hub = Hub()
        self.addCleanup(hub.close)
        order = new_order()

        def call(method, path, bearer, body=None):
            headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
            data = None if body is None else json.dumps(body).encode()
            url = f"{hub.url}/api/v1/orders/{path}"
            request = urllib.request.Request(url, data, headers, method=method)
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)

        service = token("shop", role="service")
        call("PUT", order, service, {"participants": [{"userId": "ana", "role": "customer"}]})
        call("POST", f"{order}/messages", signed, {"content": "hello"})
        [said] = call("GET", f"{order}/messages", service)["messages"]
        self.assertEqual(
            (said["senderId"], said["senderName"], said["senderRole"]), ("ana", "Ana", "customer")
        )


if __name__ == "__main__":
    unittest.main()
