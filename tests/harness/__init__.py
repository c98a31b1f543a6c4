"""What the tests share: a server to start, a wire to speak on, a load to apply, a bounded wait."""

from harness.browser import Browser, Page
from harness.crowd import (
    Crowd,
    allow_descriptors,
    context_switches,
    descriptors,
    reset,
    resident_kibibytes,
    sockets,
)
from harness.import_gate import ImportGate
from harness.load import Load
from harness.patience import eventually
from harness.process import APPS, EXAMPLES, Server, free_port, run
from harness.service_manager import NotifySocket, PassedSockets
from harness.wire import Malformed, Response, Truncated, Wire, chunked, request

__all__ = [
    "APPS",
    "Browser",
    "Crowd",
    "EXAMPLES",
    "ImportGate",
    "Load",
    "Malformed",
    "NotifySocket",
    "Page",
    "PassedSockets",
    "Response",
    "Server",
    "Truncated",
    "Wire",
    "allow_descriptors",
    "chunked",
    "context_switches",
    "descriptors",
    "eventually",
    "free_port",
    "request",
    "reset",
    "resident_kibibytes",
    "run",
    "sockets",
]
