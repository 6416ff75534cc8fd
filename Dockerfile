# docker build -t fraud-worker .
# docker build -t fraud-worker:gpu --build-arg DEVICE=gpu .
# With ONNX Runtime, for models of other libraries: --build-arg ONNX=yes

FROM python:3.12-slim-bookworm AS build
ARG DEVICE=cpu
ARG ONNX=
WORKDIR /src
COPY locks/build.txt locks/run-${DEVICE}${ONNX:+-onnx}.txt locks/
RUN pip install --no-cache-dir --require-hashes -r locks/build.txt \
    && python -m venv --without-pip /opt/worker \
    && pip --python /opt/worker/bin/python install --no-cache-dir --require-hashes \
        -r "locks/run-${DEVICE}${ONNX:+-onnx}.txt"
# After the locked packages, so that a change of the source does not rebuild their layer.
COPY pyproject.toml README.md LICENSE ./
COPY base base
COPY schemas schemas
COPY features features
COPY models models
COPY worker worker
COPY tools tools
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/worker/bin/python install --no-cache-dir --no-deps /wheels/*.whl
# The user of the worker reads the compiled kernels and writes none.
RUN FRAUD_WORKER_CACHE=/opt/worker/cache /opt/worker/bin/python -m worker.warm_up \
    && chmod -R a+rX /opt/worker/cache

FROM python:3.12-slim-bookworm
RUN pip uninstall --yes pip \
    && groupadd --system --gid 10001 worker \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin worker
COPY --from=build /opt/worker /opt/worker
ENV PATH=/opt/worker/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FRAUD_WORKER_CACHE=/opt/worker/cache \
    FRAUD_WORKER_PIPELINE=/pipeline
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["fraud-worker"]
CMD ["run"]
