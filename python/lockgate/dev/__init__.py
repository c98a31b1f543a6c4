"""`lockgate dev`: the server for the time in which an application is written.

One supervisor and one worker, as in production; the package adds what a developer wants to see.
"""
