# syntax=docker/dockerfile:1
# No shell, no pip and no package manager in the image that runs.
FROM debian:trixie-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
# It leads to /usr/bin/python3, which the image below has in the same version.
RUN python3 -m venv /venv
COPY requirements.txt /
# What is in wheels/ is preferred to an older version on PyPI, and does not become part of the image.
RUN --mount=type=bind,source=wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    /venv/bin/pip install --find-links /wheels -r /requirements.txt

FROM gcr.io/distroless/python3-debian13:nonroot
ENV PATH=/venv/bin:/usr/bin PYTHONUNBUFFERED=1
WORKDIR /app
COPY --from=build /venv /venv
COPY app.py lockgate.toml ./
# As the image has it: the user nonroot, by its number, which Kubernetes can check.
USER 65532:65532
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=3)"]
# The image starts Python; this starts the server.
ENTRYPOINT []
CMD ["lockgate"]
