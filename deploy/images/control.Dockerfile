# The control plane: dispatchers, the exporter and ganctl. No torch.
FROM python:3.11.9-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE constraints.txt ./
COPY requirements requirements
COPY ganservice ganservice
COPY workers workers
RUN python -m venv /opt/ganservice \
    && /opt/ganservice/bin/pip install --no-cache-dir --no-deps --require-hashes \
        --requirement requirements/control.txt \
    && /opt/ganservice/bin/pip install --no-cache-dir --constraint constraints.txt --no-build-isolation '.[dispatch]'

FROM python:3.11.9-slim-bookworm
RUN useradd --uid 10001 --create-home gan
COPY --from=build /opt/ganservice /opt/ganservice
ENV PATH=/opt/ganservice/bin:$PATH PYTHONUNBUFFERED=1 RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 \
    GANSERVICE_STATE_DIR=/home/gan/state GANSERVICE_EXPORTER_HOST=0.0.0.0
USER 10001
CMD ["python", "-m", "workers.dispatch"]
