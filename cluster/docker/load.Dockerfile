# The load generator: Locust with the users of locustfile.py, and synthetic pictures unless
# DERMSERVE_LOAD_IMAGES names a folder of others.
#
#   docker build -f cluster/docker/load.Dockerfile -t dermserve-load .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/dermserve/bin:$PATH
RUN python3 -m venv /opt/dermserve
WORKDIR /build
COPY pyproject.toml constraints.txt cluster/docker/requirements.py ./
RUN python requirements.py locust numpy orjson pillow pydantic simplejpeg > requirements.txt \
 && pip install --constraint constraints.txt --requirement requirements.txt

FROM ${PYTHON}
RUN groupadd --gid 10001 dermserve \
 && useradd --uid 10001 --gid dermserve --create-home --shell /usr/sbin/nologin dermserve
ENV PATH=/opt/dermserve/bin:$PATH \
    PYTHONPATH=/srv/dermserve \
    PYTHONUNBUFFERED=1
WORKDIR /srv/dermserve
COPY --from=build /opt/dermserve /opt/dermserve
COPY locustfile.py ./
COPY benchmarks/*.py benchmarks/
COPY benchmarks/locust_load/*.py benchmarks/locust_load/
COPY data/*.py data/
COPY models/*.py models/
COPY cluster/docker/health.py /usr/local/lib/dermserve/health.py
USER 10001:10001
EXPOSE 8089
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=4 \
  CMD ["python", "/usr/local/lib/dermserve/health.py", "http://127.0.0.1:8089/"]
ENTRYPOINT ["locust"]
CMD ["--host", "http://head:8000", "--web-host", "0.0.0.0"]
