# The live service on a CPU. Build: docker build -t fitme .   Run: docker run -p 8000:8000 -v sessions:/sessions fitme
# Browsers give the camera only to secure pages: put a TLS proxy before it, or add --tls-cert and --tls-key.
FROM python:3.13-slim

# Libraries that OpenCV's and MediaPipe's wheels need and do not contain (fitme/native_libraries.py).
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgl1 libgles2 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY . .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt . \
    && useradd --create-home fitme && install -d -o fitme /sessions
USER fitme
VOLUME /sessions
EXPOSE 8000
CMD ["fitme", "serve", "--host", "0.0.0.0", "--port", "8000", "--store", "/sessions"]
