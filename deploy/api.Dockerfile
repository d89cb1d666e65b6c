# The API, the migrations and the key administration. No torch in it.
# Build from the project's root: docker build -f deploy/api.Dockerfile -t masktune-api .

FROM python:3.13-slim-trixie AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/masktune
WORKDIR /src
# The dependencies first, from the metadata alone: this layer is rebuilt only when they change.
COPY pyproject.toml README.md LICENSE ./
COPY deploy/constraints.txt ./
RUN /opt/masktune/bin/pip install --constraint constraints.txt '.[api]'
COPY api/ api/
COPY cli/ cli/
COPY masktune_core/ masktune_core/
COPY migrations/ migrations/
COPY persistence/ persistence/
COPY worker/ worker/
RUN /opt/masktune/bin/pip install --no-deps --force-reinstall . \
    && /opt/masktune/bin/python -m compileall -q /opt/masktune/lib \
    && /opt/masktune/bin/python -c "import api.main, migrations, importlib.util as u; assert u.find_spec('torch') is None"

FROM python:3.13-slim-trixie

# The folders are made here so that named volumes mounted on them belong to the user.
RUN groupadd --gid 10001 masktune \
    && useradd --uid 10001 --gid masktune --no-create-home --home-dir /var/lib/masktune \
        --shell /usr/sbin/nologin masktune \
    && install -d -o masktune -g masktune /var/lib/masktune /srv/objects
COPY --from=build /opt/masktune /opt/masktune
ENV PATH=/opt/masktune/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MASKTUNE_HOME=/var/lib/masktune
USER 10001:10001
WORKDIR /var/lib/masktune
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# The service writes one line for each request itself.
CMD ["uvicorn", "api.main:create_app", "--factory", "--host", "0.0.0.0", "--port", "8000", \
     "--no-access-log", "--no-server-header", "--timeout-graceful-shutdown", "10"]
