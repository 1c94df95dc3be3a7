"""Follows states by the updates on stdin, one a line, as { patch | value, state }; says how many it has applied."""

import json
import sys

import jsonpatch

document = {"value": None}
applied = 0
for number, line in enumerate(sys.stdin, 1):
    update = json.loads(line)
    if "patch" in update:
        document = jsonpatch.apply_patch(document, update["patch"])
        applied += 1
    else:
        document = {"value": update["value"]}
    if document["value"] != update["state"]:
        sys.exit(f"line {number}: expected {update['state']!r}, got {document['value']!r}")
print(applied)
