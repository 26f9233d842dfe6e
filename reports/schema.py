"""Checks results.json against results.schema.json, with one clear line for what is wrong.

Knows only the part of JSON Schema that this file uses.
"""

import json
from pathlib import Path

SCHEMA_FILE = Path(__file__).with_name("results.schema.json")
KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float), "integer": int,
         "null": type(None)}


class BadResults(Exception):
    """What is wrong with a results.json, and where in it."""


def load_results(path):
    """The checked content of a results.json; BadResults if it isn't one."""
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file, parse_constant=_no_such_number)
    except OSError as error:
        raise BadResults(f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadResults(f"not JSON: {error}") from error
    check(results, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    return results


def check(value, schema):
    problem = first_problem(value, schema, schema, "")
    if problem:
        raise BadResults(problem)


def first_problem(value, schema, root, where):
    """The first thing that breaks the schema, as "place: what"; None if nothing does."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    place = where or "top level"
    if "type" in schema and not _is_a(value, schema["type"]):
        return f"{place}: must be {_named(schema['type'])}, is {_shown(value)}"
    if "const" in schema and value != schema["const"]:
        return f"{place}: must be {json.dumps(schema['const'])}, is {_shown(value)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{place}: must be one of {', '.join(map(json.dumps, schema['enum']))}, is {_shown(value)}"
    if isinstance(value, dict):
        return _problem_in_object(value, schema, root, where)
    if isinstance(value, list):
        return _problem_in_array(value, schema, root, where)
    return None


def _problem_in_object(value, schema, root, where):
    for name in schema.get("required", ()):
        if name not in value:
            return f"{where + '.' if where else ''}{name}: is missing"
    for name, part in schema.get("properties", {}).items():
        if name in value:
            problem = first_problem(value[name], part, root, f"{where}.{name}" if where else name)
            if problem:
                return problem
    return None


def _problem_in_array(value, schema, root, where):
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return f"{where}: must have {schema['minItems']} items, has {len(value)}"
    for index, item in enumerate(value if "items" in schema else ()):
        problem = first_problem(item, schema["items"], root, f"{where}[{index}]")
        if problem:
            return problem
    return None


def _is_a(value, kinds):
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, bool):  # Python's True is also an int
        return "boolean" in kinds
    return any(isinstance(value, KINDS[kind]) for kind in kinds)


def _named(kinds):
    names = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(("an " if name[0] in "aeio" else "a ") + name for name in names)


def _shown(value):
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def _no_such_number(name):
    raise ValueError(f"{name} is no number in JSON")
