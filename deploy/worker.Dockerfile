# Every Celery process: training on GPU or CPU, intake, beat. PyPI's Linux torch carries its own CUDA libraries, so the
# host needs only the NVIDIA driver and container toolkit.
# Build from the project's root: docker build -f deploy/worker.Dockerfile -t masktune-worker .

FROM python:3.13-slim-trixie AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/masktune
WORKDIR /src
# The dependencies first, from the metadata alone: this layer, gigabytes of torch, is rebuilt only when they change.
COPY pyproject.toml README.md LICENSE ./
COPY deploy/constraints.txt ./
RUN /opt/masktune/bin/pip install --constraint constraints.txt '.[worker]'
COPY api/ api/
COPY cli/ cli/
COPY masktune_core/ masktune_core/
COPY migrations/ migrations/
COPY persistence/ persistence/
COPY worker/ worker/
RUN /opt/masktune/bin/pip install --no-deps --force-reinstall . \
    && MASKTUNE_DATABASE_URL=postgresql+psycopg://unused MASKTUNE_REDIS_URL=redis://unused \
       /opt/masktune/bin/python -c "import worker.app, worker.supervisor, sys; assert 'torch' not in sys.modules"

FROM python:3.13-slim-trixie

# A C++ compiler is what torch.compile (runtime.compile) needs at run time, for Triton as for the CPU.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 masktune \
    && useradd --uid 10001 --gid masktune --no-create-home --home-dir /var/lib/masktune \
        --shell /usr/sbin/nologin masktune \
    && install -d -o masktune -g masktune /var/lib/masktune /srv/objects
COPY --from=build /opt/masktune /opt/masktune
# Weights from the hub and compiled kernels go to the data folder: /tmp may be small and mounted noexec.
ENV PATH=/opt/masktune/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MASKTUNE_HOME=/var/lib/masktune \
    HF_HOME=/var/lib/masktune/weights \
    TORCHINDUCTOR_CACHE_DIR=/var/lib/masktune/compiled/inductor \
    TRITON_CACHE_DIR=/var/lib/masktune/compiled/triton
USER 10001:10001
WORKDIR /var/lib/masktune
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=60s --timeout=20s --start-period=30s --retries=3 \
    CMD ["sh", "-c", "celery -A worker.app inspect ping --timeout 10 --destination \"celery@$HOSTNAME\""]
CMD ["celery", "-A", "worker.app", "worker", "--pool", "threads", "--queues", "jobs", "--concurrency", "1"]
