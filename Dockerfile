# emoscene with CUDA. The driver is the host's (NVIDIA container toolkit); PyTorch's wheels bring the rest of CUDA along.
#
#   docker build -t emoscene .
#   docker run --rm --gpus all -v "$PWD:/work" emoscene doctor
#   docker run --rm --gpus all -v "$PWD:/work" -v emoscene-models:/models emoscene \
#       generate "a village by a lake" --emotion awe --method prompt --base sd15 --out out
#   docker run --rm --gpus all -p 7860:7860 emoscene web --host 0.0.0.0 --password "$PASSWORD"
#
# Without --host the page is bound to the container's own loopback, and -p leads nowhere. The user inside is 1000: where
# $PWD belongs to somebody else, add --user "$(id -u)".
FROM python:3.11-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/models \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# PyTorch, by far the largest part, is a layer of its own: a change of the code does not fetch it again.
WORKDIR /package
COPY constraints.txt ./
RUN pip install -c constraints.txt torch

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install -c constraints.txt ".[tune,web]" \
    && useradd --create-home --uid 1000 emoscene \
    && install --directory --mode 1777 --owner emoscene /models /work

USER 1000
WORKDIR /work
VOLUME ["/models", "/work"]
ENTRYPOINT ["emoscene"]
CMD ["doctor"]
