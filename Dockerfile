FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY uow ./uow
# The group is what the tasks of the application in worker/ need; pip knows groups since 25.1.
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir "pip>=25.1" \
    && /venv/bin/pip install --no-cache-dir ".[run,api]" --group app

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 worker && mkdir /storage && chown worker /storage
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER worker
# Your own task modules go here: they are imported from the current directory.
WORKDIR /app
COPY worker ./worker
CMD ["worker", "run"]
