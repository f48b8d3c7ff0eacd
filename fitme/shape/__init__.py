"""The morphable head: identity PCA, 52 ARKit expressions, landmark embeddings, UV layout, regions."""
