# The live service. Build: docker build -t fitme .   Run: docker run -p 8000:8000 -v sessions:/sessions fitme
# On GPUs: docker build --build-arg TORCH=cu126 --build-arg EXTRAS=cuda,cluster -t fitme:cuda .
# Browsers give the camera only to secure pages: put a TLS proxy before it (compose.yaml), or add --tls-cert and --tls-key.
FROM python:3.13-slim

# Of torch's wheels, which hold CUDA's libraries themselves; and extras of pyproject.toml: cluster for Ray and object stores.
ARG TORCH=cpu
ARG EXTRAS=cluster

# Libraries that OpenCV's and MediaPipe's wheels need and do not contain (fitme/native_libraries.py).
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgl1 libgles2 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY . .
RUN pip install --no-cache-dir --extra-index-url "https://download.pytorch.org/whl/${TORCH}" -c constraints.txt ".[${EXTRAS}]" \
    && useradd --create-home fitme && install -d -o fitme /sessions
USER fitme
VOLUME /sessions
EXPOSE 8000
CMD ["fitme", "serve", "--host", "0.0.0.0", "--port", "8000", "--store", "/sessions"]
