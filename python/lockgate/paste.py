"""The server runner of PasteDeploy: `use = egg:lockgate#main` in `[server:main]`, for pserve."""

from collections.abc import Mapping

from lockgate import embedding, keywords
from lockgate.keywords import Application


def main(app: Application, global_conf: Mapping[str, str] | None = None, **settings: str) -> None:
    """Serves until the server is asked to stop. `settings` are the keys of the section.

    Raises ValueError when one of them is wrong, and RuntimeError when the server cannot start:
    pserve exits with 0 after a SystemExit.
    """
    given = {name.strip().lower().replace("-", "_"): value for name, value in settings.items()}
    config = given.pop("config", None)
    for name in ("host", "port"):
        if not given.get(name, "").strip():
            given.pop(name, None)
    application = keywords.checked(app)
    try:
        embedding.supervise(lambda: application, keywords.dumps(application, given), config)
    except ValueError as error:
        where = (global_conf or {}).get("__file__", "[server:main]")
        raise ValueError(f"{where}: {error}") from None
    except SystemExit as ended:
        raise RuntimeError(
            f"the server has ended with exit code {ended.code}; its log says why"
        ) from None
