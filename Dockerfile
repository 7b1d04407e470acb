# An image with surgrec, for GPUs and for none:
#
#     docker build --tag surgrec .
#     docker run --rm --gpus all --ipc host --volume "$PWD:/data" surgrec train +variant=mae +experiment=quickstart
#
# launch/surgrec.def makes the same for Apptainer; tests/test_container.py keeps the two alike. For a build that nobody can change
# under you, add the digest that `docker buildx imagetools inspect` shows to the tag: ...-ubuntu24.04@sha256:...
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04

# FFmpeg's libraries for torchcodec; a compiler and Python's headers for torch.compile. Versions are those of the distribution, whose
# archive keeps no others.
# hadolint ignore=DL3008
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      ffmpeg g++ python3 python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*

RUN python3 -m venv /venv
ENV PATH=/venv/bin:$PATH

WORKDIR /surgrec
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY launch/constraints.txt launch/
COPY configs configs
COPY corpora corpora
COPY surgrec surgrec
RUN pip install --no-cache-dir --constraint launch/constraints.txt '.[decord,parity,tensorboard,torchcodec,wandb]'

# What is mounted at /data must be writable for this number, or the container be started with --user "$(id -u):$(id -g)".
RUN useradd --uid 10001 --create-home surgrec && install --directory --owner surgrec /data
USER surgrec
WORKDIR /data

HEALTHCHECK --interval=5m --timeout=1m CMD ["python", "-c", "import av, surgrec"]
ENTRYPOINT ["surgrec"]
CMD ["--help"]
