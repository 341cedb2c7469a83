# A crawler that is not root and keeps its crawls in /crawl. docs/operations.md says how to use it.
#
#   docker build -t poolcrawl .
#   docker run --rm -v crawl:/crawl poolcrawl crawl https://example.org/ --contact you@example.org
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.lock .
RUN pip download --quiet --require-hashes --only-binary :all: -r requirements.lock -d /wheels
COPY . .
RUN python -m venv /opt/poolcrawl \
    && /opt/poolcrawl/bin/pip install --quiet --no-index --find-links /wheels '.[speed]'

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home crawler && install -d -o crawler -g crawler /crawl
COPY --from=build /opt/poolcrawl /opt/poolcrawl
ENV PATH=/opt/poolcrawl/bin:$PATH
USER 10001:10001
WORKDIR /crawl
VOLUME /crawl
# A clean stop takes 8 s at most, within the 10 s that `docker stop` gives.
STOPSIGNAL SIGTERM
ENTRYPOINT ["crawler"]
CMD ["--help"]
