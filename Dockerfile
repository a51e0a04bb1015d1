# hyena-ray with PyTorch for the CPU, and the library versions of requirements-node.lock:
#
#   docker build --tag hyena-ray .
#   docker run --rm --shm-size 2g --volume "$PWD:/work" --user "$(id -u):$(id -g)" hyena-ray tune zdna --out run
#
# Ray keeps its objects in shared memory, hence --shm-size. For a GPU, build with --build-arg TORCH=cuda
# and run with --gpus all. `make images` adds the digest of the image that both stages begin with.
FROM python:3.11-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY hyena_ray hyena_ray
COPY search_spaces search_spaces
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ARG TORCH=cpu
RUN useradd --create-home --uid 1000 hyena
COPY requirements-node.lock requirements-cpu.lock requirements-cuda.lock /tmp/
COPY --from=wheel /wheels /tmp/wheels
# Every file must have a hash of the locks, whichever index it comes from. PyTorch's own index has the
# build for the CPU, PyPI that for CUDA.
RUN case "$TORCH" in \
        cpu) index="--extra-index-url https://download.pytorch.org/whl/cpu" ;; \
        cuda) index= ;; \
        *) echo "TORCH is cpu or cuda" >&2; exit 2 ;; \
    esac \
    && pip install --no-cache-dir --require-hashes $index \
        --requirement /tmp/requirements-node.lock --requirement "/tmp/requirements-$TORCH.lock" \
    && pip install --no-cache-dir --no-deps /tmp/wheels/*.whl \
    && rm -r /tmp/requirements-*.lock /tmp/wheels
USER hyena
ENV HOME=/home/hyena PYTHONUNBUFFERED=1
WORKDIR /work
ENTRYPOINT ["hyena-ray"]
CMD ["--help"]
