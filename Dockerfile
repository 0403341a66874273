# syntax=docker/dockerfile:1
# Two stages: what builds stays behind. Runs as an ordinary user on a read-only file system.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
COPY requirements.txt /tmp/requirements.txt
RUN /venv/bin/pip install --require-hashes --no-deps -r /tmp/requirements.txt

FROM python:3.13-slim
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=emailplatform.settings \
    VAR_DIR=/data \
    STATIC_ROOT=/app/static-collected
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin app \
    && install -d -o app -g app /data
WORKDIR /app
COPY --from=build /venv /venv
COPY manage.py pyproject.toml ./
COPY emailplatform emailplatform
COPY subscribers subscribers
COPY campaigns campaigns
COPY delivery delivery
COPY webhooks webhooks
COPY templates templates
COPY locale locale
COPY static static
# No key is baked in: collecting needs settings, and LOCAL makes throwaway ones outside the image.
RUN LOCAL=1 VAR_DIR=/tmp/build PUBLIC_URL=https://build.invalid python manage.py collectstatic --noinput \
    && rm -rf /tmp/build
USER app
VOLUME ["/data"]
EXPOSE 8000
# Other hosts than that of PUBLIC_URL are refused, so the check says that name.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.parse as p, urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8000/health', headers={'Host': p.urlsplit(os.environ['PUBLIC_URL']).netloc}), timeout=2)"]
CMD ["granian", "--interface", "wsgi", "--no-ws", "--host", "0.0.0.0", "--port", "8000", "--workers", "2", "--blocking-threads", "8", "emailplatform.wsgi:application"]
