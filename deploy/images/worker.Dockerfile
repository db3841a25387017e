# A node of the Ray cluster: head, CPU worker or GPU worker. Torch's own wheels bring the CUDA libraries.
# One base for both images: Ray takes in no process of another Python, not even of another patch.
ARG PYTHON=python:3.11.16-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84
FROM ${PYTHON} AS build
# cu126, cu128, ... or cpu: which build of torch.
ARG TORCH_BUILD=cu126
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE constraints.txt ./
COPY deploy/requirements deploy/requirements
COPY ganservice ganservice
COPY workers workers
RUN python -m venv /opt/ganservice \
    && /opt/ganservice/bin/pip install --no-cache-dir --no-deps --require-hashes \
        --requirement deploy/requirements/worker.txt \
    && /opt/ganservice/bin/pip install --no-cache-dir --constraint constraints.txt --no-build-isolation \
        --extra-index-url "https://download.pytorch.org/whl/${TORCH_BUILD}" '.[train,efficientnet,gpu]'
# What is in it, in CycloneDX, for whoever looks for known holes.
RUN python -m venv /opt/sbom \
    && /opt/sbom/bin/pip install --no-cache-dir --constraint constraints.txt cyclonedx-bom \
    && /opt/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --output-file /opt/ganservice/sbom.json /opt/ganservice/bin/python

FROM ${PYTHON}
# A new volume takes the owner of the folder that it is mounted at; without one it is root's.
RUN useradd --uid 10001 --create-home gan && install -d -o gan -g gan /home/gan/cache /home/gan/state
COPY --from=build /opt/ganservice /opt/ganservice
# glibc gives freed memory back to the kernel at every step unless told to keep it. Which GPUs a container sees is for
# who starts it to say: `all` here would show every GPU of a machine to its CPU workers too.
ENV PATH=/opt/ganservice/bin:$PATH PYTHONUNBUFFERED=1 RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 \
    GANSERVICE_STATE_DIR=/home/gan/state GANSERVICE_CACHE_DIR=/home/gan/cache
USER 10001
CMD ["ray", "start", "--head", "--block", "--port=6379", "--include-dashboard=false", "--disable-usage-stats"]
