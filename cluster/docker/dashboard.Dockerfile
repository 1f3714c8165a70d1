# The web dashboard, which needs the server's address (DERMSERVE_URL) and nothing else of it.
#
#   docker build -f cluster/docker/dashboard.Dockerfile -t dermserve-dashboard .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/dermserve/bin:$PATH
RUN python3 -m venv /opt/dermserve
WORKDIR /build
COPY pyproject.toml constraints.txt cluster/docker/requirements.py ./
RUN python requirements.py --extra dashboard httpx httpx-sse pillow pydantic > requirements.txt \
 && pip install --constraint constraints.txt --requirement requirements.txt

FROM ${PYTHON}
RUN groupadd --gid 10001 dermserve \
 && useradd --uid 10001 --gid dermserve --create-home --shell /usr/sbin/nologin dermserve
ENV PATH=/opt/dermserve/bin:$PATH \
    PYTHONPATH=/srv/dermserve \
    PYTHONUNBUFFERED=1
WORKDIR /srv/dermserve
COPY --from=build /opt/dermserve /opt/dermserve
COPY dermserve_client dermserve_client
COPY dashboard dashboard
COPY cluster/docker/health.py /usr/local/lib/dermserve/health.py
USER 10001:10001
EXPOSE 8501
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=4 \
  CMD ["python", "/usr/local/lib/dermserve/health.py", "http://127.0.0.1:8501/_stcore/health"]
ENTRYPOINT ["python", "-m", "dashboard.launch"]
# A container has to listen on its own address; who reaches that is up to whoever publishes it.
CMD ["--host", "0.0.0.0"]
