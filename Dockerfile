FROM python:3.14-slim AS build
COPY . /src
RUN cd /src && ./build_zipapp.sh
FROM python:3.14-slim
COPY --from=build /src/campfire.pyz /usr/local/bin/campfire.pyz
RUN useradd --create-home campfire && install -d -m 700 -o campfire -g campfire /data
USER campfire
ENV CAMPFIRE_DB=/data/campfire.db SHIV_ROOT=/data/cache
VOLUME /data
EXPOSE 3000
HEALTHCHECK CMD ["campfire.pyz", "healthcheck"]
CMD ["campfire.pyz", "serve"]
