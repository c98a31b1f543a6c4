"""Mercurial's hgweb: its archives call write() during the iteration. ROOT is a repository."""

import os

from mercurial.hgweb import hgweb

app = hgweb(os.fsencode(os.environ["ROOT"]), baseui=None)
