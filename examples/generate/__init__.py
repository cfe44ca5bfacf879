"""Pictures made by rule: maps with their labels, and drawings to take a style from. Only numpy and Pillow are used."""
