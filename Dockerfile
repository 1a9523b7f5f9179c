# The image has the shape of Envoy's distroless one: the entrypoint is the binary, arguments follow it, the configuration
# is /etc/envoy/envoy.yaml, the user is 65532, and the root file system may be read-only.
#
#   docker build -t minienvoy .
#   docker run --rm -p 10000:10000 -v "$PWD/envoy.yaml:/etc/envoy/envoy.yaml:ro" minienvoy
#   docker run --rm minienvoy --version
#   docker build -t minienvoy --build-arg EXTRAS=[k8s] .      with what discovery in Kubernetes needs
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS builder
WORKDIR /build
ARG EXTRAS=
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY schema ./schema
COPY minienvoy ./minienvoy
RUN python -m venv /opt/minienvoy
RUN /opt/minienvoy/bin/pip install --no-cache-dir --no-compile ".${EXTRAS}"
# Compiled here, because nothing can be written at run time; and nothing is installed at run time either.
RUN /opt/minienvoy/bin/python -m compileall -q /opt/minienvoy/lib
RUN /opt/minienvoy/bin/pip uninstall --yes --quiet pip

FROM python:${PYTHON_VERSION}-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="minienvoy" \
      org.opencontainers.image.description="Envoy in pure Python, for the people who test against it, develop behind it or learn it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /opt/minienvoy /opt/minienvoy
COPY configs/docker/envoy.yaml /etc/envoy/envoy.yaml
ENV PATH="/opt/minienvoy/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 10000
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["minienvoy", "healthcheck"]
ENTRYPOINT ["minienvoy"]
CMD ["-c", "/etc/envoy/envoy.yaml"]
