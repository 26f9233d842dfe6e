"""The `stackdrain` command as a module, for the tests that call its functions."""

import importlib.machinery
import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def load():
    loader = importlib.machinery.SourceFileLoader("stackdrain_command", str(ROOT / "stackdrain"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("stackdrain_command", loader))
    loader.exec_module(module)
    return module
