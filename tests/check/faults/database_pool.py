# arguments: --threads 20
# needs: sqlalchemy
import sqlalchemy

ENGINE = sqlalchemy.create_engine(  # finds: sqlalchemy-pool-small sqlalchemy-echo
    "postgresql+psycopg://localhost/shop", pool_size=5, echo=True
)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
