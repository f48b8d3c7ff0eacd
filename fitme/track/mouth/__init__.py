"""What landmarks alone do not tell of mouth and cheeks: sides, tongues, puffed cheeks."""
