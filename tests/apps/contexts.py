"""What the import leaves in its context, and what requests find and change."""

import contextvars
import decimal
import json

LEFT = {
    "text": "of the import",
    "number": 7,
    "pair": ("a", (1, None)),
    "object": [],
}
VARIABLES = {
    name: contextvars.ContextVar(name, default="nothing") for name in (*LEFT, "inner", "of-request")
}
for name, value in LEFT.items():
    VARIABLES[name].set(value)
decimal.getcontext().prec = 50
decimal.getcontext().rounding = decimal.ROUND_DOWN


def app(environ, start_response):
    found = {name: variable.get() for name, variable in VARIABLES.items()}
    precision = [decimal.getcontext().prec, decimal.getcontext().rounding]
    decimal.getcontext().prec = 9
    decimal.getcontext().rounding = decimal.ROUND_UP
    VARIABLES["text"].set("of a request")
    VARIABLES["of-request"].set("of a request")
    third = str(decimal.Decimal(1) / 3)
    start_response("200 OK", [("Content-Type", "application/json")])

    def body():
        shown = {"found": found, "decimal": precision, "third": third}
        yield json.dumps({**shown, "in body": VARIABLES["of-request"].get()}).encode()

    return body()
