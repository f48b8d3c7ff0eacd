"""The live system: a webcam over WebRTC in, a relit avatar over a websocket out."""
