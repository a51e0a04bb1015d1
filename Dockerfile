# hyena-ray with PyTorch for the CPU, and the library versions of requirements.lock:
#
#   docker build --tag hyena-ray .
#   docker run --rm --shm-size 2g --volume "$PWD:/work" --user "$(id -u):$(id -g)" hyena-ray tune zdna --out run
#
# Ray keeps its objects in shared memory, hence --shm-size. For a GPU, build with
# --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 and run with --gpus all.
FROM python:3.11-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY hyena_ray hyena_ray
COPY search_spaces search_spaces
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN useradd --create-home --uid 1000 hyena
COPY requirements.lock /tmp/requirements.lock
COPY --from=wheel /wheels /tmp/wheels
# The lock constrains the versions, so that tools for development are not installed.
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch==2.13.0 \
    && pip install --no-cache-dir --constraint /tmp/requirements.lock /tmp/wheels/*.whl \
    && rm -r /tmp/requirements.lock /tmp/wheels
USER hyena
ENV HOME=/home/hyena PYTHONUNBUFFERED=1
WORKDIR /work
ENTRYPOINT ["hyena-ray"]
CMD ["--help"]
