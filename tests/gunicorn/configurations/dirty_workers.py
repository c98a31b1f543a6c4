dirty_apps = ["shop.models:Model"]  #: refused use a task queue
dirty_workers = 2  #: refused use a task queue
dirty_threads = 1  #: default
workers = 1  #: workers = 1


def on_dirty_starting(arbiter):  #: ignored
    pass
