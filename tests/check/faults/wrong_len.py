class Page:
    def __init__(self, text):
        self.text = text

    def __len__(self):
        return len(self.text)  # finds: body-len

    def __iter__(self):
        return iter([self.text])


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Page(b"hello")
