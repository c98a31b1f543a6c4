class Rows:
    def __iter__(self):
        return iter([b"a\n", b"b\n"])

    def close(self):
        self.cursor.close()  # finds: close


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Rows()
