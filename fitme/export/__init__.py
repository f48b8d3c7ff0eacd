"""Writing an avatar for the world outside: glTF, OBJ, textures, a turntable video."""
