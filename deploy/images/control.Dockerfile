# The control plane: dispatchers, the exporter and ganctl. No torch.
# One base for both images: Ray takes in no process of another Python, not even of another patch.
ARG PYTHON=python:3.11.16-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84
FROM ${PYTHON} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE constraints.txt ./
COPY deploy/requirements deploy/requirements
COPY ganservice ganservice
COPY workers workers
RUN python -m venv /opt/ganservice \
    && /opt/ganservice/bin/pip install --no-cache-dir --no-deps --require-hashes \
        --requirement deploy/requirements/control.txt \
    && /opt/ganservice/bin/pip install --no-cache-dir --constraint constraints.txt --no-build-isolation '.[dispatch]'
# What is in it, in CycloneDX, for whoever looks for known holes.
RUN python -m venv /opt/sbom \
    && /opt/sbom/bin/pip install --no-cache-dir --constraint constraints.txt cyclonedx-bom \
    && /opt/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --output-file /opt/ganservice/sbom.json /opt/ganservice/bin/python

FROM ${PYTHON}
RUN useradd --uid 10001 --create-home gan && install -d -o gan -g gan /home/gan/state /home/gan/cache
COPY --from=build /opt/ganservice /opt/ganservice
ENV PATH=/opt/ganservice/bin:$PATH PYTHONUNBUFFERED=1 RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 \
    GANSERVICE_STATE_DIR=/home/gan/state GANSERVICE_CACHE_DIR=/home/gan/cache GANSERVICE_EXPORTER_HOST=0.0.0.0
USER 10001
CMD ["python", "-m", "workers.dispatch"]
