def rows():
    number = 0
    while True:
        number += 1
        try:
            yield b"row\n"  # finds: close
        except GeneratorExit:
            continue
        if number > 3:
            return


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return rows()
