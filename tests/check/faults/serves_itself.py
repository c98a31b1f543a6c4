from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return "hello"


app.run(debug=True, port=0)  # finds: import-serves
