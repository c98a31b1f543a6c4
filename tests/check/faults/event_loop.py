import asyncio


async def greeting():
    return b"hello"


def app(environ, start_response):
    body = asyncio.get_event_loop().run_until_complete(greeting())  # finds: event-loop
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
