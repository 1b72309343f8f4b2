"""What the scripts are made of: pure functions of arrays, and the files that the stages hand on."""
