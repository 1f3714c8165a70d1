# The server: head, worker, or any other `dermserve` command. Two targets, from the project's root:
#
#   docker build -f cluster/docker/server.Dockerfile --target gpu -t dermserve:gpu .
#   docker build -f cluster/docker/server.Dockerfile --target cpu -t dermserve:cpu \
#     --build-arg TORCH_INDEX_URL=ADDRESS .
#
# Pip's usual index has torch with CUDA, several gigabytes of it. ADDRESS is the index of builds
# without, as PyTorch's installation page has it (Linux, Pip, CPU) behind --index-url.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/dermserve/bin:$PATH
RUN python3 -m venv /opt/dermserve
WORKDIR /build
COPY pyproject.toml constraints.txt cluster/docker/requirements.py ./
RUN python requirements.py --dependencies --extra postgres --extra s3 --extra tracing > requirements.txt

FROM build AS build-gpu
RUN pip install --constraint constraints.txt --requirement requirements.txt
COPY . .
RUN pip install --no-deps .

FROM build AS build-cpu
ARG TORCH_INDEX_URL
RUN if [ -z "$TORCH_INDEX_URL" ]; then \
      echo "Give --build-arg TORCH_INDEX_URL=ADDRESS, the index of torch without CUDA, or --target gpu." >&2; \
      exit 1; \
    fi \
 && pip install --no-deps --index-url "$TORCH_INDEX_URL" --constraint constraints.txt torch torchvision
RUN pip install --constraint constraints.txt --requirement requirements.txt \
 && python -c 'import sys, torch; sys.exit(f"This torch is for CUDA {torch.version.cuda}; give another TORCH_INDEX_URL." if torch.version.cuda else 0)'
COPY . .
RUN pip install --no-deps .

FROM ${PYTHON} AS runtime
RUN groupadd --gid 10001 dermserve \
 && useradd --uid 10001 --gid dermserve --create-home --shell /usr/sbin/nologin dermserve \
 && install --directory --owner dermserve --group dermserve \
      /srv/dermserve/var /srv/dermserve/shared /tmp/ray
ENV PATH=/opt/dermserve/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /srv/dermserve
COPY serve_config.yaml ./
COPY configs/*.yaml configs/
COPY --chmod=755 cluster/docker/entrypoint.sh /usr/local/bin/entrypoint
COPY cluster/docker/health.py /usr/local/lib/dermserve/health.py
USER 10001:10001
EXPOSE 8000 8443 9000
HEALTHCHECK --interval=15s --timeout=10s --start-period=180s --retries=4 \
  CMD ["python", "/usr/local/lib/dermserve/health.py", "http://127.0.0.1:8000/health/ready"]
ENTRYPOINT ["entrypoint"]
CMD ["dermserve", "up"]

FROM runtime AS gpu
# What NVIDIA's container runtime puts in: the driver, which no image can bring.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-gpu /opt/dermserve /opt/dermserve

FROM runtime AS cpu
COPY --from=build-cpu /opt/dermserve /opt/dermserve
