FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY worker ./worker
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir ".[run,api]"

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 worker && mkdir /storage && chown worker /storage
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER worker
# Your own task modules go here: they are imported from the current directory.
WORKDIR /app
CMD ["worker", "run"]
