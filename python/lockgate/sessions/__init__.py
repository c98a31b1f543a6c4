"""Sessions as WSGI middleware: a mapping at ``environ["lockgate.session"]``, for any framework.

``SessionMiddleware`` runs under any WSGI server. The content is in an encrypted cookie, or in a
store on the server. docs/sessions.md is the guide.
"""

from lockgate.sessions.middleware import SessionMiddleware
from lockgate.sessions.record import SessionTooLarge, StoreUnavailable
from lockgate.sessions.session import Session

__all__ = ["Session", "SessionMiddleware", "SessionTooLarge", "StoreUnavailable"]
