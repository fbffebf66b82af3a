# The image for those who build with docker or podman: the same files that scripts/image puts into its archive.
#
#   make image
#   docker build -t localhost/partita:0.1.0 -f Dockerfile "$CARGO_TARGET_DIR/image/release"
#
# `make image` prints the second line with this machine's folder and the labels.
FROM scratch
COPY root/ /
USER 65532:65532
WORKDIR /
ENV PATH=/usr/local/bin
EXPOSE 8000 8001
ENTRYPOINT ["/usr/local/bin/partita"]
