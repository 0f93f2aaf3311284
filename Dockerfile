# The course on CPUs, ready to run: JupyterLab, or any command of the Makefile.
#
#     docker build -t qwen3-vl-course .
#     docker run --rm qwen3-vl-course make hello
#     docker run --rm -it -p 127.0.0.1:8888:8888 -v qwen3-vl-work:/course/my-course qwen3-vl-course
#
# The last one prints the address to open; your copies of the notebooks stay in the volume.
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates g++ git libnuma1 make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --shell /bin/bash learner \
    && install --directory --owner learner --group learner /course /course/my-course

USER learner
WORKDIR /course
# Outside the course's folder, over which a development container mounts yours.
ENV COURSE_VENV=/home/learner/venv COURSE_SET=cpu
# The environment first: it is made again only when the pins change.
COPY --chown=learner:learner course course
COPY --chown=learner:learner helpers helpers
COPY --chown=learner:learner toolkit toolkit
COPY --chown=learner:learner packaging packaging
COPY --chown=learner:learner requirements requirements
COPY --chown=learner:learner LICENSE Makefile README.md pyproject.toml requirements.txt requirements-cpu.txt ./
RUN make setup && rm -rf ~/.cache
COPY --chown=learner:learner . .

EXPOSE 8888
# Reachable from outside the container only as far as `docker run -p` says; the token in the address is required.
CMD ["make", "lab", "LAB_FLAGS=--ip=0.0.0.0 --port=8888"]
