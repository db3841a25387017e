# A node of the Ray cluster: head, CPU worker or GPU worker. Torch's own wheels bring the CUDA libraries.
FROM python:3.11.9-slim-bookworm AS build
# cu126, cu128, ... or cpu: which build of torch.
ARG TORCH_BUILD=cu126
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE constraints.txt ./
COPY requirements requirements
COPY ganservice ganservice
COPY workers workers
RUN python -m venv /opt/ganservice \
    && /opt/ganservice/bin/pip install --no-cache-dir --no-deps --require-hashes \
        --requirement requirements/worker.txt \
    && /opt/ganservice/bin/pip install --no-cache-dir --constraint constraints.txt --no-build-isolation \
        --extra-index-url "https://download.pytorch.org/whl/${TORCH_BUILD}" '.[train,efficientnet,gpu]'

FROM python:3.11.9-slim-bookworm
RUN useradd --uid 10001 --create-home gan
COPY --from=build /opt/ganservice /opt/ganservice
# glibc gives freed memory back to the kernel at every step unless told to keep it.
ENV PATH=/opt/ganservice/bin:$PATH PYTHONUNBUFFERED=1 RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 \
    GANSERVICE_CACHE_DIR=/home/gan/cache
USER 10001
CMD ["ray", "start", "--head", "--block", "--port=6379", "--include-dashboard=false", "--disable-usage-stats"]
