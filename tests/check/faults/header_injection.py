from urllib.parse import parse_qs


def app(environ, start_response):
    name = parse_qs(environ["QUERY_STRING"]).get("name", ["report\r\nX-Other: 1"])[0]
    headers = [("Content-Type", "text/csv"), ("Content-Disposition", f"attachment; {name}")]
    start_response("200 OK", headers)  # finds: header-value
    return [b"a,b\r\n"]
