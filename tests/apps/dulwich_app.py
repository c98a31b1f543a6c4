"""dulwich's git server: it calls write() during the iteration. ROOT has repositories."""

import os

from dulwich.repo import Repo
from dulwich.server import Backend
from dulwich.web import make_wsgi_chain


class Repositories(Backend):
    def open_repository(self, path):
        return Repo(os.path.join(os.environ["ROOT"], os.fsdecode(path).lstrip("/")))


app = make_wsgi_chain(Repositories())
